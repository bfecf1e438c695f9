"""Statistics, signals, and a producer's life across close and fork."""

from __future__ import annotations

import os
import select
import threading
import traceback

import orjson
import pytest

from benchmarks.sink import Sink
from kinesis_bridge import get_client
from kinesis_bridge.conf import get_config
from kinesis_bridge.event import PutResult, Record, RejectedRecord
from kinesis_bridge.producer import Producer
from kinesis_bridge.signals import records_rejected, records_sent, request_failed
from kinesis_bridge.transport import Transport
from tests.support.aws import Answers, AwsServer
from tests.support.producer import (
    TRANSPORTS,
    assert_acknowledged,
    configured,
    events,
    producing,
    read,
)
from tests.support.signals import heard


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=2, process=True) as running:
        yield running


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


def put_records(sink):
    return sink.stats()["operations"].get("PutRecords", 0)


@pytest.fixture
def told():
    heard = []

    def sent(**values):
        heard.append(("sent", values))

    def rejected(**values):
        heard.append(("rejected", values))

    records_sent.connect(sent)
    records_rejected.connect(rejected)
    yield heard
    records_sent.disconnect(sent)
    records_rejected.disconnect(rejected)


def test_statistics_and_signals_count_what_arrived(sink, told):
    records = events(1200, 600)
    sink.set_faults("throttle=0.1", seed=2)
    with producing(sink.url) as producer:
        assert_acknowledged(producer.send(records))
        statistics = producer.statistics

    throttled = sink.stats()["faults"]["throttle"]
    assert statistics.requests == put_records(sink) == len(told)
    assert statistics.records == sink.stats()["records"] == 1200
    assert statistics.bytes == sum(record.size for record in records)
    assert statistics.retried == throttled > 0
    assert statistics.order_violations == 0
    assert {kind for kind, _ in told} == {"sent"}
    assert sum(values["count"] for _, values in told) == 1200
    assert sum(values["bytes"] for _, values in told) == statistics.bytes
    assert {values["stream"] for _, values in told} == {"default"}
    assert all(0 < values["seconds"] < 5 for _, values in told)
    refused = [values["refused"] for _, values in told]
    assert sum(sum(codes.values()) for codes in refused) == throttled
    assert {code for codes in refused for code in codes} == {
        "ProvisionedThroughputExceededException"
    }
    assert {values["order_violations"] for _, values in told} == {0}


def test_a_request_that_fails_as_a_whole_is_told(sink):
    records = events(20, 20)
    sink.set_faults("http500:next=1")
    with producing(sink.url) as producer, heard(request_failed) as failed:
        assert_acknowledged(producer.send(records))

    (one,) = failed
    assert (one["stream"], one["count"], one["error"].name) == ("default", 20, "aws-down")
    assert 0 < one["seconds"] < 5


def test_hot_keys_show_as_short_requests_unless_packed(sink):
    records = events(3000, 3)
    with producing(sink.url) as producer:
        producer.send(records[:1500])
        assert producer.statistics.short_requests > 50
    with producing(sink.url, AGGREGATE="key") as producer:
        producer.send(records)
        assert producer.statistics.short_requests == 0
        assert producer.statistics.requests <= 3
        assert producer.statistics.records == 3


def test_relaxed_ordering_sends_runs_of_a_key_in_one_request(sink):
    records = events(1000, 1)
    sink.set_faults("throttle=0.1")
    with producing(sink.url, ORDERING="relaxed", AGGREGATE="key") as producer:
        results = producer.send(records)
        verdict = read(sink, producer.stream.name).verdict(records)
    assert_acknowledged(results)
    assert put_records(sink) < 15
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == (0, 0, 0)
    assert verdict.reordered > 0
    landed = [int(result.sequence_number) for result in results]
    by_number = {one.sequence_number: orjson.loads(one.data)["n"] for one in sink.accepted()}
    assert [by_number[number] for number in landed] == list(range(1000))


class Scripted(Transport):
    """Answers with made-up shards and sequence numbers."""

    def __init__(self, stream, answers):
        super().__init__(stream)
        self.answers = iter(answers)

    def put(self, records):
        return [next(self.answers) for _ in records]

    def shards(self):
        return []

    def url(self):
        return "https://kinesis.example"

    def close(self):
        pass


@pytest.mark.parametrize(
    ("numbers", "violations"),
    [
        ("1 2 3 4", 0),
        ("9 10 11 100", 0),
        ("1 3 2 4", 1),
        ("4 3 2 1", 3),
        ("1 1 1 1", 3),
        ("100 9 10 11", 1),
        (f"{10**55} {10**55 + 1} {10**56} {10**56 + 1}", 0),
        ("5 b1 b2 6", 0),  # another shard counts for itself
    ],
)
def test_sequence_numbers_that_do_not_rise_are_counted_and_logged(caplog, numbers, violations):
    answers = [
        PutResult("shard-b", text[1:]) if text[0] == "b" else PutResult("shard-a", text)
        for text in numbers.split()
    ]
    with configured("http://127.0.0.1:9"):
        producer = Producer(
            get_config().stream("default"), lambda stream: Scripted(stream, answers)
        )
        assert producer.send([Record("k", b"")] * 4) == answers
    assert producer.statistics.order_violations == violations
    assert ("did not rise" in caplog.text) == bool(violations)


def test_a_receiver_may_send_on_the_same_stream(sink):
    sent = []

    def receiver(**_):
        if not sent:
            sent.append(True)
            sent.extend(producer.send([Record("key-0", b"from the receiver")]))

    records_sent.connect(receiver)
    try:
        with producing(sink.url) as producer:
            assert_acknowledged(producer.send(events(1, 1)))
    finally:
        records_sent.disconnect(receiver)
    assert isinstance(sent[1], PutResult)


# Processes


def in_child(work):
    """Run `work` in a forked child; return what it wrote, or fail with its traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = repr(work())
        except BaseException:  # noqa: BLE001 - the parent shows it
            text = traceback.format_exc()
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    ready = select.select([reading], [], [], 20)[0]
    if not ready:
        os.kill(child, 9)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read() if ready else "the child hung"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("role", [False, True])
def test_a_producer_used_before_a_fork_serves_the_child_and_the_parent(sink, transport, role):
    sink.set_faults("slow:ms=10")  # so that threads are at work
    parents, childs = events(2000, 2000), events(2000, 2000, name="child")
    with producing(sink.url, role=role, TRANSPORT=transport) as producer:
        assert_acknowledged(producer.send(parents[:1000]))

        def send():
            results = producer.send(childs)
            return sum(isinstance(result, PutResult) for result in results)

        assert in_child(send) == "2000"
        assert_acknowledged(producer.send(parents[1000:]))
        assert read(sink, producer.stream.name).verdict([*parents, *childs]).exact


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_client_serves_a_child_that_was_forked_while_others_send(sink):
    sink.set_faults("slow:ms=10")
    with configured(sink.url):
        stop = threading.Event()

        def keep_sending():
            while not stop.is_set():
                get_client().put_records([("k", b"x")] * 10)

        sender = threading.Thread(target=keep_sending)
        sender.start()
        try:
            for _ in range(5):
                assert in_child(lambda: get_client().put_record("x", "k").shard_id).startswith(
                    "'shardId-"
                )
        finally:
            stop.set()
            sender.join()
        get_client().put_record("x", "k")


def test_close_twice_and_use_again(sink):
    with producing(sink.url) as producer:
        producer.close()
        assert_acknowledged(producer.send(events(1500, 1500)))
        producer.close()
        producer.close()
        assert_acknowledged(producer.send(events(1500, 1500, name="again")))


def test_settings_that_lead_nowhere_reject_each_record_with_the_reason():
    with producing("http://127.0.0.1:9", stream={"REGION": None}) as producer:
        results = producer.send(events(3, 3))
        assert [one.error.name for one in results if isinstance(one, RejectedRecord)] == [
            "no-region"
        ] * 3


def test_each_answer_names_where_its_own_record_landed():
    answers = Answers()
    records = [Record(f"k{n % 37}", b"%d" % n) for n in range(400)]
    with AwsServer(answers) as server, producing(server.url) as producer:
        results = producer.send(records)
    assert [answers.payloads[int(one.sequence_number) - 1] for one in results] == [
        record.data for record in records
    ]
