"""boto3's way and the fast way: the same requests, the same answers, the same errors."""

from __future__ import annotations

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.httpsession
import pytest

from benchmarks.sink import Sink
from kinesis_bridge import conf
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import Record
from kinesis_bridge.exceptions import EndpointError
from kinesis_bridge.transport import open_transport
from kinesis_bridge.transport.aws import Boto3Transport
from kinesis_bridge.transport.fast import FastTransport
from tests.support.aws import Answers, AwsServer, kinesis_error
from tests.support.producer import (
    TRANSPORTS,
    assert_acknowledged,
    configured,
    events,
    producing,
    read,
)

RECORDS = [
    Record("key", b"data"),
    Record('"\\\n\x00\x7f\u2028 é \N{GRINNING FACE}', bytes(range(256))),
    Record("empty", b""),
    Record("explicit", b"x", str(2**128 - 1)),
]
ARN = "arn:aws:kinesis:us-east-1:222222222222:stream/orders"
# The fast way writes JSON without spaces, and does not number attempts: it makes one.
CHANGES = {
    "Authorization",
    "X-Amz-Date",
    "Content-Length",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
}


def opened(transport):
    conf.reset()
    return open_transport(get_config().stream("default"))


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def test_auto_is_the_fast_one_and_boto3_can_be_asked_for():
    for name, kind in [("auto", FastTransport), ("fast", FastTransport), ("boto3", Boto3Transport)]:
        with configured("http://127.0.0.1:9", TRANSPORT=name):
            assert type(opened(name)) is kind


# What is sent


def sent_by(transport, *, role=False, **given):
    """The second PutRecords of a transport, apart from what changes with every request."""
    with (
        AwsServer(Answers()) as server,
        configured(server.url, name="orders", TRANSPORT=transport, role=role, **given),
    ):
        used = opened(transport)
        for _ in range(2):
            assert_acknowledged(used.put(RECORDS))
        used.close()
        (_, second) = server.of("PutRecords")
    host = server.url.removeprefix("http://")
    headers = {
        name: value.replace(host, "host")
        for name, value in second.headers.items()
        if name not in CHANGES
    }
    signature = second.headers["Authorization"]
    signed = signature.split("SignedHeaders=")[1].split(",")[0]
    return second.parameters, headers, second.scope, signed


@pytest.mark.parametrize("role", [False, True])
@pytest.mark.parametrize("stream", [{}, {"STREAM": ARN}])
def test_both_send_the_same_request(role, stream):
    fast, reference = (sent_by(one, role=role, stream=stream) for one in TRANSPORTS)
    if role:
        for _, headers, _, _ in (fast, reference):
            assert headers.pop("X-Amz-Security-Token").startswith("token-of-session-")
    assert fast == reference
    body, headers, scope, _ = fast
    assert scope == ("us-east-1", "kinesis")
    assert headers["X-Amz-Target"] == "Kinesis_20131202.PutRecords"
    assert body.pop("Records") == [
        {
            "PartitionKey": record.partition_key,
            "Data": base64.b64encode(record.data).decode(),
            **({"ExplicitHashKey": record.explicit_hash_key} if record.explicit_hash_key else {}),
        }
        for record in RECORDS
    ]
    assert body == ({"StreamARN": ARN} if stream else {"StreamName": "orders"})


def destination(transport, monkeypatch):
    """The URL that a transport would send to, and the signing scope: nothing leaves."""
    seen = []

    def stop(_self, request):
        seen.append(request)
        raise botocore.httpsession.EndpointConnectionError(endpoint_url=request.url)

    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", stop)
    used = opened(transport)
    with pytest.raises(EndpointError):
        used.put(RECORDS)
    (request,) = seen
    authorization = request.headers["Authorization"]
    authorization = authorization.decode() if isinstance(authorization, bytes) else authorization
    return request.url, authorization.split("Credential=")[1].split("/")[2:4]


@pytest.mark.parametrize(
    ("stream", "environment", "url"),
    [
        ({}, {}, "https://kinesis.us-east-1.amazonaws.com/"),
        ({"REGION": "cn-north-1"}, {}, "https://kinesis.cn-north-1.amazonaws.com.cn/"),
        ({"STREAM": ARN}, {}, "https://222222222222.data-kinesis.us-east-1.amazonaws.com/"),
        (
            {"STREAM": ARN},
            {"AWS_USE_FIPS_ENDPOINT": "true"},
            "https://222222222222.data-kinesis-fips.us-east-1.amazonaws.com/",
        ),
        (
            {"STREAM": ARN},
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "https://222222222222.data-kinesis.us-east-1.api.aws/",
        ),
        ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://kinesis-fips.us-east-1.amazonaws.com/"),
        ({}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://kinesis.us-east-1.api.aws/"),
        (
            {},
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "https://kinesis-fips.us-east-1.api.aws/",
        ),
        ({}, {"AWS_ENDPOINT_URL": "http://example.test:99/a/b"}, "http://example.test:99/a/b"),
        ({}, {"AWS_ENDPOINT_URL_KINESIS": "https://vpce.test"}, "https://vpce.test/"),
    ],
)
def test_both_go_to_the_same_url(transport, monkeypatch, stream, environment, url):
    with configured("", name="orders", stream=stream, environment=environment, TRANSPORT=transport):
        if "AWS_ENDPOINT_URL" not in environment:
            monkeypatch.delenv("AWS_ENDPOINT_URL")
        assert destination(transport, monkeypatch) == (
            url,
            [stream.get("REGION", "us-east-1"), "kinesis"],
        )


@pytest.fixture
def proxy():
    """An HTTP proxy that answers itself, and notes the URLs that it is asked for."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers.get("Proxy-Authorization")))
            entry = b'{"SequenceNumber":"1","ShardId":"shardId-000000000000"}'
            body = b'{"FailedRecordCount":0,"Records":[%s]}' % b",".join([entry] * len(RECORDS))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1], seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_go_through_the_proxy(transport, proxy):
    port, seen = proxy
    environment = {"HTTP_PROXY": f"http://user:pass@127.0.0.1:{port}"}
    url = "http://kinesis.example.test"
    with configured(url, environment=environment, TRANSPORT=transport):
        assert_acknowledged(opened(transport).put(RECORDS))
    assert seen == [(f"{url}/", "Basic dXNlcjpwYXNz")]


@pytest.mark.parametrize("bundle", [None, "/etc/corporate-ca.pem"])
def test_the_ca_bundle_reaches_the_http_session(transport, bundle, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    environment = {"AWS_CA_BUNDLE": bundle} if bundle else {}
    with configured("http://127.0.0.1:9", environment=environment, TRANSPORT=transport):
        used = opened(transport)
        http = getattr(used, "_http", None) or used.client._endpoint.http_session
        assert http._verify == (bundle or True)


def test_time_outs_are_the_options(transport):
    with (
        AwsServer(Answers(PutRecords=lambda _: time.sleep(5))) as server,
        configured(server.url, TRANSPORT=transport, READ_TIMEOUT=0.2),
    ):
        used = opened(transport)
        started = time.monotonic()
        with pytest.raises(EndpointError) as caught:
            used.put(RECORDS)
        assert time.monotonic() - started < 3
        used.close()
    assert caught.value.code == "ReadTimeoutError"


def test_no_request_is_repeated_by_the_transport(transport):
    with (
        AwsServer(Answers(PutRecords=kinesis_error("InternalFailure", "", 500))) as server,
        configured(server.url, TRANSPORT=transport),
    ):
        with pytest.raises(EndpointError):
            opened(transport).put(RECORDS)
        assert server.count("PutRecords") == 1


def test_credentials_are_refreshed_on_the_way(transport):
    records = events(400, 50)
    with (
        Sink(sts_lifetime=2.0) as sink,
        producing(sink.url, role=True, TRANSPORT=transport) as producer,
    ):
        begun = time.monotonic()
        sent = 0
        while time.monotonic() < begun + 3.6 and sent < 400:
            assert_acknowledged(producer.send(records[sent : sent + 8]))
            sent += 8
            time.sleep(0.08)
        assert read(sink, producer.stream.name).verdict(records[:sent]).exact
        renewals = (time.monotonic() - begun) / (0.75 * 2.0)
        assert 2 <= sink.stats()["assume_role"] <= 3 + renewals
        # A machine that stands still just then lets a set of them end on its way.
        assert sink.stats()["errors"].keys() <= {"ExpiredTokenException"}
