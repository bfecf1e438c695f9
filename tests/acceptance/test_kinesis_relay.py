"""``kinesis_relay`` in whole processes, and on servers that are restarted or pooled."""

import json
import logging
import signal
import subprocess
import time
from contextlib import closing

import pytest
from django.db import connections

from benchmarks.sink import Sink
from tests.support.databases import Cluster, PgBouncer, connect
from tests.support.outbox import OutboxOn, waiting
from tests.support.producer import events, read
from tests.support.relay import (
    fill,
    going_to,
    left,
    listening,
    payloads,
    running,
    server_alias,
)
from tests.support.relay_process import relay
from tests.support.servers import wait_for

needs_pgbouncer = pytest.mark.skipif(bool(PgBouncer.missing()), reason=PgBouncer.missing())


@pytest.fixture
def sink():
    with Sink(shards=2) as running_sink:
        yield running_sink


@pytest.fixture(scope="module")
def cluster():
    if reason := Cluster.missing():
        pytest.skip(reason)
    with Cluster() as running_cluster:
        yield running_cluster


@pytest.fixture
def outbox(sqlite_file, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    return sqlite_file


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker):
    with django_db_blocker.unblock():
        yield


def sent_to(sink):
    return sink.stats()["operations"].get("PutRecords", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(outbox, sink, tmp_path, number):
    records = events(100, 10)
    fill(outbox, records)

    with relay(outbox, sink, tmp_path) as child:
        assert wait_for(lambda: not left(outbox))
        child.send_signal(number)
        out, errors = child.communicate(timeout=60)

    assert child.returncode == 0, errors
    answer = json.loads(out)
    assert set(answer) == {"sent", "dead_lettered", "retried", "batches", "seconds"}
    assert (answer["sent"], answer["dead_lettered"], answer["retried"]) == (100, 0, 0)
    assert errors == ""
    assert read(sink, "orders").verdict(records).exact


def test_a_signal_amid_an_outage_ends_it_and_a_second_one_at_once(outbox, sink, tmp_path):
    fill(outbox, events(10, 2))
    sink.set_faults("hang")

    with relay(outbox, sink, tmp_path) as first:
        assert wait_for(lambda: sent_to(sink) >= 1)
        first.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0.3)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 128 + signal.SIGTERM  # 0, had it waited for the answer

    sink.set_faults("http500")
    with relay(outbox, sink, tmp_path) as second:
        before = sent_to(sink)
        assert wait_for(lambda: sent_to(sink) > before)
        second.send_signal(signal.SIGTERM)
        out, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    assert json.loads(out)["sent"] == 0
    assert left(outbox) == 10


def test_wrong_arguments_are_refused(outbox, sink, tmp_path):
    with relay(outbox, sink, tmp_path, "--batch", "0") as child:
        out, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert json.loads(out)["error"]["name"] == "usage"
    assert "--threads and --batch" in errors


def test_a_relay_takes_over_when_another_is_killed(cluster, sink, tmp_path):
    records = events(20, 1)  # one key, so one lane
    url = cluster.create_database("takeover")
    with server_alias(url) as alias:
        fill(alias, records)
        sink.set_faults("hang:next=1")
        with (
            relay(alias, sink, tmp_path) as killed,
            going_to(sink, name="orders"),
        ):
            assert wait_for(lambda: sent_to(sink) == 1)
            with running(alias) as totals:
                time.sleep(0.4)
                assert sent_to(sink) == 1
                assert left(alias) == 20
                killed.kill()
                began = time.monotonic()
                assert wait_for(lambda: not left(alias))
                assert time.monotonic() - began < 8  # not when a lease of its runs out
    assert totals["sent"] == 20
    assert read(sink, "orders").verdict(records).exact


def test_a_killed_relay_repeats_one_batch_at_most(cluster, sink, tmp_path):
    records = events(400, 20)
    batch, kills = 50, 3
    with server_alias(cluster.create_database("killed")) as alias:
        fill(alias, records)
        # Accepted, and nobody told: what the relay has under way when it dies goes once more.
        sink.set_faults("hang_after")
        for _ in range(kills):
            before = len(sink.accepted())
            with relay(alias, sink, tmp_path, "--batch", str(batch)) as child:
                assert wait_for(lambda: len(sink.accepted()) > before)  # noqa: B023
                child.kill()
                child.wait(5)
            assert left(alias) == len(records)
        sink.clear_faults()
        with going_to(sink, name="orders"), running(alias):
            assert wait_for(lambda: not left(alias))

    verdict = read(sink, "orders").verdict(records)
    assert (verdict.lost, verdict.reordered, verdict.unexpected) == (0, 0, 0)
    assert kills <= verdict.duplicated <= kills * batch


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_relay_connects_again_when_its_database_was_restarted(cluster, sink, caplog, mode):
    url = cluster.create_database(f"restarted_{mode}")
    with server_alias(url) as alias, going_to(sink), running(alias, poll=30):
        waiting(alias, key="before")
        assert wait_for(lambda: not left(alias))
        assert wait_for(lambda: listening(alias))
        connections[alias].close()
        cluster.restart(mode)
        waiting(alias, key="after")
        # Heard, or found by the look that follows the new LISTEN.
        assert wait_for(lambda: not left(alias), 6)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 1, caplog.text


@needs_pgbouncer
def test_a_relay_works_behind_a_pooler_in_transaction_mode(cluster, sink):
    cluster.create_database("pooled")
    records = events(300, 40)
    with PgBouncer(cluster, default_pool_size=3) as pooler:
        url = pooler.url_of("pooled")
        with (
            server_alias(url, DISABLE_SERVER_SIDE_CURSORS=True) as alias,
            going_to(sink) as name,
        ):
            fill(alias, records)
            with running(alias, threads=2, batch=50):
                assert wait_for(lambda: not left(alias))
                waiting(alias, key="later", payload=b"1")
                assert wait_for(lambda: not left(alias))
            assert payloads(sink, name, "later") == [b"1"]
            reading = read(sink, name)
            reading.events = [one for one in reading.events if one.partition_key != "later"]
            assert reading.verdict(records).exact
            with closing(connect(cluster.url_of("pooled"))) as direct:
                held = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                query = f"{held} WHERE c.relname = 'kinesis_bridge_lane'"
                assert direct.execute(query).fetchone()[0] == 0
