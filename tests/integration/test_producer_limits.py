"""Limits at the edge, odd input, bounded memory, statistics, signals and forks."""

from __future__ import annotations

import os
import threading
import time
from itertools import count

import pytest

from benchmarks.sink import Sink
from kinesis_bridge import get_client
from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.exceptions import RecordTooLarge
from kinesis_bridge.producer.run import BUFFERED_RECORDS
from tests.support.producer import (
    TRANSPORTS,
    assert_acknowledged,
    configured,
    events,
    producing,
    read,
)

MIB = 1024 * 1024
EMOJI = "\N{GRINNING FACE}"


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=2, max_record_bytes=10 * MIB, process=True) as running:
        yield running


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


def put_records(sink):
    return sink.stats()["operations"].get("PutRecords", 0)


# Sizes


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", ["k", "ü" * 10, EMOJI * 256])
def test_a_record_of_exactly_the_limit_passes_and_one_byte_more_is_refused(sink, transport, key):
    data = b"\xff" * (MIB - len(key.encode()))
    with configured(sink.url, TRANSPORT=transport) as name:
        result = get_client().put_record(data, key)
        with pytest.raises(RecordTooLarge, match="1,048,577 bytes"):
            get_client().put_record(data + b"x", key)
        (record,) = read(sink, name).records

    assert (record.partition_key, record.data) == (key, data)
    assert record.sequence_number == int(result.sequence_number)
    assert put_records(sink) == 1


def test_ten_mib_pass_when_allowed(sink):
    data = os.urandom(10 * MIB - 1)
    sizes = {"MAX_RECORD_BYTES": 10 * MIB, "READ_TIMEOUT": 60.0}
    with configured(sink.url, **sizes) as name:
        get_client().put_record(data, "k")
        with pytest.raises(RecordTooLarge):
            get_client().put_record(data + b"x", "k")
        (record,) = read(sink, name).records

    assert record.data == data


@pytest.mark.parametrize(("amount", "requests"), [(1, 1), (499, 1), (500, 1), (501, 2), (1001, 3)])
def test_500_records_a_request(sink, amount, requests):
    records = events(amount, amount)
    with producing(sink.url) as producer:
        assert_acknowledged(producer.send(records))
        assert producer.statistics.requests == put_records(sink) == requests
        assert read(sink, producer.stream.name).verdict(records).exact


@pytest.mark.parametrize("mode", ["none", "key"])
@pytest.mark.parametrize(("surplus", "requests"), [(-1, 1), (0, 1), (1, 2)])
def test_a_request_holds_its_bytes_and_not_one_more(sink, surplus, requests, mode):
    most, size = 64 * 1024, 4096
    records = [Record(f"{EMOJI}{n:02}", b"x" * (size - 6)) for n in range(16)]
    records[7] = Record(records[7].partition_key, b"x" * (size - 6 + surplus))
    assert sum(record.size for record in records) == most + surplus
    with producing(sink.url, MAX_REQUEST_BYTES=most, AGGREGATE=mode) as producer:
        assert_acknowledged(producer.send(records))
        assert producer.statistics.bytes == most + surplus
    assert put_records(sink) == requests


def test_a_record_larger_than_a_request_may_be_goes_alone(sink):
    large = Record("large", b"x" * 100_000)
    with producing(sink.url, MAX_REQUEST_BYTES=64 * 1024) as producer:
        assert_acknowledged(producer.send([*events(10, 10), large, *events(10, 10, name="b")]))
    assert 2 <= put_records(sink) <= 3


@pytest.mark.parametrize("mode", ["none", "key", "shard"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_odd_keys_and_data_arrive_as_they_were(sink, transport, mode):
    odd = ['"', "\\", "\\u0041", "\n\r\t", "\x00\x1f\x7f", EMOJI, "\u2028", "é", " ", "a"]
    odd += ["e\u0301", "</script>", "\ufffd", "\ud7ff", "\U0010ffff", EMOJI * 256, "x" * 256]
    data = [b"", b"\x00", b'"\\', bytes(range(256)), "ünï".encode(), b"\xf3\x89\x9a\xc2"]
    records = [Record(key, one) for one in data for key in odd]
    with producing(sink.url, TRANSPORT=transport, AGGREGATE=mode) as producer:
        assert_acknowledged(producer.send(records))
        reading = read(sink, producer.stream.name)

    landed = {key: [r.data for r in reading.events if r.partition_key == key] for key in odd}
    assert landed == dict.fromkeys(odd, data)


def test_nothing_to_send_sends_nothing(sink):
    with producing(sink.url) as producer:
        assert producer.send([]) == []
        assert list(producer.stream_records(iter(()))) == []
    assert put_records(sink) == 0


# Memory


@pytest.mark.parametrize("options", [{}, {"AGGREGATE": "key"}, {"ORDERING": "relaxed"}])
@pytest.mark.parametrize("keys", [3, 2_000_000])
def test_no_more_is_read_than_the_window_ahead_of_the_answers(sink, keys, options):
    sink.set_faults("slow:ms=50")
    read_so_far = count()

    def source():
        for number in range(2_000_000):
            next(read_so_far)
            yield Record(f"key-{number % keys}", b"x")

    answered, ahead = 0, []
    with producing(sink.url, **options) as producer:
        answers = producer.stream_records(source())
        until = time.monotonic() + 0.5
        for _ in answers:
            answered += 1
            if answered % 100 == 1:
                ahead.append(int(repr(read_so_far)[6:-1]) - answered)
            if time.monotonic() > until:
                break
        answers.close()
    assert answered > 0
    # The window, and what is under way: packed, that may be all of another window.
    under_way = BUFFERED_RECORDS if "AGGREGATE" in options else 500 * 4
    assert max(ahead) <= BUFFERED_RECORDS + under_way + 500


@pytest.mark.parametrize("options", [{}, {"AGGREGATE": "key"}, {"ORDERING": "relaxed"}])
def test_what_is_throttled_is_bounded_as_well(sink, options):
    sink.set_faults("throttle")
    asked = []

    def source():
        for number in range(2_000_000):
            asked.append(number)
            yield Record(f"key-{number}", b"x" * 100)

    with producing(sink.url, RETRY_SECONDS=30.0, **options) as producer:
        answers = producer.stream_records(source())
        sink_clears = time.monotonic() + 0.8
        held = []
        timer = threading.Timer(
            sink_clears - time.monotonic(), lambda: (held.append(len(asked)), sink.clear_faults())
        )
        timer.start()
        _, answer = next(answers)
        timer.join()
        answers.close()
    assert isinstance(answer, PutResult)
    assert held[0] <= 2 * BUFFERED_RECORDS + 5000


def test_large_records_fill_the_window_by_their_bytes(sink):
    sink.set_faults("slow:ms=20")
    taken = []

    def source():
        for number in range(10_000):
            taken.append(number)
            yield Record("hot", b"x" * 100_000)

    with producing(sink.url, MAX_REQUEST_BYTES=256 * 1024) as producer:
        answers = producer.stream_records(source())
        for _ in range(5):
            next(answers)
        answers.close()
    assert len(taken) * 100_000 < 2.5 * (4 * 256 * 1024)
