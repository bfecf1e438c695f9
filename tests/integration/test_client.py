"""``get_client()`` against a server that answers as Kinesis does."""

from __future__ import annotations

import base64
import os

import pytest
from django.core.exceptions import ImproperlyConfigured

from kinesis_bridge import get_client
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import (
    AssumeRoleError,
    PartialFailure,
    PartitionKeyError,
    RecordTooLarge,
    SerializationError,
    StreamError,
    ThrottledError,
)
from tests.support.aws import (
    Answers,
    AwsServer,
    bridge,
    kinesis_error,
    kinesis_reply,
    sts_error,
)

THROTTLED = {
    "ErrorCode": "ProvisionedThroughputExceededException",
    "ErrorMessage": "Rate exceeded for shard shardId-000000000000",
}


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def aws(answers, monkeypatch, settings):
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge()
        yield server


def entries(request):
    """The (key, data) of one PutRecords."""
    return [
        (entry["PartitionKey"], base64.b64decode(entry["Data"]))
        for entry in request.parameters["Records"]
    ]


def sent(aws):
    return [entries(request) for request in aws.of("PutRecords")]


def options(**given):
    configured = bridge()
    configured["STREAMS"]["default"]["OPTIONS"] = given
    return configured


def throttle(*keys, times):
    """Answer `times` requests with these keys throttled, and then let everything pass."""

    def answer_with(answers):
        left = [times]

        def put(request):
            if left[0] == 0:
                return None
            left[0] -= 1
            records = [
                THROTTLED if entry["PartitionKey"] in keys else answers.keep(entry)
                for entry in request.parameters["Records"]
            ]
            return kinesis_reply({"FailedRecordCount": len(keys), "Records": records})

        answers.replaced["PutRecords"] = put

    return answer_with


def test_there_is_one_client_per_stream(aws):
    assert get_client() is get_client() is get_client("default")


def test_a_stream_that_the_settings_lack_is_named(aws):
    with pytest.raises(ImproperlyConfigured, match=r"has no 'audit'; there are: 'default'"):
        get_client("audit")


@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        (b"\x00\xff bytes", b"\x00\xff bytes"),
        (bytearray(b"mutable"), b"mutable"),
        (memoryview(b"a view"), b"a view"),
        ("text: ü", "text: ü".encode()),
        ("", b""),
        ({"total": 3, "lines": [1, None]}, b'{"total":3,"lines":[1,null]}'),
        (7, b"7"),
    ],
)
def test_put_record_sends_bytes_as_they_are_text_as_utf8_and_the_rest_as_json(aws, data, arrives):
    result = get_client().put_record(data, "customer-9")

    assert sent(aws) == [[("customer-9", arrives)]]
    assert result == PutResult("shardId-000000000000", "1")


def test_without_a_key_each_record_has_a_random_one(aws):
    for _ in range(3):
        get_client().put_record(b"x")
    get_client().put_records([(None, b"x")] * 3)

    keys = {key for request in sent(aws) for key, _ in request}
    assert len(keys) == 6
    assert all(len(key) == 32 for key in keys)


def test_put_records_answers_in_the_order_given(aws, answers):
    given = [(f"k{number}", f"{number}".encode()) for number in range(1200)]

    results = get_client().put_records(given)

    landed = [answers.payloads[int(result.sequence_number) - 1] for result in results]
    assert landed == [data for _, data in given]
    assert max(len(request) for request in sent(aws)) <= 500


def test_put_records_takes_any_iterable_and_none_at_all(aws):
    assert get_client().put_records([]) == []
    assert aws.requests == []
    assert len(get_client().put_records((key, b"x") for key in "ab")) == 2


def test_no_request_holds_two_records_of_one_key_and_their_order_stays(aws, answers):
    given = [(key, f"{key}{number}".encode()) for number in range(5) for key in "abc"]

    get_client().put_records(given)

    for request in sent(aws):
        keys = [key for key, _ in request]
        assert len(set(keys)) == len(keys)
    for key in "abc":
        of_key = [data for data in answers.payloads if data.startswith(key.encode())]
        assert of_key == [data for k, data in given if k == key]


@pytest.mark.parametrize(
    "item", [["k", b"x"], "kx", ("k",), ("k", b"x", 1), {"k": b"x"}, b"kx"], ids=repr
)
def test_what_is_no_pair_is_refused_and_nothing_is_sent(aws, item):
    with pytest.raises(TypeError, match=r"takes \(partition key, data\) pairs"):
        get_client().put_records([("good", b"x"), item])
    assert aws.requests == []


@pytest.mark.parametrize("key", ["", "k" * 257, 9, "\ud800"])
def test_a_bad_key_is_refused_and_nothing_is_sent(aws, key):
    with pytest.raises(PartitionKeyError):
        get_client().put_record(b"x", key)
    with pytest.raises(PartitionKeyError):
        get_client().put_records([("good", b"x"), (key, b"x")])
    assert aws.requests == []


def test_a_key_of_256_characters_passes_however_many_bytes(aws):
    get_client().put_record(b"x", "ü" * 256)
    assert sent(aws) == [[("ü" * 256, b"x")]]


def test_too_large_is_refused_and_nothing_is_sent(aws, settings):
    settings.KINESIS_BRIDGE = options(MAX_RECORD_BYTES=1024)

    with pytest.raises(RecordTooLarge, match=r"1,025 bytes \(key included\).*takes 1,024"):
        get_client().put_record(b"x" * 1022, "key")
    with pytest.raises(RecordTooLarge):
        get_client().put_records([("good", b"x"), ("key", b"x" * 1022)])
    assert aws.requests == []

    get_client().put_record(b"x" * 1021, "key")
    assert aws.count("PutRecords") == 1


@pytest.mark.parametrize(
    "data", [object(), {"a": float("nan")}, "\ud800"], ids=["object", "nan", "surrogate"]
)
def test_what_has_no_form_is_refused_and_nothing_is_sent(aws, data):
    with pytest.raises(SerializationError):
        get_client().put_record(data)
    with pytest.raises(SerializationError):
        get_client().put_records([("good", b"x"), ("bad", data)])
    assert aws.requests == []


def test_only_what_failed_is_sent_again(aws, answers):
    throttle("b", times=2)(answers)

    results = get_client().put_records([("a", b"1"), ("b", b"2"), ("c", b"3")])

    assert sent(aws) == [
        [("a", b"1"), ("b", b"2"), ("c", b"3")],
        [("b", b"2")],
        [("b", b"2")],
    ]
    assert [int(result.sequence_number) for result in results] == [1, 3, 2]


def test_a_key_whose_record_failed_is_held_back(aws, answers):
    throttle("a", times=1)(answers)

    get_client().put_records([("a", b"a1"), ("a", b"a2"), ("b", b"b1")])

    assert [data for data in answers.payloads if data.startswith(b"a")] == [b"a1", b"a2"]


def test_partial_failure_carries_both_kinds(aws, answers, settings):
    settings.KINESIS_BRIDGE = options(RETRY_SECONDS=0.3)
    throttle("b", times=-1)(answers)

    with pytest.raises(PartialFailure) as caught:
        get_client().put_records([("a", b"1"), ("b", b"2"), ("c", b"3")])

    first, second, third = caught.value.results
    assert isinstance(first, PutResult)
    assert isinstance(third, PutResult)
    assert isinstance(second, RejectedRecord)
    assert second.code == "ProvisionedThroughputExceededException"
    assert "2 of 3 records are on stream 'default'" in str(caught.value)
    assert isinstance(caught.value.__cause__, ThrottledError)


def test_where_nothing_was_accepted_the_error_is_awss_own(aws, answers, settings):
    settings.KINESIS_BRIDGE = options(RETRY_SECONDS=0.2)
    throttle("a", "b", times=-1)(answers)

    with pytest.raises(ThrottledError, match="Rate exceeded"):
        get_client().put_records([("a", b"1"), ("b", b"2")])


def test_a_missing_stream_is_named_with_its_region_and_account(aws, answers):
    answers.replaced["PutRecords"] = kinesis_error("ResourceNotFoundException", "not found")

    with pytest.raises(StreamError) as caught:
        get_client().put_record(b"x")

    for fact in ("'orders'", "eu-west-1", "222222222222"):
        assert fact in caught.value.message
    assert aws.count("PutRecords") == 1


def test_a_denied_role_sends_no_record(aws, answers):
    answers.replaced["AssumeRole"] = sts_error("AccessDenied", "denied")

    with pytest.raises(AssumeRoleError):
        get_client().put_records([("a", b"1"), ("b", b"2")])

    assert aws.count("PutRecords") == 0


def test_a_5xx_is_retried(aws, answers):
    replies = [kinesis_error("InternalFailure", "oops", 500), None]
    answers.replaced["PutRecords"] = lambda request: replies.pop(0)

    get_client().put_record(b"x", "k")

    assert answers.payloads == [b"x"]
    assert aws.count("PutRecords") == 2


def test_a_client_held_across_new_settings_uses_them(aws, settings):
    client = get_client()
    client.put_record(b"1")
    configured = bridge()
    configured["STREAMS"]["default"]["STREAM"] = "orders-2"
    settings.KINESIS_BRIDGE = configured

    client.put_record(b"2")

    names = [request.parameters["StreamName"] for request in aws.of("PutRecords")]
    assert names == ["orders", "orders-2"]


def test_a_repr_shows_no_data():
    assert repr(get_client()) == "<KinesisClient of stream 'default'>"


def test_the_emulator_takes_the_same_calls(fresh):
    first = get_client().put_record({"hello": os.getpid()})
    second, third = get_client("audit").put_records([("a", b"1"), ("a", b"2")])

    assert first.shard_id.startswith("shardId-")
    assert second.shard_id == third.shard_id
    assert int(second.sequence_number) < int(third.sequence_number)
