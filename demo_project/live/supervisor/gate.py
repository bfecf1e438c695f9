"""The relay's way to AWS: a proxy before the emulator that can be shut, or made narrow."""

import json
import re
import threading
import time
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
Fault = Literal["down", "throttled"]
RECORDS_PER_SECOND = 0.5
"""What the stream takes while it is throttled: too little for a shop."""
_PUT_RECORDS = "Kinesis_20131202.PutRecords"
# How Kinesis names it, and what it says: PutRecords, Kinesis Data Streams API Reference.
_THROTTLED = {
    "ErrorCode": "ProvisionedThroughputExceededException",
    "ErrorMessage": "Rate exceeded for shard shardId-000000000000 in stream orders",
}
_ARN = re.compile(r"<AssumedRoleUser>.*?<Arn>([^<]+)</Arn>", re.DOTALL)
_EXPIRES = re.compile(r"<Expiration>([^<]+)</Expiration>")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_Reply = tuple[int, list[tuple[str, str]], bytes]


class Gate:
    """Passes the relay's requests on to the emulator, unless a fault is on."""

    def __init__(self, emulator: str) -> None:
        """`emulator`: its URL. Serves in threads of its own, on a free port."""
        self._behind = urlsplit(emulator)
        self.fault: Fault | None = None
        self.session: dict[str, Any] | None = None
        """The last session that STS gave: its ``arn``, and when it ``expires`` (Unix time)."""
        self._lock = threading.Lock()
        self._tokens, self._counted = 1.0, time.monotonic()
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.gate = self
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Let go of the port."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Reply:
        """Answer one request, as AWS would."""
        target = headers.get("X-Amz-Target", "")
        if self.fault == "down":
            return _error(503, "ServiceUnavailable", "The service is not available.", target)
        if self.fault == "throttled" and target == _PUT_RECORDS:
            return self._put_some(method, path, headers, json.loads(body))
        status, given, answer = self._pass_on(method, path, headers, body)
        if b"Action=AssumeRole" in body:
            self._note_session(answer.decode(errors="replace"))
        return status, given, answer

    def _put_some(
        self, method: str, path: str, headers: dict[str, str], request: dict[str, Any]
    ) -> _Reply:
        """Pass on as many records as the rate allows, and refuse the others, one by one."""
        records = request["Records"]
        passed = self._take(len(records))
        answers: list[dict[str, Any]] = []
        if passed:
            part = json.dumps({**request, "Records": records[:passed]}).encode()
            status, given, answer = self._pass_on(method, path, headers, part)
            if status != 200:
                return status, given, answer
            answers = json.loads(answer)["Records"]
        answers += [_THROTTLED] * (len(records) - passed)
        failed = sum("ErrorCode" in one for one in answers)
        reply = {"FailedRecordCount": failed, "Records": answers}
        return 200, [("Content-Type", "application/x-amz-json-1.1")], json.dumps(reply).encode()

    def _take(self, most: int) -> int:
        """Take up to `most` of the records that the stream takes now: a bucket of one token."""
        with self._lock:
            now = time.monotonic()
            self._tokens += (now - self._counted) * RECORDS_PER_SECOND
            self._tokens, self._counted = min(self._tokens, 1.0), now
            taken = min(most, int(self._tokens))
            self._tokens -= taken
            return taken

    def _pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Reply:
        connection = HTTPConnection(self._behind.hostname or "", self._behind.port, timeout=30)
        kept = {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            connection.request(method, path, body, kept)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            return _error(502, "ServiceUnavailable", "The emulator does not answer.", "")
        finally:
            connection.close()
        given = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOP_BY_HOP]
        return answer.status, given, content

    def _note_session(self, answer: str) -> None:
        arn, expires = _ARN.search(answer), _EXPIRES.search(answer)
        if arn and expires:
            until = datetime.fromisoformat(expires[1]).timestamp()
            self.session = {"arn": arn[1], "expires": until}


class _Server(ThreadingHTTPServer):
    gate: Gate
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = dict(self.headers.items())
        status, given, answer = self.server.gate.answer(self.command, self.path, headers, body)
        self.send_response_only(status)
        for name, value in given:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing: the page does."""


def _error(status: int, code: str, message: str, target: str) -> _Reply:
    """Return an error in the wire format of Kinesis (`target`), or of STS."""
    if target:
        body = json.dumps({"__type": code, "message": message})
        return status, [("Content-Type", "application/x-amz-json-1.1")], body.encode()
    body = (
        f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        "</ErrorResponse>"
    )
    return status, [("Content-Type", "text/xml")], body.encode()
