"""Reading a stream back."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from kinesis_bridge import get_client
from kinesis_bridge.aggregation import pack
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.exceptions import EndpointError, StreamError
from kinesis_bridge.tail import Reader, as_dict, may_not_read
from tests.support.aws import (
    Answers,
    AwsServer,
    Reply,
    bridge,
    kinesis_error,
    kinesis_reply,
)


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


@pytest.fixture
def reader(aws):
    reader = Reader(get_config().stream("default"))
    yield reader
    reader.close()


@pytest.fixture
def emulated(fresh):
    reader = Reader(get_config().stream("default"))
    yield reader
    reader.close()


def data(records):
    return [record.data for record in records]


def test_every_record_of_every_shard_comes_once_and_in_the_order_of_its_key(emulated):
    given = [(f"k{number % 7}", f"{number}".encode()) for number in range(70)]
    get_client().put_records(given)

    stored = list(emulated.tail("oldest"))

    assert sorted(data(stored)) == sorted(data for _, data in given)
    for key in {key for key, _ in given}:
        assert [r.data for r in stored if r.partition_key == key] == [
            payload for k, payload in given if k == key
        ]


def test_a_limit_ends_it(emulated):
    get_client().put_records([("k", b"1"), ("k", b"2"), ("k", b"3")])

    assert data(emulated.tail("oldest", limit=2)) == [b"1", b"2"]
    assert data(emulated.tail("oldest", limit=0)) == []
    assert data(emulated.tail("oldest", limit=9)) == [b"1", b"2", b"3"]


def test_an_empty_stream_ends_at_once(emulated):
    assert list(emulated.tail("oldest")) == []
    assert list(emulated.tail("latest")) == []


def test_from_a_time(emulated):
    get_client().put_record(b"before", "k")
    time.sleep(0.02)
    between = datetime.now(UTC)
    time.sleep(0.02)
    get_client().put_record(b"after", "k")

    assert data(emulated.tail(between)) == [b"after"]
    assert data(emulated.tail(between - timedelta(hours=1))) == [b"before", b"after"]


def test_following_from_the_latest_gives_what_comes_later_only(emulated):
    get_client().put_record(b"before", "k")
    timer = threading.Timer(0.6, lambda: get_client().put_record(b"later", "k"))
    timer.start()

    assert data(islice(emulated.tail("latest", follow=True), 1)) == [b"later"]
    timer.join()


def test_an_aggregated_record_is_taken_apart(emulated):
    inside = [Record("a", b"1"), Record("b", b"2"), Record("a", b"3")]
    get_client().put_record(pack(inside), "outer")

    stored = list(emulated.tail("oldest"))

    assert [(record.partition_key, record.data) for record in stored] == [
        ("a", b"1"),
        ("b", b"2"),
        ("a", b"3"),
    ]
    assert len({record.sequence_number for record in stored}) == 1


def test_find_returns_the_record_that_landed_there(emulated):
    get_client().put_record(b"before", "k")
    landed = get_client().put_record(b"this", "k")
    get_client().put_record(b"after", "k")

    found = emulated.find(landed)

    assert found.data == b"this"
    assert (found.shard_id, found.sequence_number) == tuple(landed)
    assert abs((found.arrived - datetime.now(UTC)).total_seconds()) < 60


def test_find_gives_up_in_time(reader):
    started = time.monotonic()
    assert reader.find(PutResult("shardId-000000000000", "1"), seconds=0.5) is None
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
def test_a_role_that_may_not_read_is_told_apart(reader, answers, code):
    answers.replaced["GetShardIterator"] = kinesis_error(code, "no")

    with pytest.raises(StreamError) as caught:
        reader.find(PutResult("shardId-000000000000", "1"))

    assert may_not_read(caught.value)
    (document,) = caught.value.documents.values()
    assert "kinesis:GetRecords" in str(document)


def test_another_error_is_no_lack_of_permission(reader, answers):
    answers.replaced["ListShards"] = kinesis_error("ResourceNotFoundException", "gone")

    with pytest.raises(StreamError, match="no stream 'orders'") as caught:
        list(reader.tail())

    assert not may_not_read(caught.value)


def test_throttling_is_waited_for(reader, answers):
    get_client().put_record(b"x", "k")
    replies = [kinesis_error("ProvisionedThroughputExceededException", "slow"), None, None]
    answers.replaced["GetRecords"] = lambda request: replies.pop(0)

    assert data(reader.tail()) == [b"x"]


def test_a_page_that_is_empty_before_the_tip_is_not_the_end(reader, answers):
    get_client().put_record(b"x", "k")
    far_behind = kinesis_reply(
        {"Records": [], "NextShardIterator": "0", "MillisBehindLatest": 9000}
    )
    replies = [far_behind, far_behind, None, None]
    answers.replaced["GetRecords"] = lambda request: replies.pop(0)

    assert data(reader.tail()) == [b"x"]


def test_the_shards_of_several_pages_are_all_read(reader, answers, aws):
    def shards(request):
        if "NextToken" in request.parameters:
            assert "StreamName" not in request.parameters, "AWS refuses both at once"
            return None
        return kinesis_reply({"Shards": [], "NextToken": "more"})

    answers.replaced["ListShards"] = shards
    get_client().put_record(b"x", "k")

    assert data(reader.tail()) == [b"x"]
    assert aws.count("ListShards") == 2


def test_a_resharding_is_followed_into_the_children(reader, answers):
    records = {"parent": b"1", "child": b"2"}
    shards = ["parent"]

    def get(request):
        shard = request.parameters["ShardIterator"]
        if shard == "end":
            return kinesis_reply(
                {"Records": [], "NextShardIterator": "end", "MillisBehindLatest": 0}
            )
        entry = {
            "SequenceNumber": "1",
            "ApproximateArrivalTimestamp": 0,
            "Data": {"parent": "MQ==", "child": "Mg=="}[shard],
            "PartitionKey": "k",
        }
        answer = {"Records": [entry], "MillisBehindLatest": 0}
        if shard == "parent":
            shards.append("child")  # the parent is closed: no next iterator
        else:
            answer["NextShardIterator"] = "end"
        return kinesis_reply(answer)

    answers.replaced = {
        "ListShards": lambda request: kinesis_reply(
            {
                "Shards": [
                    {
                        "ShardId": shard,
                        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
                        "SequenceNumberRange": {"StartingSequenceNumber": "0"},
                    }
                    for shard in shards
                ]
            }
        ),
        "GetShardIterator": lambda request: kinesis_reply(
            {"ShardIterator": request.parameters["ShardId"]}
        ),
        "GetRecords": get,
    }

    assert data(reader.tail("latest")) == [*records.values()]


def test_a_reply_that_is_not_awss_is_explained(reader, answers):
    answers.replaced["ListShards"] = Reply(
        200, b"<html>Please log in</html>", {"Content-Type": "text/html"}
    )

    with pytest.raises(EndpointError, match="gave no whole answer"):
        list(reader.tail())


@pytest.mark.parametrize(
    ("payload", "event"),
    [(b'{"a":1}', {"a": 1}), (b"plain text", "plain text"), (b"\xff\x00", {"base64": "/wA="})],
)
def test_as_dict_shows_json_text_or_base64(emulated, payload, event):
    landed = get_client().put_record(payload, "k")

    (record,) = emulated.tail()

    assert as_dict(record) == {
        "shard_id": landed.shard_id,
        "sequence_number": landed.sequence_number,
        "partition_key": "k",
        "arrived": record.arrived,
        "event": event,
    }


def test_a_repr_shows_no_data(emulated):
    get_client().put_record(b"payload", "k")
    (record,) = emulated.tail()
    assert "payload" not in repr(record)
