"""HTTP/1.1 by hand on ``asyncio.BufferedProtocol``: as little work a request as Python allows.

Bytes are received straight into one buffer a connection; a handler sees a ``Request`` that points
into that buffer and returns a ``Reply``. Requests of one connection are answered one at a time, in
order. Bodies need a Content-Length, which every AWS client sends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmarks.sink.config import MAX_BODY_BYTES

JSON = b"application/json"
AMZ_JSON = b"application/x-amz-json-1.1"
XML = b"text/xml"

_INITIAL = 64 * 1024
_KEEP = 1024 * 1024  # a buffer that grew beyond this is given back after the request
_MIN_FREE = 16 * 1024
_MAX_HEAD = 64 * 1024
_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    411: b"Length Required",
    413: b"Request Entity Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


@dataclass(slots=True)
class Reply:
    """What to do with a request.

    ``action``: ``send`` the body; ``truncate``: announce all of it, send half, close; ``reset``:
    TCP RST, nothing sent; ``hang``: nothing, until the client gives up. ``delay`` is in seconds.
    ``then`` is called after the delay and gives the real reply, client still there or not.
    """

    body: bytes = b""
    status: int = 200
    content_type: bytes = AMZ_JSON
    headers: bytes = b""  #: further header lines, each ending in CRLF
    action: Literal["send", "truncate", "reset", "hang"] = "send"
    delay: float = 0.0
    then: Callable[[], Reply] | None = None


class Request:
    """One request; valid until the handler returns, for it points into the connection's buffer."""

    __slots__ = ("_buffer", "_lower", "end", "head", "start")

    def __init__(self, head: bytes, lower: bytes, buffer: bytearray, start: int, end: int) -> None:
        self.head = head
        self._lower = lower
        self._buffer = buffer
        self.start = start
        self.end = end

    def header(self, name: bytes) -> bytes:
        """Value of the header of this lower-case name; empty if absent."""
        return _header(self.head, self._lower, name)

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self.end - self.start

    def count(self, needle: bytes) -> int:
        """How often ``needle`` occurs in the body; no copy is made."""
        return self._buffer.count(needle, self.start, self.end)

    def body(self) -> bytes:
        """A copy of the body."""
        return bytes(memoryview(self._buffer)[self.start : self.end])


class Application(Protocol):
    """What a connection needs of the server."""

    connections: set[Connection]

    def handle(self, request: Request) -> Reply: ...

    def connected(self) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """One client connection, kept alive until either side closes."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(_INITIAL)
        self._begin = 0  # first byte of the request under way
        self._end = 0  # end of what was received
        self._searched = 0  # where the search for the head's end goes on
        self._busy = False
        self._close_after = False

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._app.connections.add(self)
        self._app.connected()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._app.connections.discard(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        if len(self._buffer) - self._end < _MIN_FREE:
            self._make_room(self._end - self._begin + _MIN_FREE)
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        self._process()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- receiving

    def _make_room(self, size: int) -> None:
        """Move the request under way to the front of a buffer that holds ``size`` bytes.

        Never resizes: asyncio may still hold a view of the old buffer.
        """
        held = self._end - self._begin
        target = self._buffer
        if size > len(target):
            target = bytearray(max(size, min(2 * len(target), _KEEP)))
        target[:held] = self._buffer[self._begin : self._end]
        self._buffer = target
        self._searched -= self._begin
        self._begin, self._end = 0, held

    def _process(self) -> None:
        while not self._busy and self._transport is not None and self._begin < self._end:
            head_end = self._buffer.find(b"\r\n\r\n", max(self._searched, self._begin), self._end)
            if head_end < 0:
                self._searched = max(self._begin, self._end - 3)
                if self._end - self._begin > _MAX_HEAD:
                    self.abort()
                return
            self._searched = head_end
            head = bytes(self._buffer[self._begin : head_end])
            lower = head.lower()
            length = _header(head, lower, b"content-length") or b"0"
            if b"transfer-encoding:" in lower or not length.isdigit():
                self._refuse(411)
                return
            start = head_end + 4
            end = start + int(length)
            if end - start > MAX_BODY_BYTES:
                self._refuse(413)
                return
            if end > self._end:
                if _header(head, lower, b"expect").lower() == b"100-continue" and (
                    self._end == start
                ):
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if end > len(self._buffer):
                    self._make_room(end - self._begin + _MIN_FREE)
                return
            self._close_after = _header(head, lower, b"connection").lower() == b"close"
            reply = self._app.handle(Request(head, lower, self._buffer, start, end))
            self._begin = self._searched = end
            if self._begin == self._end:
                self._begin = self._end = self._searched = 0
                if len(self._buffer) > _KEEP:
                    self._buffer = bytearray(_INITIAL)
            if reply.delay > 0:
                self._busy = True
                asyncio.get_running_loop().call_later(reply.delay, self._later, reply)
            else:
                self._perform(reply)

    def _refuse(self, status: int) -> None:
        self._close_after = True
        self._perform(Reply(status=status))

    # -- answering

    def _later(self, reply: Reply) -> None:
        self._busy = False
        if reply.then is not None:
            reply = reply.then()
            if reply.delay > 0:
                self._busy = True
                asyncio.get_running_loop().call_later(reply.delay, self._later, reply)
                return
        self._perform(reply)
        self._process()

    def _perform(self, reply: Reply) -> None:
        transport = self._transport
        if transport is None:
            return
        if reply.action == "reset":
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            self._transport = None
        elif reply.action == "hang":
            self._busy = True
        else:
            body = reply.body
            head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
                reply.status,
                _REASONS.get(reply.status, b"Unknown"),
                reply.content_type,
                len(body),
                reply.headers,
            )
            if reply.action == "truncate":
                transport.write(head + body[: len(body) // 2])
                self._close_after = True
            else:
                transport.write(head + body)
            if self._close_after:
                transport.close()
                self._transport = None


def _header(head: bytes, lower: bytes, name: bytes) -> bytes:
    at = lower.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    end = head.find(b"\r\n", at)
    return head[at : end if end >= 0 else len(head)].strip()
