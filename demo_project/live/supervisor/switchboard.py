"""The switches, over HTTP, for the site alone: on the loopback, and with a token."""

import hmac
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .gate import LOOPBACK

Throw = Callable[[str], dict[str, Any]]


class Switchboard:
    """``GET /state`` and ``POST /switch/<name>``, which both answer with the state."""

    def __init__(self, state: Callable[[], dict[str, Any]], throw: Throw) -> None:
        """`throw` raises KeyError for a switch that there is not."""
        self.token = secrets.token_urlsafe(32)
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.expected = f"Bearer {self.token}"
        self._server.state, self._server.throw = state, throw
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    expected: str
    state: Callable[[], dict[str, Any]]
    throw: Throw


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self._may():
            known = self.path == "/state"
            self._answer(*((200, self.server.state()) if known else (404, {"error": "not found"})))

    def do_POST(self) -> None:
        if not self._may():
            return
        try:
            self._answer(200, self.server.throw(self.path.removeprefix("/switch/")))
        except KeyError:
            self._answer(404, {"error": f"There is no switch at {self.path}."})

    def _may(self) -> bool:
        given = self.headers.get("Authorization", "")
        may = hmac.compare_digest(given.encode(), self.server.expected.encode())
        if not may:
            self._answer(403, {"error": "The token is missing or wrong."})
        return may

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing: the page does."""
