"""A STOMP server that counts what it is sent and keeps nothing: ``with Stomp() as server``."""

from __future__ import annotations

import socketserver
import threading
from typing import Any, Self


class Stomp:
    """It listens on 127.0.0.1, lets everybody in, and knows of no destinations."""

    def __init__(self) -> None:
        self.messages = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    owner: Stomp


class _Handler(socketserver.BaseRequestHandler):
    """One connection. A frame ends at its NUL: bodies here are JSON and have none within."""

    server: _Server

    def handle(self) -> None:
        rest = b""
        while data := self.request.recv(1 << 16):
            *frames, rest = (rest + data).split(b"\0")
            for frame in frames:
                self._answer(frame.lstrip(b"\r\n"))

    def _answer(self, frame: bytes) -> None:
        if frame.startswith(b"SEND"):
            self.server.owner.messages += 1
        elif frame.startswith((b"CONNECT", b"STOMP")):
            self.request.sendall(b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
        receipt = _header(frame, b"receipt")
        if receipt is not None:
            self.request.sendall(b"RECEIPT\nreceipt-id:" + receipt + b"\n\n\0")


def _header(frame: bytes, name: bytes) -> Any:
    head = frame.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    for line in head.split(b"\n")[1:]:
        key, _, value = line.partition(b":")
        if key == name:
            return value
    return None
