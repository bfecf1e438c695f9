"""A small HTTP server that answers as AWS does, with whatever a test wants to hear.

``AwsServer`` records each request and asks the test's handler for the reply. :func:`sts_error` and
:func:`kinesis_error` make replies in the two services' wire formats. :class:`Answers` is a handler
that works, but for what a test replaces. :func:`manage` runs the demo project's commands.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs

ROOT = Path(__file__).resolve().parents[2]
ROLE_ARN = "arn:aws:iam::222222222222:role/EventWriter"
SITE_ARN = "arn:aws:iam::111111111111:user/site"


@dataclass
class Request:
    service: str
    action: str
    parameters: dict
    headers: dict = field(repr=False, default_factory=dict)

    @property
    def access_key(self):
        return self.headers["Authorization"].split("Credential=")[1].split("/")[0]

    @property
    def scope(self):
        """Region and service that the request was signed for."""
        return tuple(self.headers["Authorization"].split("Credential=")[1].split("/")[2:4])


@dataclass
class Reply:
    status: int
    body: bytes
    headers: dict = field(default_factory=dict)


class AwsServer:
    """Answers on 127.0.0.1; :attr:`url`, :attr:`requests`; a context manager."""

    def __init__(self, handler):
        self.requests: list[Request] = []
        self.date = None  # of replies to what is not signed; None: now
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response_only(302)
                self.send_header("Date", outer.date or self.date_time_string())
                self.send_header("Content-Length", "0")
                self.end_headers()

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
                # send_response would add a Date of its own.
                self.send_response_only(reply.status)
                if "Date" not in reply.headers:
                    self.send_header("Date", self.date_time_string())
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # fifty threads at once are a test, not an outage

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, action):
        return [request for request in self.requests if request.action == action]

    def count(self, action):
        return len(self.of(action))

    @property
    def environment(self):
        """What makes boto3 of this or another process come here, as account A's user."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIATESTSITE00000000",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-site-itself-0123456789abcd",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Answers:
    """A handler: both accounts work, one shard keeps the records; `replaced` by action.

    A replacement is a reply or a callable from the request to a reply; None falls back to what
    works.
    """

    def __init__(self, *, seconds=3600.0, **replaced):
        self.seconds = seconds
        self.replaced = replaced
        self.records = []
        self.numbers = count(1)
        self._lock = threading.Lock()
        self.working = {
            "GetCallerIdentity": self.caller,
            "SimulatePrincipalPolicy": lambda _: sts_error("AccessDenied", "not authorized"),
            "AssumeRole": self.assume,
            "PutRecords": self.put,
            "ListShards": self.shards,
            "GetShardIterator": self.iterator,
            "GetRecords": self.read,
            "DescribeStreamSummary": self.describe,
            "DescribeDeliveryStream": self.describe_firehose,
        }
        self.summary = {}

    def __call__(self, request):
        replaced = self.replaced.get(request.action)
        reply = replaced(request) if callable(replaced) else replaced
        return self.working[request.action](request) if reply is None else reply

    def caller(self, request):
        if request.access_key.startswith("ASIATEST"):
            return caller_identity("arn:aws:sts::222222222222:assumed-role/EventWriter/tests")
        return caller_identity()

    def assume(self, request):
        return assumed(request, self.seconds, next(self.numbers))

    def describe(self, request):
        summary = {
            "StreamARN": "arn:aws:kinesis:eu-west-1:222222222222:stream/orders",
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "RetentionPeriodHours": 24,
            "EncryptionType": "NONE",
            "OpenShardCount": 4,
            "MaxRecordSizeInKiB": 1024,
        }
        return kinesis_reply({"StreamDescriptionSummary": {**summary, **self.summary}})

    def describe_firehose(self, request):
        told = {
            "DeliveryStreamARN": "arn:aws:firehose:eu-west-1:222222222222:deliverystream/lake",
            "DeliveryStreamName": "lake",
            "DeliveryStreamStatus": "ACTIVE",
            "DeliveryStreamType": "DirectPut",
            "VersionId": "1",
            "Destinations": [],
            "HasMoreDestinations": False,
        }
        return kinesis_reply({"DeliveryStreamDescription": {**told, **self.summary}})

    def put(self, request):
        if request.parameters.get("DryRun"):
            return kinesis_error("DryRunOperationException", "It would have succeeded.")
        return kinesis_reply(
            {
                "FailedRecordCount": 0,
                "Records": [self.keep(entry) for entry in request.parameters["Records"]],
            }
        )

    def keep(self, entry):
        with self._lock:
            number = str(len(self.records) + 1)
            self.records.append(
                {
                    "SequenceNumber": number,
                    "ApproximateArrivalTimestamp": time.time(),
                    "Data": entry["Data"],
                    "PartitionKey": entry["PartitionKey"],
                }
            )
        return {"ShardId": "shardId-000000000000", "SequenceNumber": number}

    def shards(self, request):
        return kinesis_reply(
            {
                "Shards": [
                    {
                        "ShardId": "shardId-000000000000",
                        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(2**128 - 1)},
                        "SequenceNumberRange": {"StartingSequenceNumber": "0"},
                    }
                ]
            }
        )

    def iterator(self, request):
        start = {
            "LATEST": len(self.records),
            "AT_SEQUENCE_NUMBER": int(request.parameters.get("StartingSequenceNumber", 1)) - 1,
        }
        at = start.get(request.parameters["ShardIteratorType"], 0)
        return kinesis_reply({"ShardIterator": str(at)})

    def read(self, request):
        at = int(request.parameters["ShardIterator"])
        records = self.records[at : at + request.parameters["Limit"]]
        following = str(at + len(records))
        return kinesis_reply(
            {"Records": records, "NextShardIterator": following, "MillisBehindLatest": 0}
        )

    @property
    def payloads(self):
        return [base64.b64decode(record["Data"]) for record in self.records]


def bridge(**role):
    """KINESIS_BRIDGE with one role and one stream, for an AWS that is not the emulator."""
    return {
        "SOURCE": "/tests",
        "ROLES": {"writer": {"ROLE_ARN": ROLE_ARN, **role}},
        "STREAMS": {"default": {"STREAM": "orders", "ROLE": "writer", "REGION": "eu-west-1"}},
    }


def closed_port():
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def environment(tmp_path, **changed):
    """The demo project's environment, whole: nothing of the tester's own, nor of a .env."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "KINESIS_"))}
    return {
        **kept,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DJANGO_SETTINGS_MODULE": "demo_project.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path}/demo.sqlite3",
        "COLUMNS": "80",
        "KINESIS_STREAM": "orders",
        "KINESIS_ROLE_ARN": ROLE_ARN,
        "KINESIS_EXTERNAL_ID": "demo-shop",
        "KINESIS_REGION": "eu-west-1",
        "KINESIS_SESSION_NAME": "",
        "KINESIS_PROFILE": "",
        "KINESIS_DELIVERY": "direct",
        "KINESIS_SOURCE": "/demo-shop",
        "KINESIS_S3_ROLE_ARN": "",
        "KINESIS_FIREHOSE_ARN": "",
        "KINESIS_LOCAL_AWS": "False",
        "KINESIS_LOCAL_AWS_URL": f"http://127.0.0.1:{closed_port()}",
        **changed,
    }


def python(*arguments, env):
    """Run Python in the project to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def manage(*arguments, env):
    """Run ``manage.py`` of the demo project to its end."""
    return python("manage.py", *arguments, env=env)


def start_manage(*arguments, env, in_background=False):
    """Start ``manage.py`` of the demo project; the caller ends it.

    As a terminal does, whatever started the tests; `in_background` as a shell's ``&`` does, which
    has the process ignore Ctrl-C.
    """
    disposition = signal.SIG_IGN if in_background else signal.SIG_DFL
    inherited = signal.signal(signal.SIGINT, disposition)
    try:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, inherited)


def caller_identity(arn=SITE_ARN):
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


def simulated(decision):
    return Reply(
        200,
        f"""<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults><member>
<EvalActionName>sts:AssumeRole</EvalActionName><EvalDecision>{decision}</EvalDecision></member>
</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>""".encode(),
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
