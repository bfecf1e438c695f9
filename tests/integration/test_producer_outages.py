"""Outage or poison: what ends a send, what ends one record, and how long it takes."""

from __future__ import annotations

import time

import pytest

from benchmarks.sink import Sink
from kinesis_bridge.event import PutResult, Record, RejectedRecord
from kinesis_bridge.exceptions import EndpointError, StreamError, ThrottledError
from kinesis_bridge.signals import records_rejected
from tests.support.aws import Answers, AwsServer, kinesis_reply
from tests.support.producer import (
    MODES,
    TRANSPORTS,
    assert_acknowledged,
    events,
    producing,
    read,
    wanted,
)


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=4, process=True) as running:
        yield running


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("access_denied", "stream-denied-caller"),
        ("not_found", "stream-missing"),
        ("kms_disabled", "kms-unusable"),
    ],
)
def test_what_nobody_can_retry_away_ends_a_send_at_once(sink, kind, name, transport):
    told = []

    def receiver(count, codes, **_):
        told.append((count, codes))

    records_rejected.connect(receiver)
    sink.set_faults(f"{kind}:after=1")
    records = events(3000, 3000)
    with producing(sink.url, TRANSPORT=transport) as producer:
        started = time.monotonic()
        results = producer.send(records)
        elapsed = time.monotonic() - started
        landed = read(sink, producer.stream.name).events

    records_rejected.disconnect(receiver)
    rejected = [result for result in results if isinstance(result, RejectedRecord)]
    assert len(landed) == len(results) - len(rejected) == 500
    assert all(isinstance(one.error, StreamError) and not one.poison for one in rejected)
    assert {one.error.name for one in rejected} == {name}
    assert sink.stats()["operations"]["PutRecords"] <= 1 + producer.stream.options["CONCURRENCY"]
    assert elapsed < 12  # RETRY_SECONDS is 15
    assert sum(number for number, _ in told) == len(rejected)
    assert {code for _, codes in told for code in codes} == {rejected[0].code}


def test_a_stream_of_records_answers_for_all_it_read_and_then_raises_the_outage(sink):
    sink.set_faults("access_denied:after=2")
    taken = []

    def source():
        for record in events(100_000, 100_000):
            taken.append(record)
            yield record

    answered = []
    with producing(sink.url) as producer, pytest.raises(StreamError, match="may not do this"):
        answered.extend(record for record, _ in producer.stream_records(source()))

    assert sorted(map(id, taken)) == sorted(map(id, answered))
    assert len(taken) <= 500 * 8


@pytest.mark.parametrize("mode", MODES)
def test_a_record_over_the_streams_own_limit_is_the_only_one_that_fails(mode):
    limit = 4000
    records = events(300, 100)
    bad = [17, 118, 250]
    for number in bad:
        records[number] = Record(records[number].partition_key, b"x" * (limit + 1))
    with (
        Sink(shards=2, max_record_bytes=limit) as small,
        producing(small.url, AGGREGATE=mode, AGGREGATE_BYTES=16_000) as producer,
    ):
        results = producer.send(records)
        verdict = read(small, producer.stream.name).verdict(
            [record for number, record in enumerate(records) if number not in bad]
        )

    poison = [n for n, result in enumerate(results) if isinstance(result, RejectedRecord)]
    assert poison == bad
    assert all(results[number].poison for number in bad)
    assert all(results[number].error.name == "record-refused" for number in bad)
    assert verdict.exact, verdict


def test_a_failure_amid_the_search_for_poison_duplicates_nothing():
    records = events(64, 64)
    records[40] = Record("key-40", b"x" * 5000)
    with (
        Sink(max_record_bytes=4000, faults="throttle_request:after=3:next=3") as small,
        producing(small.url) as producer,
    ):
        results = producer.send(records)
        assert small.stats()["faults"]["throttle_request"] == 3
        small.clear_faults()
        verdict = read(small, producer.stream.name).verdict(records[:40] + records[41:])

    assert [n for n, one in enumerate(results) if isinstance(one, RejectedRecord)] == [40]
    assert verdict.exact, verdict


@pytest.mark.parametrize(
    ("faults", "error", "mode"),
    [
        ("throttle", None, "none"),
        ("throttle", None, "key"),
        ("throttle", None, "shard"),
        ("internal", None, "none"),
        ("throttle_request", ThrottledError, "shard"),
        ("hang", EndpointError, "none"),
        ("reset_before", EndpointError, "key"),
    ],
)
def test_retry_seconds_bound_what_never_passes(sink, faults, error, mode):
    sink.set_faults(faults)
    records = events(30_000, 3)  # more than one window of a hot key
    given = {"RETRY_SECONDS": 0.4, "READ_TIMEOUT": 0.3, "AGGREGATE": mode, "AGGREGATE_BYTES": 1024}
    with producing(sink.url, **given) as producer:
        started = time.monotonic()
        results = producer.send(records)
        elapsed = time.monotonic() - started

    assert not sink.accepted()
    assert all(isinstance(result, RejectedRecord) and not result.poison for result in results)
    if error is not None:
        assert all(isinstance(result.error, error) for result in results)
    assert elapsed < 8


def test_seconds_of_a_send_override_the_option(sink):
    sink.set_faults("throttle")
    with producing(sink.url, RETRY_SECONDS=60.0) as producer:
        started = time.monotonic()
        (result,) = producer.send(events(1, 1), seconds=0.0)
    assert result.code == "ProvisionedThroughputExceededException"
    assert time.monotonic() - started < 20
    assert sink.stats()["operations"]["PutRecords"] == 1


def test_a_record_given_up_takes_those_behind_it_along_and_others_pass():
    class Stubborn(Answers):
        def put(self, request):
            return kinesis_reply(
                {
                    "FailedRecordCount": 1,
                    "Records": [
                        {"ErrorCode": "InternalFailure", "ErrorMessage": "no"}
                        if entry["PartitionKey"] == "key-1"
                        else self.keep(entry)
                        for entry in request.parameters["Records"]
                    ],
                }
            )

    stubborn = Stubborn()
    records = events(100, 5)
    with AwsServer(stubborn) as server, producing(server.url, RETRY_SECONDS=0.5) as producer:
        results = producer.send(records)

    given_up = {
        r.partition_key
        for r, one in zip(records, results, strict=True)
        if isinstance(one, RejectedRecord)
    }
    passed = {
        r.partition_key
        for r, one in zip(records, results, strict=True)
        if isinstance(one, PutResult)
    }
    assert given_up == {"key-1"}
    assert passed == set(wanted(records)) - {"key-1"}
    assert len(stubborn.records) == 80


def test_throttled_shards_are_left_alone_for_a_while(sink):
    sink.set_faults("throttle_shard:after=2:next=1:shard=0:seconds=0.5")
    records = events(4000, 400)
    with producing(sink.url, RETRY_SECONDS=30.0) as producer:
        assert_acknowledged(producer.send(records[:400]))
        sink.set_faults("throttle_shard:next=1:shard=0:seconds=0.5")
        assert_acknowledged(producer.send(records[400:]))
        verdict = read(sink, producer.stream.name).verdict(records)

    assert verdict.exact, verdict
    # 3,600 records, of which a quarter belong to the shard; each rest spares it all its keys.
    assert sink.stats()["record_errors"]["ProvisionedThroughputExceededException"] < 3000


def test_what_breaks_within_a_thread_reaches_the_caller(sink):
    sink.set_faults("slow:ms=10")  # slow enough to be left to a thread
    broken = Record("key", b"x", object())
    with producing(sink.url) as producer:
        assert_acknowledged(producer.send(events(1500, 1500)))
        with pytest.raises(TypeError, match="object"):
            producer.send([broken, *events(1500, 1500)])
        assert_acknowledged(producer.send(events(1, 1)))
