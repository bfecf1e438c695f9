"""The relay against real databases and a sink: order, poison, outages, and being woken."""

import json
import logging
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import override_settings

from benchmarks.sink import Sink
from kinesis_bridge.models import (
    DeadLetter,
    Lane,
    OutboxRecord,
    RelayProcess,
    StreamStatistic,
)
from kinesis_bridge.relay import worker as worker_module
from kinesis_bridge.relay.statistics import Statistics
from kinesis_bridge.relay.store import Store
from kinesis_bridge.relay.worker import Worker
from kinesis_bridge.signals import batch_settled, relay_resumed, relay_started
from kinesis_bridge.streams import streams
from tests.support.outbox import OutboxOn, now, waiting
from tests.support.producer import events, read
from tests.support.relay import fill, going_to, left, listening, pauses, payloads, running
from tests.support.servers import wait_for
from tests.support.signals import heard
from tests.support.sqlite import sqlite_alias

pytestmark = pytest.mark.django_db(transaction=True)
postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
sqlite = pytest.mark.parametrize("database", ["default"], indirect=True)
LIMIT = 4000


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=2, max_record_bytes=LIMIT) as running:
        yield running


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


def once(alias, *arguments):
    """Run ``kinesis_relay --once``; what it prints."""
    out = StringIO()
    command = ["kinesis_relay", "--once", "--json", "--database", alias, *arguments]
    try:
        call_command(*command, stdout=out)
    finally:
        connections[alias].close()
    return json.loads(out.getvalue())


def test_once_drains_each_key_in_order_and_says_what_it_did(outbox, sink):
    records = events(300, 40)
    fill(outbox, records)

    with going_to(sink) as name:
        answer = once(outbox, "--batch", "100")
        verdict = read(sink, name).verdict(records)

    assert verdict.exact, verdict
    assert left(outbox) == 0
    seconds, batches = answer.pop("seconds"), answer.pop("batches")
    assert answer == {"sent": 300, "dead_lettered": 0, "retried": 0}
    assert 0 < seconds < 10
    assert batches >= 3
    assert Lane.objects.using(outbox).count() == 64
    assert RelayProcess.objects.using(outbox).count() == 0
    rows = StreamStatistic.objects.using(outbox).all()
    assert {row.stream for row in rows} == {"default"}
    assert sum(row.sent for row in rows) == 300
    assert sum(row.bytes for row in rows) == sum(len(record.data) for record in records)


def test_threads_of_a_relay_keep_the_order_and_send_nothing_twice(outbox, sink):
    records = events(600, 60)
    fill(outbox, records)

    with going_to(sink) as name:
        assert once(outbox, "--threads", "3", "--batch", "50")["sent"] == 600
        verdict = read(sink, name).verdict(records)

    assert verdict.exact, verdict
    assert left(outbox) == 0


def test_nothing_waits(outbox, sink):
    with going_to(sink):
        answer = once(outbox)

    assert answer["sent"] == answer["batches"] == 0
    assert sink.stats()["operations"].get("PutRecords", 0) == 0


def poisoned(alias):
    """Three events of key ``k``, of which the first is over the stream's limit, and another."""
    first = waiting(alias, key="k", event_id="bad", payload=b"x" * (LIMIT + 1))
    for number in (1, 2):
        waiting(alias, key="k", event_id=f"k-{number}", payload=b"%d" % number)
    waiting(alias, key="other", payload=b"other")
    return first


def test_poison_is_a_dead_letter_and_the_others_of_its_key_pass(outbox, sink, caplog):
    first = poisoned(outbox)

    with going_to(sink) as name, pauses() as told:
        answer = once(outbox)
        assert payloads(sink, name, "k") == [b"1", b"2"]

    assert (answer["sent"], answer["dead_lettered"]) == (3, 1)
    assert told == []
    assert left(outbox) == 0
    (letter,) = DeadLetter.objects.using(outbox).all()
    assert (letter.outbox_id, letter.event_id, letter.blocks) == (first.pk, "bad", False)
    assert letter.code == "ValidationException"
    assert letter.message
    assert bytes(letter.payload) == b"x" * (LIMIT + 1)
    assert StreamStatistic.objects.using(outbox).get().dead_lettered == 1
    (line,) = caplog.records
    assert (line.stream, line.database, line.lane) == ("default", outbox, first.lane)
    assert (line.event_id, line.code) == ("bad", "ValidationException")


@contextmanager
def settled():
    """What ``batch_settled`` told, with whether the relay's transaction was still open."""
    told = []

    def receiver(signal, sender, **facts):
        open_still = connections[facts["database"]].in_atomic_block
        told.append({"sender": sender, "open": open_still, **facts})

    batch_settled.connect(receiver)
    try:
        yield told
    finally:
        batch_settled.disconnect(receiver)


def test_a_batch_tells_what_became_of_it_once_it_is_committed(outbox, sink):
    poisoned(outbox)
    OutboxRecord.objects.using(outbox).update(created=now() - timedelta(seconds=60))

    with going_to(sink), settled() as told:
        assert once(outbox)["dead_lettered"] == 1

    (batch,) = told
    seconds, ages, records = (batch.pop(name) for name in ("seconds", "ages", "records"))
    assert batch == {
        "sender": Worker,
        "open": False,
        "stream": "default",
        "database": outbox,
        "sent": 3,
        "bytes": len(b"12other"),
        "dead_lettered": 1,
        "retried": 0,
        "codes": {"ValidationException": 1},
        "error": None,
    }
    assert [record.partition_key for record in records] == ["k", "k", "k", "other"]
    assert 0 < seconds < 5
    assert len(ages) == 3
    assert all(60 < age < 65 for age in ages), ages


@sqlite
def test_a_batch_that_waits_tells_it_and_a_receiver_that_fails_stops_nothing(outbox, sink, caplog):
    fill(outbox, events(3, 3))

    def broken(**_):
        raise RuntimeError("an observer's own fault")

    sink.set_faults("access_denied:next=1")
    batch_settled.connect(broken)
    try:
        with going_to(sink), settled() as told, running(outbox):
            assert wait_for(lambda: not left(outbox))
    finally:
        batch_settled.disconnect(broken)

    counts = [(batch["sent"], batch["retried"], len(batch["ages"])) for batch in told]
    assert counts == [(0, 3, 0), (3, 0, 3)]
    assert [getattr(batch["error"], "name", None) for batch in told] == [
        "stream-denied-caller",
        None,
    ]
    assert "an observer's own fault" in caplog.text


def test_poison_that_blocks_holds_its_key_until_it_is_requeued(outbox, sink):
    first = poisoned(outbox)
    letters = DeadLetter.objects.using(outbox)

    with going_to(sink, POISON="block") as name:
        answer = once(outbox)
        assert (answer["sent"], answer["dead_lettered"]) == (1, 1)
        assert payloads(sink, name, "k") == []
        assert payloads(sink, name, "other") == [b"other"]
        assert left(outbox, partition_key="k") == 2

        letters.update(payload=b"mended")
        assert letters.all().requeue() == 1
        assert OutboxRecord.objects.using(outbox).order_by("id")[0].pk == first.pk
        assert once(outbox)["sent"] == 3
        assert payloads(sink, name, "k") == [b"mended", b"1", b"2"]
    assert left(outbox) == 0


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("http500", "aws-down"),
        ("access_denied", "stream-denied-caller"),
        ("hang", "no-answer"),
    ],
)
@sqlite
def test_an_outage_leaves_everything_where_it_is(outbox, sink, caplog, fault, cause):
    fill(outbox, events(20, 5))
    sink.set_faults(fault)
    caplog.set_level(logging.INFO, "kinesis_bridge")

    with going_to(sink, READ_TIMEOUT=0.4) as name, pauses() as told:
        out = StringIO()
        with pytest.raises(CommandError, match="Fix: ") as raised:
            call_command("kinesis_relay", "--once", "--json", "--database", outbox, stdout=out)
        error = json.loads(out.getvalue())["error"]
        assert error["name"] == cause, error
        assert raised.value.returncode == 1
        assert left(outbox) == 20
        assert [(stream, one.name) for stream, one in told] == [("default", error["name"])]
        lines = [r for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(lines) == 1, [line.getMessage() for line in lines]
        assert "they wait in the outbox" in lines[0].getMessage()

        sink.clear_faults()
        assert once(outbox)["sent"] == 20
        assert read(sink, name).verdict(events(20, 5)).ok
    assert DeadLetter.objects.using(outbox).count() == 0


def test_a_relay_goes_on_after_an_outage_and_tells_of_it_once(outbox, sink, caplog):
    records = events(50, 10)
    fill(outbox, records)
    sink.set_faults("access_denied")
    caplog.set_level(logging.INFO, "kinesis_bridge.relay")

    with going_to(sink) as name, pauses() as told, running(outbox) as totals:
        assert wait_for(lambda: sink.stats()["operations"].get("PutRecords", 0) >= 2)
        assert left(outbox) == 50
        assert DeadLetter.objects.using(outbox).count() == 0
        sink.clear_faults()
        assert wait_for(lambda: not left(outbox))

    assert read(sink, name).verdict(records).exact
    assert (totals["sent"], totals["dead_lettered"]) == (50, 0)
    assert totals["retried"] >= 50
    assert len(told) == 1
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"], caplog.text
    paused, resumed = caplog.records
    assert (paused.stream, paused.error) == ("default", "stream-denied-caller")
    assert paused.side == "account B"
    assert resumed.seconds > 0
    assert "takes events again" in caplog.records[1].getMessage()


@sqlite
def test_streams_do_not_wait_for_each_other(outbox):
    with Sink(streams=("good",)) as sink, going_to(sink):
        bridge = django_settings.KINESIS_BRIDGE
        both = {
            alias: {**bridge["STREAMS"]["default"], "STREAM": name}
            for alias, name in (("default", "good"), ("audit", "missing"))
        }
        fill(outbox, events(100, 10), "default")
        fill(outbox, events(100, 10), "audit")
        with (
            override_settings(KINESIS_BRIDGE={**bridge, "STREAMS": both}),
            pauses() as told,
            running(outbox, batch=20),
        ):
            assert wait_for(lambda: not left(outbox, stream="default"))
            assert wait_for(lambda: told)
            assert left(outbox, stream="audit") == 100
    assert [stream for stream, _ in told] == ["audit"]


@sqlite
def test_the_site_writes_to_sqlite_while_a_batch_is_under_way(outbox, sink):
    fill(outbox, events(10, 1))
    sink.set_faults("hang:next=1")

    with going_to(sink, READ_TIMEOUT=4.0), running(outbox):
        assert wait_for(lambda: sink.stats()["requests"] > 0)
        waiting(outbox, key="written meanwhile")
        assert sink.stats()["requests"] == 1  # which hangs
        assert left(outbox) == 11
        assert wait_for(lambda: not left(outbox))


@sqlite
def test_a_relay_tells_that_it_starts_and_when_an_outage_is_over(outbox, sink):
    fill(outbox, events(3, 3))
    sink.set_faults("access_denied:next=2")

    with (
        going_to(sink),
        heard(relay_started) as started,
        heard(relay_resumed) as resumed,
        running(outbox),
    ):
        assert wait_for(lambda: resumed)

    assert [(one["streams"], one["databases"]) for one in started] == [(["default"], [outbox])]
    assert [one["stream"] for one in resumed] == ["default"]
    assert 0 < resumed[0]["seconds"] < 5


def test_a_relay_says_that_it_lives_and_that_it_is_gone(outbox, sink):
    relays = RelayProcess.objects.using(outbox)
    with going_to(sink), running(outbox):
        assert wait_for(relays.exists)
        assert relays.get().host
    assert not relays.exists()


@postgres
def test_a_commit_wakes_the_relay(outbox, sink):
    with going_to(sink), running(outbox, poll=30):
        assert wait_for(lambda: listening(outbox))
        time.sleep(0.3)  # until it has looked, and sleeps
        began = time.monotonic()
        with transaction.atomic(using=outbox):
            streams["default"].publish("a.b", {"a": 1}, key="k", using=outbox)
        assert wait_for(lambda: not left(outbox))
        assert time.monotonic() - began < 15  # it would have looked after 30


@postgres
def test_statistics_that_could_not_be_written_count_once(outbox):
    statistics = Statistics()
    for stream in ("default", "x" * 65):  # PostgreSQL refuses the second one's row
        store = Store(outbox, stream, blocks=False)
        statistics.count(store, sent=3, size=30, dead=0, rows=3, began=time.monotonic())
    for _ in range(3):
        statistics.write([outbox])

    row = StreamStatistic.objects.using(outbox).get()
    assert (row.stream, row.sent, row.bytes) == ("default", 3, 30)


@sqlite
def test_once_says_that_its_database_failed(outbox, sink):
    fill(outbox, events(3, 1))
    with connections[outbox].schema_editor() as editor:
        editor.delete_model(Lane)

    with going_to(sink), pytest.raises(CommandError, match="no such table"):
        once(outbox)
    assert left(outbox) == 3


@contextmanager
def reading(alias):
    """Have another thread hold a table of the database; yields what ends that."""
    held, ends = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=alias):
            list(Lane.objects.using(alias).all())
            held.set()
            ends.wait(10)
        connections[alias].close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(5)
        yield ends.set
    finally:
        ends.set()
        thread.join()


@pytest.fixture
def shared(sqlite_file, settings, django_db_blocker):
    """The alias of a database whose threads share a cache, where SQLite waits for none of them.

    As one in memory; but Django closes its connections.
    """
    path = connections.settings[sqlite_file]["NAME"]
    with sqlite_alias("shared_cache", f"file:{path}?cache=shared") as alias:
        settings.DATABASE_ROUTERS = [OutboxOn(alias)]
        yield alias


def test_once_waits_where_threads_share_a_cache_of_sqlite(shared, sink):
    fill(shared, events(3, 1))
    with going_to(sink), reading(shared) as end:
        timer = threading.Timer(0.3, end)
        timer.start()
        assert once(shared)["sent"] == 3
        timer.join()
    assert left(shared) == 0


def test_once_does_not_wait_there_for_ever(shared, sink, monkeypatch):
    monkeypatch.setattr(worker_module, "LOCKED_SECONDS", 0.2)
    fill(shared, events(3, 1))
    with going_to(sink), reading(shared), pytest.raises(CommandError, match="table is locked"):
        once(shared)
    assert left(shared) == 3
