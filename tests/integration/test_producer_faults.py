"""The producer while AWS fails: nothing lost, nothing reordered, an outage told from poison."""

from __future__ import annotations

import threading
import time

import pytest

from benchmarks.sink import KINDS, Sink, check, event_of
from kinesis_bridge.aggregation import deaggregate
from kinesis_bridge.event import PutResult, Record
from tests.support.aws import Answers, AwsServer
from tests.support.producer import (
    EVENTS,
    HOT_EVENTS,
    LONG,
    MODES,
    TRANSPORTS,
    assert_acknowledged,
    events,
    producing,
    read,
)

# A short run leaves some of the ways out: the schedule is the same for both transports.
WAYS = [(transport, mode) for transport in TRANSPORTS for mode in MODES]
if not LONG:
    WAYS = [("fast", "none"), ("fast", "shard"), ("boto3", "key")]
# The client cannot know that the records were taken, and sends them again.
AFTER_ACCEPTANCE = {"reset_after", "hang_after", "truncated", "late"}
FAULTS = {
    "throttle": "throttle:next=1,throttle=0.1",
    "internal": "internal:next=1,internal=0.1",
    "throttle_shard": "throttle_shard:next=1:seconds=0.05,throttle_shard=0.1:seconds=0.02",
    "slow": "slow:next=2:ms=20,slow=0.3:ms=20",
    "shuffle": "shuffle",
    "hang": "hang:next=1",
    "hang_after": "hang_after:next=1",
    "late": "late:next=1:ms=450",
    **{
        kind: f"{kind}:next=2,{kind}=0.1"
        for kind in (
            "http500",
            "service_unavailable",
            "throttle_request",
            "expired_token",
            "reset_before",
            "reset_after",
            "truncated",
        )
    },
}
TIMEOUTS = {"hang": 0.3, "hang_after": 0.3, "late": 0.3}


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=4, process=True) as running:
        yield running


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


def options(kind="", **given):
    return {
        "AGGREGATE_BYTES": 4096,  # some requests, rather than one
        "READ_TIMEOUT": TIMEOUTS.get(kind, 10.0),
        "RETRY_SECONDS": 60.0,
        **given,
    }


def test_every_fault_of_the_sink_is_among_these():
    ends_a_send = {"access_denied", "not_found", "kms_disabled"}
    assert {kind for kind in KINDS if not kind.startswith("sts_")} == {*FAULTS, *ends_a_send}


@pytest.mark.parametrize(("transport", "mode"), WAYS)
@pytest.mark.parametrize("kind", FAULTS)
def test_nothing_is_lost_or_reordered(sink, kind, transport, mode):
    many = events(EVENTS, max(100, EVENTS // 100))
    hot = events(HOT_EVENTS, 10, name="hot")
    given = options(kind, TRANSPORT=transport, AGGREGATE=mode)
    sink.set_faults(FAULTS[kind], seed=len(kind))
    with producing(sink.url, role=kind == "expired_token", **given) as producer:
        results = producer.send(many)
        struck = sink.stats()["faults"].get(kind, 0)
        sink.set_faults(FAULTS[kind], seed=len(mode))
        answers = list(producer.stream_records(iter(hot)))

        assert struck, "the fault never befell the many"
        assert sink.stats()["faults"][kind] > struck, "the fault never befell the hot keys"
        assert producer.statistics.order_violations == 0
        name = producer.stream.name
    assert_acknowledged([*results, *(result for _, result in answers)])
    assert sorted(map(id, hot)) == sorted(id(record) for record, _ in answers)
    sink.clear_faults()
    reading = read(sink, name)
    verdict = reading.verdict([*many, *hot])
    assert verdict.ok, verdict
    assert verdict.exact or kind in AFTER_ACCEPTANCE, verdict
    assert not reading.dropped


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tokens_that_expire_on_the_way_are_renewed(transport):
    records = events(800, 200)
    # Credentials of less than a quarter of their life are taken for fresh, and not renewed.
    with (
        Sink(sts_lifetime=4) as short_lived,
        producing(short_lived.url, role=True, TRANSPORT=transport) as producer,
    ):
        for start in range(0, 800, 200):
            assert_acknowledged(producer.send(records[start : start + 200]))
            time.sleep(1.1)
            short_lived.expire_tokens()
        verdict = read(short_lived, producer.stream.name).verdict(records)
        assert verdict.exact, verdict
        assert 4 <= short_lived.stats()["assume_role"] <= 16
        assert short_lived.stats()["errors"]["ExpiredTokenException"] > 0


@pytest.mark.parametrize("mode", MODES)
def test_faults_of_every_kind_at_once_on_a_slow_network(sink, mode):
    records = events(EVENTS, 100)
    sink.set_faults(
        "throttle=0.05,internal=0.02,http500=0.05,reset_after=0.05,truncated=0.05,"
        "throttle_shard=0.05:seconds=0.02,slow=0.2:ms=15,shuffle,http500=0.2:on=read",
        seed=3,
    )
    with producing(sink.url, **options(AGGREGATE=mode, CONCURRENCY=8)) as producer:
        answers = list(producer.stream_records(records))
        verdict = read(sink, producer.stream.name).verdict(records)

    assert_acknowledged([answer for _, answer in answers])
    assert verdict.ok, verdict


@pytest.mark.parametrize("mode", MODES)
def test_the_listing_of_shards_is_retried_like_everything_else(sink, mode):
    sink.set_faults("http500:next=2:on=read,expired_token:next=1:on=any")
    records = events(50, 50)
    with producing(sink.url, role=True, **options(AGGREGATE=mode)) as producer:
        assert_acknowledged(producer.send(records))


@pytest.mark.parametrize("mode", MODES)
def test_threads_that_share_keys_keep_the_order_of_each(sink, mode):
    sink.set_faults("throttle=0.05,http500=0.05,slow=0.3:ms=3", seed=5)
    rounds, threads = 3, 4
    failures = []

    def work(producer, number):
        for turn in range(rounds):
            batch = [
                Record(f"key-{key}", b'{"key":"key-%d/%d","n":%d}' % (key, number, turn * 5 + n))
                for n in range(5)
                for key in range(20)
            ]
            failures.extend(r for r in producer.send(batch) if not isinstance(r, PutResult))

    with producing(sink.url, **options(AGGREGATE=mode)) as producer:
        running = [threading.Thread(target=work, args=(producer, n)) for n in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert producer.statistics.order_violations == 0
        accepted = sink.accepted()
    assert not failures

    def extract(data):
        return [event_of(record.data) for record in deaggregate(Record("k", data))]

    expected = {
        f"key-{key}/{number}": list(range(rounds * 5))
        for key in range(20)
        for number in range(threads)
    }
    verdict = check(accepted, expected, extract)
    assert verdict.exact, verdict


class Watching(Answers):
    """Notes the keys that are in more than one request at a time."""

    def __init__(self):
        super().__init__()
        self.under_way = []
        self.shared = []
        self.most = 0

    def put(self, request):
        keys = {entry["PartitionKey"] for entry in request.parameters["Records"]}
        if len(keys) < len(request.parameters["Records"]):
            self.shared.append("twice in one request")
        with self._lock:
            for other in self.under_way:
                self.shared += keys & other
            self.under_way.append(keys)
            self.most = max(self.most, len(self.under_way))
        time.sleep(0.01)
        with self._lock:
            self.under_way.remove(keys)
        return super().put(request)


@pytest.mark.parametrize("mode", ["none", "key"])
def test_a_key_is_in_one_request_at_a_time_whatever_thread_sends_it(mode):
    watching = Watching()
    records = events(1500, 700)
    with (
        AwsServer(watching) as server,
        producing(server.url, AGGREGATE=mode, AGGREGATE_BYTES=1024) as producer,
    ):
        running = [threading.Thread(target=producer.send, args=(records,)) for _ in range(3)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    assert watching.shared == []
    assert watching.most > 1
