"""boto3's way and the fast way read the same answers and fail with the same errors."""

from __future__ import annotations

import pytest

from benchmarks.sink import Sink
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import AwsError, EndpointError
from kinesis_bridge.transport import open_transport
from kinesis_bridge.transport.aws import Boto3Transport
from kinesis_bridge.transport.fast import FastTransport
from tests.support.aws import Answers, AwsServer, Reply, kinesis_error, kinesis_reply
from tests.support.producer import TRANSPORTS, assert_acknowledged, configured, events

RECORDS = events(4, 4)


def opened():
    return open_transport(get_config().stream("default"))


HTML = Reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})


def entries(*found):
    """A reply that says that some failed."""
    return kinesis_reply({"FailedRecordCount": 1, "Records": list(found)})


TAKEN = {"ShardId": "shardId-000000000000", "SequenceNumber": "12"}
REPLIES = {
    "all taken": kinesis_reply({"FailedRecordCount": 0, "Records": [TAKEN, TAKEN]}),
    "nulls": entries({**TAKEN, "ErrorCode": None, "ErrorMessage": None}, TAKEN),
    "some failed": entries(TAKEN, {"ErrorCode": "InternalFailure", "ErrorMessage": "sorry"}),
    "no message": entries({"ErrorCode": "InternalFailure"}, TAKEN),
    "unknown fields": kinesis_reply(
        {"EncryptionType": "KMS", "FailedRecordCount": 0, "New": [1], "Records": [TAKEN, TAKEN]}
    ),
    "spaces": Reply(
        200,
        b' { "Records" : [ {"SequenceNumber" : "1", "ShardId":"s"}, '
        b'{"SequenceNumber":"2","ShardId":"s"} ] , "FailedRecordCount" : 0 } ',
    ),
}
FAILURES = {
    **{
        code: kinesis_error(code, "a message", status)
        for code, status in {
            "AccessDeniedException": 400,
            "ResourceNotFoundException": 400,
            "InvalidArgumentException": 400,
            "ValidationException": 400,
            "KMSDisabledException": 400,
            "KMSThrottlingException": 400,
            "ProvisionedThroughputExceededException": 400,
            "ExpiredTokenException": 400,
            "UnrecognizedClientException": 400,
            "InvalidSignatureException": 403,
            "InternalFailure": 500,
            "ServiceUnavailable": 503,
            "SomethingNew": 400,
        }.items()
    },
    "qualified": kinesis_error("com.amazonaws.kinesis#ResourceNotFoundException", "gone"),
    "with a link": kinesis_error("ResourceNotFoundException:http://internal/", "gone"),
    "no code": Reply(403, b'{"message":"Missing Authentication Token"}'),
    "capital message": Reply(400, b'{"__type":"AccessDeniedException","Message":"Denied"}'),
    "empty 500": Reply(500, b""),
    "empty 502": Reply(502, b""),
    "empty 403": Reply(403, b""),
    "gateway": Reply(504, b"<html>Gateway timeout</html>", {"Content-Type": "text/html"}),
    "too large": Reply(413, b"<html>Request Entity Too Large</html>"),
    "too many": Reply(429, b"slow down"),
    "redirect": Reply(302, b"<html>moved</html>", {"Location": "http://login.test/"}),
    "login page": HTML,
    "empty 200": Reply(200, b""),
    "half": Reply(200, b'{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","Sha'),
    "one of two": entries(TAKEN),
    "three of two": entries(TAKEN, TAKEN, TAKEN),
    "null records": kinesis_reply({"FailedRecordCount": 0, "Records": None}),
}


@pytest.fixture(scope="module")
def outcomes():
    """What both transports make of a reply: the answers, or the error's traits."""
    reply = []
    with (
        AwsServer(Answers(PutRecords=lambda _: reply[0])) as server,
        configured(
            server.url, name="orders", role=True, environment={"AWS_CONFIG_FILE": "/dev/null"}
        ),
    ):
        reference = Boto3Transport(get_config().stream("default"))
        reference.credentials.get_frozen_credentials()  # while the environment has account A's
        both = FastTransport.beside(reference), reference

        def of(given):
            reply[:] = [given]
            asked = server.count("PutRecords")
            results = [result_of(one, server.url) for one in both]
            assert server.count("PutRecords") == asked + 2
            return results

        yield of
        reference.close()


def result_of(transport, url):
    try:
        return list(transport.put(RECORDS[:2]))
    except AwsError as error:
        message = error.message.replace(f"{url}/", "HERE").replace(url, "HERE")
        return type(error), error.code, error.name, error.retryable, message


@pytest.mark.parametrize("name", REPLIES)
def test_both_read_the_same_answers(outcomes, name):
    fast, reference = outcomes(REPLIES[name])
    assert fast == reference
    assert len(fast) == 2
    assert all(isinstance(one, PutResult | RejectedRecord) for one in fast)


@pytest.mark.parametrize("name", FAILURES)
def test_both_fail_with_the_same_error(outcomes, name):
    fast, reference = outcomes(FAILURES[name])
    assert issubclass(reference[0], AwsError)
    assert fast == reference


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "truncated"])
def test_both_see_a_broken_connection_alike(kind):
    def broken(transport):
        with Sink(faults=kind) as sink, configured(sink.url, TRANSPORT=transport):
            used = opened()
            with pytest.raises(EndpointError) as caught:
                used.put(RECORDS)
            used.close()
            return caught.value.name, caught.value.retryable

    assert broken("fast") == broken("boto3") == ("no-answer", True)


def test_shards_are_listed_alike_page_by_page():
    def listed(transport):
        with Sink(shards=5, page_size=2) as sink, configured(sink.url, TRANSPORT=transport) as name:
            used = opened()
            used.put(RECORDS)
            sink.split_shard(1, name)
            found = used.shards()
            used.close()
            return found

    fast, reference = listed("fast"), listed("boto3")
    assert fast == reference
    assert len(fast) == 6
    assert "shardId-000000000001" not in {shard.shard_id for shard in fast}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_close_is_no_end(transport):
    with (
        AwsServer(Answers()) as server,
        configured(server.url, TRANSPORT=transport),
    ):
        used = opened()
        for _ in range(2):
            assert_acknowledged(used.put(RECORDS))
            used.close()
