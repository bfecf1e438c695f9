"""``--health-port``: ``/livez``, ``/readyz`` and ``/metrics`` of a relay, over HTTP."""

from __future__ import annotations

import errno
import json
import logging
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from kinesis_bridge import signals
from kinesis_bridge.exceptions import KinesisBridgeError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from types import TracebackType

    from .health import Health

logger = logging.getLogger("kinesis_bridge.relay")

MAX_REQUESTS = 8
"""At once; more are hung up on."""
MAX_METRICS = 2
"""Of those for ``/metrics``, which may wait for a database: the others are for who must not."""
REQUEST_SECONDS = 5.0
"""How long a client may take for each part of its request, and for taking the answer."""
_NOT_FOUND: dict[str, Any] = {"ok": False, "error": "not found"}


class HealthPort:
    """Serves HTTP on a port, in threads of its own, within the ``with`` block.

    Raises KinesisBridgeError where the port cannot be had.
    """

    def __init__(self, health: Health, host: str, port: int) -> None:
        try:
            self._server = _Server(health, host, port)
        except OSError as error:
            raise KinesisBridgeError(_why(host, port, error)) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="kinesis-health", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens; where port 0 was asked for, with the one that was free."""
        host, port = str(self._server.server_address[0]), self._server.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def __init__(self, health: Health, host: str, port: int) -> None:
        self.health = health
        self.free_for_metrics = threading.BoundedSemaphore(MAX_METRICS)
        self._free = threading.BoundedSemaphore(MAX_REQUESTS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the DNS for the host's name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="kinesis-health-request",
            daemon=True,  # a client that hangs holds up no end
        )
        try:
            thread.start()
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        logger.debug("A request to the health port failed: %r", sys.exception())


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._tell(self.server.health.liveness())
        elif path == "/readyz":
            self._tell(self.server.health.readiness())
        elif path == "/metrics":
            self._tell_metrics()
        else:
            self._tell(_NOT_FOUND, HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815

    def _tell_metrics(self) -> None:
        """Answer what the first receiver does; without one, that there is nothing."""
        free = self.server.free_for_metrics
        if not free.acquire(blocking=False):
            self._tell({"ok": False, "error": "earlier requests still wait for their metrics"})
            return
        try:
            accept = self.headers.get("Accept", "")
            answers = signals.metrics_asked.send_robust(HealthPort, accept=accept)
        finally:
            free.release()
        for _receiver, answer in answers:
            if isinstance(answer, tuple):
                self._answer(HTTPStatus.OK, *answer)
                return
        if any(isinstance(answer, Exception) for _receiver, answer in answers):
            told = {"ok": False, "error": "the metrics failed; the log says why"}
            self._tell(told, HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            self._tell(_NOT_FOUND, HTTPStatus.NOT_FOUND)

    def _tell(self, document: dict[str, Any], status: HTTPStatus | None = None) -> None:
        usual = HTTPStatus.OK if document["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status or usual, "application/json", json.dumps(document).encode() + b"\n")

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "kinesis_relay"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        logger.debug("Health port: %s", format % args)


def _why(host: str, port: int, error: OSError) -> Text:
    said = _(
        "Nothing can listen on {host}, port {port}: {error}. Fix: name an address of this machine"
        " with --health-host, such as 127.0.0.1 or 0.0.0.0."
    )
    if error.errno == errno.EADDRINUSE:
        said = _(
            "Port {port} of {host} is taken by another process. Fix: choose a free one with"
            " --health-port, or end the other: two relays of one machine need two ports."
        )
    elif error.errno == errno.EACCES:
        said = _("Port {port} is for root only. Fix: choose one from 1024 on with --health-port.")
    return Text(said, host=host, port=port, error=error.strerror or str(error))
