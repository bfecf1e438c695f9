"""A small HTTP server that answers as AWS does, with whatever a test wants to hear.

``AwsServer`` records each request and asks the test's handler for the reply. :func:`sts_error` and
:func:`kinesis_error` make replies in the two services' wire formats.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


@dataclass
class Request:
    service: str
    action: str
    parameters: dict
    headers: dict = field(repr=False, default_factory=dict)


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict = field(default_factory=dict)


class AwsServer:
    """Answers on 127.0.0.1; :attr:`url`, :attr:`requests`; a context manager."""

    def __init__(self, handler):
        self.requests: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                target = self.headers.get("X-Amz-Target")
                if target:
                    request = Request(
                        "kinesis", target.split(".")[1], json.loads(body), dict(self.headers)
                    )
                else:
                    form = {k: v[0] for k, v in parse_qs(body.decode()).items()}
                    request = Request("sts", form.pop("Action"), form, dict(self.headers))
                outer.requests.append(request)
                reply = handler(request)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self, action):
        return sum(request.action == action for request in self.requests)


def caller_identity(arn="arn:aws:iam::111111111111:user/site"):
    account = arn.split(":")[4]
    return Reply(
        200,
        f"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>{arn}</Arn><UserId>AIDA</UserId><Account>{account}</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>""".encode(),
        {"Content-Type": "text/xml"},
    )


def assumed(request, seconds=3600.0, number=1):
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    account, role = request.parameters["RoleArn"].split(":")[4], request.parameters["RoleArn"]
    session = request.parameters["RoleSessionName"]
    name = role.rsplit("/", 1)[-1]
    return Reply(
        200,
        f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:{session}</AssumedRoleId>
<Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIATEST{number:012d}</AccessKeyId>
<SecretAccessKey>secret-of-session-{number:022d}</SecretAccessKey>
<SessionToken>token-of-session-{number:022d}</SessionToken>
<Expiration>{expires.isoformat().replace("+00:00", "Z")}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>""".encode(),
        {"Content-Type": "text/xml"},
    )


def sts_error(code, message, status=403, **headers):
    return Reply(
        status,
        f"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>
<RequestId>0</RequestId></ErrorResponse>""".encode(),
        {"Content-Type": "text/xml", **headers},
    )


def kinesis_reply(body):
    return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.1"})


def kinesis_error(code, message, status=400):
    body = json.dumps({"__type": code, "message": message}).encode()
    return Reply(status, body, {"Content-Type": "application/x-amz-json-1.1"})
