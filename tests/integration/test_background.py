"""``background`` against a server with faults: order, outages, poison, a full buffer, its end."""

import asyncio
import json
import logging
import threading
import time

import pytest

from benchmarks.sink import Sink, check
from kinesis_bridge import apublish, conf, publish, signals, streams
from kinesis_bridge.aggregation import deaggregate
from kinesis_bridge.client import producers
from kinesis_bridge.delivery import background
from kinesis_bridge.delivery.background import BackgroundDelivery
from kinesis_bridge.delivery.buffer import memory_of
from kinesis_bridge.event import Event, Record
from kinesis_bridge.exceptions import BufferClosed, BufferFull
from tests.support.aws import bridge
from tests.testapp.models import Sample
from tests.testapp.rollback import rolled_back

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh")]
IMPATIENT = {"RETRY_SECONDS": 0.1, "SHUTDOWN_SECONDS": 0.3}
# Only where the sink hangs: elsewhere a pause of a busy machine would pass for an answer that is
# lost, and the event come twice.
HANGS = {"READ_TIMEOUT": 0.5}


@pytest.fixture
def sink():
    with Sink(shards=4, seed=3) as sink:
        yield sink


@pytest.fixture
def use(sink, settings, monkeypatch):
    """Deliver to the sink in the background, with these options; return the delivery."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", sink.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTSITE00000000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-site-itself-0123456789abcd")

    def use(**options):
        changed = bridge()
        changed["STREAMS"]["default"] |= {
            "DELIVERY": "background",
            "OPTIONS": IMPATIENT | options,
        }
        settings.KINESIS_BRIDGE = changed
        made.append(streams["default"].delivery)
        return made[-1]

    made = []
    yield use
    sink.clear_faults()
    conf.reset()
    for delivery in made:  # what was under way when it was closed belongs to this sink
        until(lambda delivery=delivery: delivery._sender is None)


def give(delivery, key, n, size=0):
    payload = json.dumps({"key": key, "n": n, "filler": "x" * size}).encode()
    delivery.deliver(Event(type="a.b", source="/s", key=key, data=None), payload, "default")


def fill(delivery):
    """Give events until the buffer is full; return how many it took."""
    for n in range(100_000):
        try:
            give(delivery, "filler", n, 100)
        except BufferFull:
            return n
    raise AssertionError("it is never full")


def balanced(delivery):
    s = delivery.statistics
    return s.accepted == s.sent + s.rejected + s.abandoned + s.buffered_records


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def in_threads(count, target):
    threads = [threading.Thread(target=target, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads, seconds=10):
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), "stuck"


class TestSending:
    def test_rolled_back_is_not_published_and_committed_is(self, use, sink):
        delivery = use()
        with rolled_back():
            publish("a.b", {"n": 1})
            Sample.objects.create(code="gone")
        publish("a.b", {"n": 2}, key="k")
        Sample.objects.create(code="kept")
        assert delivery.flush(10)
        events = [json.loads(record.data) for record in sink.accepted()]
        assert {event["type"] for event in events} == {"a.b", "test.sample.created"}
        assert len(events) == 2
        assert delivery.statistics.sent == 2
        assert balanced(delivery)

    def test_nothing_starts_before_the_first_event(self, use):
        delivery = use()
        assert delivery._sender is None
        assert delivery.flush()
        delivery.close()
        assert delivery._sender is None

    def test_events_of_a_moment_go_together(self, use, sink):
        delivery = use(LINGER_MS=300)
        give(delivery, "first", 0)
        assert delivery.flush(10)
        before = sink.stats()["requests"]
        for n in range(50):
            give(delivery, f"k{n}", n)
            time.sleep(0.001)
        until(lambda: delivery.statistics.sent == 51)
        assert sink.stats()["requests"] == before + 1

    @pytest.mark.parametrize(
        ("faults", "aggregate"),
        [
            ("throttle=0.2", "none"),
            ("throttle=0.2", "key"),
            ("internal=0.2", "none"),
            ("http500=0.5", "none"),
            ("http500=0.5", "key"),
            ("service_unavailable=0.5", "none"),
            ("throttle_request=0.5", "none"),
            ("throttle_shard=0.2:seconds=0.2", "none"),
            ("reset_before=0.5", "none"),
            ("access_denied:next=3", "none"),
            ("not_found:next=3", "none"),
            ("kms_disabled:next=3", "none"),
            ("expired_token:next=2", "none"),
            ("sts_http500:next=3", "none"),
            ("sts_denied:next=2", "none"),
            ("hang=0.3:next=3", "none"),
            ("throttle=0.1,http500=0.2,reset_before=0.2", "none"),
        ],
    )
    def test_faults_lose_and_reorder_nothing(self, use, sink, faults, aggregate):
        hangs = "hang" in faults
        sink.set_faults(faults)
        delivery = use(AGGREGATE=aggregate, AGGREGATE_BYTES=2048, **(HANGS if hangs else {}))
        for n in range(600):
            give(delivery, f"key-{n % 40}", n)
        until(lambda: delivery.flush(1) or sink.clear_faults())
        expected = {f"key-{k}": list(range(k, 600, 40)) for k in range(40)}
        verdict = check(sink.accepted(), expected, unpacked)
        assert verdict.ok if hangs else verdict.exact, verdict
        assert delivery.statistics.sent == 600
        assert balanced(delivery)

    @pytest.mark.parametrize(
        "faults", ["reset_after:next=2", "truncated:next=2", "hang_after:next=2"]
    )
    def test_where_aws_took_it_and_did_not_say_so_it_comes_twice_in_order(self, use, sink, faults):
        sink.set_faults(faults)
        delivery = use(**HANGS)
        for n in range(600):
            give(delivery, f"key-{n % 40}", n)
        assert delivery.flush(30)
        verdict = check(sink.accepted(), {f"key-{k}": list(range(k, 600, 40)) for k in range(40)})
        assert verdict.ok, verdict
        assert verdict.duplicated

    def test_each_thread_keeps_its_order_through_a_buffer_that_is_always_full(self, use, sink):
        sink.set_faults("throttle=0.1,http500=0.1")
        delivery = use(BUFFER_BYTES=8 * 1024)

        def work(thread):
            for n in range(40):
                give(delivery, f"thread-{thread}", n)

        join(in_threads(8, work), 30)
        assert delivery.flush(20)
        verdict = check(sink.accepted(), {f"thread-{t}": list(range(40)) for t in range(8)})
        assert verdict.exact, verdict
        assert balanced(delivery)


def unpacked(data):
    found = [one.data for one in deaggregate(Record("any", data))]
    return [(event["key"], event["n"]) for event in map(json.loads, found)]


class TestTrouble:
    def test_what_can_never_pass_is_given_up_and_told_without_what_is_in_it(
        self, use, sink, caplog
    ):
        delivery = use(MAX_RECORD_BYTES=4 * 1024 * 1024)  # the stream itself takes 1 MiB
        for n in range(10):
            give(delivery, "key-secret" if n in {3, 4} else "k", n, 2**20 if n in {3, 4} else 0)
        assert delivery.flush(20)
        assert [json.loads(r.data)["n"] for r in sink.accepted()] == [0, 1, 2, 5, 6, 7, 8, 9]
        statistics = delivery.statistics
        assert (statistics.sent, statistics.rejected, statistics.dropped) == (8, 2, 0)
        assert balanced(delivery)
        (told,) = [r.getMessage() for r in caplog.records if "given up" in r.getMessage()]
        assert "xxx" not in caplog.text
        assert "key-secret" not in caplog.text
        assert told.startswith("Stream default: ")

    def test_an_outage_is_told_once_and_survived(self, use, sink, caplog):
        sink.set_faults("access_denied=1")
        delivery = use()
        for n in range(20):
            give(delivery, "k", n)
        assert not delivery.flush(1)
        assert delivery.statistics.buffered_records == 20
        until(lambda: "tried again" in caplog.text)
        (told,) = [r for r in caplog.records if "tried again" in r.getMessage()]
        assert told.levelno == logging.WARNING
        assert "account B" in told.getMessage()  # which side must mend what
        sink.clear_faults()
        assert delivery.flush(10)
        assert [json.loads(r.data)["n"] for r in sink.accepted()] == list(range(20))

    def test_a_kind_of_trouble_is_told_once_a_minute_with_how_often_it_came(self, monkeypatch):
        now = 1000.0
        monkeypatch.setattr(background.time, "monotonic", lambda: now)
        troubles = background.Troubles()
        assert [troubles.due("full", 1) for _ in range(3)] == [1, 0, 0]
        assert troubles.due("poison", 5) == 5
        now += 59
        assert troubles.due("full", 10) == 0
        now += 1
        assert troubles.due("full", 1) == 13

    @pytest.mark.parametrize("error", [MemoryError, RuntimeError, SystemExit, KeyboardInterrupt])
    def test_the_thread_survives_whatever_a_send_raises(
        self, use, sink, monkeypatch, error, caplog
    ):
        class Broken:
            """The real producer, after two failures."""

            left = 2

            def send(self, records):
                if self.left:
                    self.left -= 1
                    raise error("no")
                return real.send(records)

        delivery = use()
        real = producers["default"]
        monkeypatch.setitem(producers._objects, "default", Broken())
        for n in range(5):
            give(delivery, "k", n)
        assert delivery.flush(10)
        assert [json.loads(r.data)["n"] for r in sink.accepted()] == list(range(5))
        assert error.__name__ in caplog.text
        monkeypatch.undo()

    def test_a_thread_that_died_is_replaced_and_its_events_are_sent(self, use, sink, monkeypatch):
        delivery = use()
        monkeypatch.setattr(delivery, "_work", lambda: None.gone)
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        give(delivery, "k", 0)
        until(lambda: delivery._sender is None)
        monkeypatch.undo()
        monkeypatch.setenv("AWS_ENDPOINT_URL", sink.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTSITE00000000")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-site-itself-0123456789abcd")
        assert delivery.flush(10)
        assert len(sink.accepted()) == 1

    def test_a_receiver_that_publishes_into_a_full_buffer_is_not_stuck(self, use, sink):
        refused = []

        def again(**_):
            try:
                while True:
                    give(delivery, "receiver", len(refused), 1000)
            except BufferFull as error:
                refused.append(error)

        delivery = use(BUFFER_BYTES=16 * 1024)  # and WHEN_FULL is block
        signals.records_sent.connect(again)
        try:
            give(delivery, "k", 1)
            until(lambda: refused)
        finally:
            signals.records_sent.disconnect(again)
        assert delivery.flush(10)

    def test_a_receiver_that_flushes_is_not_stuck(self, use):
        answers = []

        def flush(**_):
            answers.append(delivery.flush())

        delivery = use()
        signals.records_sent.connect(flush)
        try:
            give(delivery, "k", 1)
            assert delivery.flush(10)
        finally:
            signals.records_sent.disconnect(flush)
        assert answers == [False]


class TestFull:
    def test_raise(self, use, sink):
        sink.set_faults("hang=1")
        delivery = use(WHEN_FULL="raise", BUFFER_BYTES=64 * 1024, **HANGS)
        taken = fill(delivery)
        statistics = delivery.statistics
        assert statistics.accepted == statistics.buffered_records == taken
        assert statistics.buffered_bytes <= 64 * 1024 * 13 / 16
        with pytest.raises(BufferFull, match=r"default.*BUFFER_BYTES"):
            publish("a.b", {"text": "x" * 1000})

    def test_drop_counts_and_tells_once(self, use, sink, caplog):
        sink.set_faults("hang=1")
        delivery = use(WHEN_FULL="drop", BUFFER_BYTES=64 * 1024, **HANGS)
        for n in range(1000):
            give(delivery, "k", n, 100)
        statistics = delivery.statistics
        assert statistics.dropped == 1000 - statistics.accepted > 0
        (told,) = [r.getMessage() for r in caplog.records if "dropped" in r.getMessage()]
        assert told == "Stream default: 1 events dropped, the buffer is full"

    def test_block_waits_for_room_or_as_long_as_it_may(self, use, sink):
        sink.set_faults("hang=1")
        delivery = use(BUFFER_BYTES=64 * 1024, BLOCK_SECONDS=4, **HANGS)
        started = time.monotonic()
        fill(delivery)
        assert time.monotonic() - started >= 4
        threads = in_threads(1, lambda _: give(delivery, "last", 0))
        sink.clear_faults()
        join(threads)
        assert delivery.flush(10)

    def test_an_event_loop_goes_on_while_many_tasks_wait_for_room(self, use, sink):
        sink.set_faults("hang=1")
        delivery = use(BUFFER_BYTES=32 * 1024, BLOCK_SECONDS=60, **HANGS)
        room = 32 * 1024 * 13 // 16

        async def site():
            tasks = [asyncio.create_task(apublish("a.b", "x" * 200, key="k")) for _ in range(150)]
            await asyncio.to_thread(until, lambda: delivery._buffer._turns)
            await asyncio.sleep(0.5)
            waiting = sum(not task.done() for task in tasks)
            # A loop that waited for room itself would not come here, and raise BufferFull.
            await asyncio.to_thread(sink.clear_faults)
            await asyncio.gather(*tasks)
            return waiting

        waiting = asyncio.run(site())
        assert waiting >= 150 - room // memory_of(Record("k", b"x" * 200))
        assert delivery.flush(10)
        # By their ids: of a request under way when the faults end, the answer may come too late.
        assert len({json.loads(record.data)["id"] for record in sink.accepted()}) == 150


class TestEnd:
    def test_close_sends_what_is_left_and_takes_no_more(self, use, sink):
        delivery = use(SHUTDOWN_SECONDS=10)
        for n in range(20):
            give(delivery, "k", n)
        delivery.close()
        delivery.close()
        assert len(sink.accepted()) == 20
        with pytest.raises(BufferClosed, match="publish"):
            give(delivery, "k", 21)
        until(lambda: delivery._sender is None)

    def test_close_gives_up_in_time_and_says_how_much(self, use, sink, caplog):
        sink.set_faults("hang=1")
        delivery = use(SHUTDOWN_SECONDS=0.2, **HANGS)
        for n in range(20):
            give(delivery, "k", n)
        started = time.monotonic()
        delivery.close()
        assert time.monotonic() - started < 8
        assert delivery.statistics.abandoned == 20
        assert balanced(delivery)
        (told,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        assert told == (
            "Stream default: 20 events were not delivered within SHUTDOWN_SECONDS (0.2 s)"
        )

    def test_a_change_of_the_settings_sends_what_is_left_and_begins_anew(self, use, sink):
        before = use(SHUTDOWN_SECONDS=10)
        give(before, "k", 1)
        after = use(SHUTDOWN_SECONDS=9)
        assert after is not before
        assert before.statistics.sent == 1
        give(after, "k", 2)
        assert after.flush(10)
        assert [json.loads(r.data)["n"] for r in sink.accepted()] == [1, 2]

    def test_close_from_several_threads_while_others_deliver_fifty_times(self, use, sink):
        config = use().stream
        taken = 0
        for _ in range(50):
            delivery = BackgroundDelivery(config)
            together = threading.Barrier(7)

            def publish_some(thread, delivery=delivery, together=together):
                together.wait(5)
                try:
                    for n in range(40):
                        give(delivery, f"{thread}", n)
                except BufferClosed:
                    pass

            def close(_, delivery=delivery, together=together):
                together.wait(5)
                delivery.close()

            join([*in_threads(4, publish_some), *in_threads(3, close)])
            statistics = delivery.statistics
            assert statistics.accepted == statistics.sent
            assert balanced(delivery)
            taken += statistics.accepted
        assert len(sink.accepted()) == taken

    def test_one_thread_sends_however_many_begin_at_once(self, use):
        config = use().stream
        for _ in range(20):
            delivery = BackgroundDelivery(config)
            together = threading.Barrier(8)

            def begin(n, delivery=delivery, together=together):
                together.wait(5)
                give(delivery, "k", n)

            join(in_threads(8, begin))
            until(
                lambda: (
                    sum(t.name == "kinesis-default-background" for t in threading.enumerate()) <= 1
                )
            )
            assert delivery.flush(10)
            delivery.close()
            until(lambda delivery=delivery: delivery._sender is None)

    def test_no_thread_to_be_had_is_a_clear_error_and_nothing_is_taken(self, use, monkeypatch):
        delivery = use()

        def refuse(_):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(background.KinesisBridgeError, match="can't start new thread"):
                give(delivery, "k", 1)
        assert delivery.statistics.accepted == 0
        give(delivery, "k", 1)
        assert delivery.flush(10)
