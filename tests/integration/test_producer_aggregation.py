"""AGGREGATE="key" and "shard" against a stream whose shards change, read as the KCL reads it."""

from __future__ import annotations

import base64
import logging
import threading

import pytest
from aws_kinesis_agg.deaggregator import deaggregate_records

from benchmarks.sink import Sink
from kinesis_bridge.aggregation import is_aggregated, unpack_data
from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.exceptions import StreamError
from kinesis_bridge.producer import link, run
from tests.support.aws import Answers, AwsServer, kinesis_reply
from tests.support.producer import (
    TRANSPORTS,
    assert_acknowledged,
    events,
    place,
    producing,
    read,
    shard_ranges,
)

LAST = (1 << 128) - 1


@pytest.fixture
def sink():
    with Sink(shards=4) as running:
        yield running


def sent(sink, operation):
    return sink.stats()["operations"].get(operation, 0)


@pytest.mark.parametrize("mode", ["key", "shard"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_aws_own_reader_reads_what_is_sent(sink, mode, transport):
    records = events(600, 30)
    with producing(sink.url, AGGREGATE=mode, TRANSPORT=transport) as producer:
        assert_acknowledged(producer.send(records))
        reading = read(sink, producer.stream.name)

    assert len(reading.records) == (30 if mode == "key" else 4)
    theirs = deaggregate_records(
        [
            {
                "eventID": str(record.sequence_number),
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record.partition_key,
                    "sequenceNumber": str(record.sequence_number),
                    "approximateArrivalTimestamp": 0,
                    "data": base64.b64encode(record.data).decode(),
                },
            }
            for record in reading.records
        ]
    )
    read_by_aws = [
        (one["kinesis"]["partitionKey"], base64.b64decode(one["kinesis"]["data"])) for one in theirs
    ]
    assert read_by_aws == [(one.partition_key, one.data) for one in reading.events]
    assert reading.verdict(records).exact


def test_every_sub_record_is_within_the_range_of_the_shard_that_took_it(sink):
    records = events(2000, 500)
    with producing(sink.url, AGGREGATE="shard", AGGREGATE_BYTES=4096) as producer:
        results = producer.send(records)
        assert sent(sink, "ListShards") == 1
        reading = read(sink, producer.stream.name)
        ranges = shard_ranges(sink, producer.stream.name)

    assert_acknowledged(results)
    assert not reading.dropped
    assert {record.shard_id for record in reading.records} == set(ranges)
    for record, result in zip(records, results, strict=True):
        first, last = ranges[result.shard_id]
        assert first <= place(record) <= last
    assert all(len(record.data) <= 4096 for record in reading.records)


def test_the_map_is_read_page_by_page():
    with (
        Sink(shards=10, page_size=3) as paged,
        producing(paged.url, AGGREGATE="shard") as producer,
    ):
        records = events(500, 200)
        assert_acknowledged(producer.send(records))
        assert sent(paged, "ListShards") == 4
        reading = read(paged, producer.stream.name)
    assert len(reading.records) == 10
    assert not reading.dropped
    assert reading.verdict(records).exact


def test_the_map_is_kept_for_a_while_and_then_asked_for_anew(sink, monkeypatch):
    with producing(sink.url, AGGREGATE="shard") as producer:
        for _ in range(3):
            producer.send(events(20, 20))
        assert sent(sink, "ListShards") == 1
        monkeypatch.setattr(link, "SHARD_MAP_SECONDS", 0.0)
        producer.send(events(20, 20))
    assert sent(sink, "ListShards") == 2


@pytest.mark.parametrize("faults", ["", "throttle=0.1,http500=0.05,http500=0.3:on=read"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_shards_that_split_on_the_way_cost_no_event_and_no_order(
    sink, transport, faults, monkeypatch
):
    records = events(3000, 60)
    sink.set_faults(faults, seed=4)

    def source():
        for number, record in enumerate(records):
            if number in {700, 1500}:
                sink.split_shard(number // 700, producer.stream.name)
            if number == 2200:
                sink.split_shard(4, producer.stream.name)  # a child of the first
            yield record

    given = {"AGGREGATE": "shard", "AGGREGATE_BYTES": 2048, "TRANSPORT": transport}
    with producing(sink.url, **given) as producer:
        producer.send(events(1, 1, name="first"))
        monkeypatch.setattr(run, "BUFFERED_RECORDS", 100)
        answers = list(producer.stream_records(source()))
        sink.clear_faults()
        reading = read(sink, producer.stream.name)
        assert producer.statistics.order_violations == 0

    assert_acknowledged([answer for _, answer in answers])
    assert reading.dropped, "no record was packed for a shard that was no more"
    verdict = reading.verdict([*events(1, 1, name="first"), *records])
    assert verdict.ok, verdict
    assert {record.shard_id for record in reading.records} >= {
        f"shardId-{number:012d}" for number in range(1, 10) if number not in {1, 2, 4}
    }


def test_threads_share_a_stream_that_splits(sink):
    failures = []

    def work(number):
        for turn in range(10):
            batch = [
                Record(f"{number}/{key}", b'{"key":"%d/%d","n":%d}' % (number, key, turn * 3 + n))
                for n in range(3)
                for key in range(20)
            ]
            if turn == 4 and number == 0:
                sink.split_shard(2, producer.stream.name)
            failures.extend(one for one in producer.send(batch) if not isinstance(one, PutResult))

    with producing(sink.url, AGGREGATE="shard") as producer:
        producer.send(events(1, 1))
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reading = read(sink, producer.stream.name)
        # Other threads' records stand between a thread's own in a shard: that is no violation.
        assert producer.statistics.order_violations == 0

    assert not failures
    records = [
        Record(f"{number}/{key}", b'{"n":%d}' % n)
        for number in range(4)
        for key in range(20)
        for n in range(30)
    ]
    verdict = reading.verdict([*events(1, 1), *records])
    assert verdict.ok, verdict


def test_without_the_permission_it_says_so_once_and_packs_by_key(sink, caplog, monkeypatch):
    monkeypatch.setattr(link, "SHARD_MAP_SECONDS", 0.0)
    sink.set_faults("access_denied:on=read")
    records = events(900, 30)
    with (
        producing(sink.url, AGGREGATE="shard") as producer,
        caplog.at_level(logging.WARNING, "kinesis_bridge"),
    ):
        for start in range(0, 900, 300):
            assert_acknowledged(producer.send(records[start : start + 300]))
        assert sent(sink, "PutRecords") == 3
        sink.clear_faults()
        reading = read(sink, producer.stream.name)

    assert [record.getMessage() for record in caplog.records] == [
        "Stream default: no permission for kinesis:ListShards, so AGGREGATE falls back to key"
    ]
    assert len(reading.records) == 90
    assert reading.verdict(records).exact


@pytest.mark.parametrize("code", ["not_found", "kms_disabled"])
def test_a_listing_that_fails_for_good_rejects_with_the_reason(sink, code):
    sink.set_faults(f"{code}:on=any")
    with producing(sink.url, AGGREGATE="shard") as producer:
        results = producer.send(events(10, 10))
    assert {result.error.side for result in results} == {"account B"}
    assert sent(sink, "PutRecords") == 0


def test_a_refresh_that_fails_for_good_answers_for_every_record_read(sink, monkeypatch):
    taken, answered = [], []

    def source():
        for number, record in enumerate(events(2000, 50)):
            if number == 500:
                sink.split_shard(0, producer.stream.name)
                sink.set_faults("kms_disabled:on=read")
            taken.append(record)
            yield record

    with producing(sink.url, AGGREGATE="shard", AGGREGATE_BYTES=1024) as producer:
        producer.send(events(1, 1))
        monkeypatch.setattr(run, "BUFFERED_RECORDS", 100)
        with pytest.raises(StreamError, match="KMS"):
            answered.extend(record for record, _ in producer.stream_records(source()))
    assert sorted(map(id, answered)) == sorted(map(id, taken))
    assert 500 < len(taken) < 2000


@pytest.mark.parametrize("mode", ["none", "key", "shard"])
def test_explicit_hash_keys_decide_the_shard(sink, mode):
    places = [0, 1, LAST // 2, LAST // 2 + 1, LAST - 1, LAST]
    records = [
        Record("one-key", b"%d/%d" % (number, hash_key), str(hash_key))
        for number in range(20)
        for hash_key in places
    ]
    with producing(sink.url, AGGREGATE=mode) as producer:
        results = producer.send(records)
        reading = read(sink, producer.stream.name)
        ranges = shard_ranges(sink, producer.stream.name)

    assert not reading.dropped
    for record, result in zip(records, results, strict=True):
        first, last = ranges[result.shard_id]
        assert first <= int(record.explicit_hash_key) <= last
    for hash_key in places:
        landed = [one.data for one in reading.events if one.data.endswith(b"/%d" % hash_key)]
        assert landed == [one.data for one in records if one.explicit_hash_key == str(hash_key)]


@pytest.mark.parametrize("mode", ["key", "shard"])
def test_a_record_too_big_to_pack_goes_alone_in_its_turn(sink, mode):
    records = events(100, 1)
    big = events(1, 1, size=5000)[0]
    records[50] = Record(big.partition_key, big.data.replace(b'"n":0', b'"n":50'))
    with producing(sink.url, AGGREGATE=mode, AGGREGATE_BYTES=4096) as producer:
        assert_acknowledged(producer.send(records))
        reading = read(sink, producer.stream.name)

    assert [record.data for record in reading.records if not is_aggregated(record.data)] == [
        records[50].data
    ]
    assert reading.verdict(records).exact


@pytest.mark.parametrize("key", ["k", "\N{GRINNING FACE}" * 256])
def test_the_smallest_limit_takes_the_longest_key(sink, key):
    records = [Record(key, b"%d" % number) for number in range(20)]
    with producing(sink.url, AGGREGATE="key", AGGREGATE_BYTES=1024) as producer:
        assert_acknowledged(producer.send(records))
        reading = read(sink, producer.stream.name)
    assert [one.data for one in reading.events] == [record.data for record in records]


def test_a_list_of_shards_that_lags_behind_makes_no_endless_round(caplog):
    class Lagging(Answers):
        def put(self, request):
            records = [self.keep(entry) for entry in request.parameters["Records"]]
            records = [{**one, "ShardId": "shardId-000000000007"} for one in records]
            return kinesis_reply({"FailedRecordCount": 0, "Records": records})

    lagging = Lagging()
    records = events(300, 10)
    with AwsServer(lagging) as server, producing(server.url, AGGREGATE="shard") as producer:
        results = producer.send(records)
        assert server.count("PutRecords") == 2
        assert server.count("ListShards") == 2
    assert {result.shard_id for result in results} == {"shardId-000000000007"}
    packed = [unpack_data(data) for data in lagging.payloads]
    assert [len({one.partition_key for one in inner}) for inner in packed] == [10] + [1] * 10


def test_a_list_of_shards_with_a_hole_falls_back_to_key(caplog):
    class Holey(Answers):
        def shards(self, request):
            shard = {
                "ShardId": "shardId-000000000000",
                "HashKeyRange": {"StartingHashKey": "5", "EndingHashKey": str(LAST)},
                "SequenceNumberRange": {"StartingSequenceNumber": "0"},
            }
            return kinesis_reply({"Shards": [shard]})

    holey = Holey()
    with AwsServer(holey) as server, producing(server.url, AGGREGATE="shard") as producer:
        assert_acknowledged(producer.send(events(100, 10)))
    assert len(holey.payloads) == 10
    assert "packed by key for now" in caplog.text
