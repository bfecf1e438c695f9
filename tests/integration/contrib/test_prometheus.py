"""Prometheus metrics: what moves them, what is asked at a scrape, and several processes."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest
from django.db import connections
from prometheus_client import REGISTRY, CollectorRegistry, make_asgi_app
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.sink import Sink
from kinesis_bridge.contrib.prometheus import exposition
from kinesis_bridge.contrib.prometheus.backlog import BacklogCollector
from kinesis_bridge.contrib.prometheus.metrics import connect
from kinesis_bridge.models import OutboxRecord, Stream
from kinesis_bridge.signals import credentials_refreshed, relay_started
from kinesis_bridge.streams import publish
from tests.support.aws import ROOT, environment
from tests.support.observers import observing
from tests.support.outbox import OutboxOn, dead, now, waiting
from tests.support.producer import events, producing
from tests.support.relay import fill, going_to, left, running
from tests.support.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
sqlite = pytest.mark.parametrize("database", ["default"], indirect=True)


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=2, max_record_bytes=4000) as running_sink:
        yield running_sink


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


@pytest.fixture(autouse=True)
def switched_on():
    with observing(connect, "kinesis_bridge.contrib.prometheus"):
        yield


def value(name, **labels):
    """A sample, None without one; asks only the metric that has it."""
    name = f"kinesis_bridge_{name}"
    for metric in REGISTRY.restricted_registry([name]).collect():
        for sample in metric.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    return None


class Since:
    """How much a sample grew."""

    def __init__(self, name, **labels):
        self._ask = lambda: value(name, **labels) or 0.0
        self._before = self._ask()

    @property
    def grown(self):
        return self._ask() - self._before


@sqlite
def test_what_a_relay_does_is_counted(outbox, sink):
    labels = {"stream": "default", "database": outbox}
    fill(outbox, events(20, 5))
    OutboxRecord.objects.using(outbox).update(created=now() - timedelta(seconds=20))
    waiting(outbox, key="too large", payload=b"x" * 5000)
    sent = Since("records_sent_total", stream="default")
    size = Since("bytes_sent_total", stream="default")
    dead_letters = Since("events_dead_lettered_total", code="ValidationException", **labels)
    waited = Since("events_retried_total", **labels)
    failed = Since("requests_failed_total", stream="default", error="stream-denied-caller")
    late, later = (Since("delivery_seconds_bucket", le=le, **labels) for le in ("10.0", "30.0"))
    sink.set_faults("access_denied:next=2")

    with going_to(sink), running(outbox):
        assert wait_for(lambda: value("stream_down", stream="default") == 1)
        assert wait_for(lambda: not left(outbox))

    assert (sent.grown, dead_letters.grown, later.grown, late.grown) == (20, 1, 20, 0)
    assert size.grown > 20 * 20
    assert waited.grown >= 10
    assert failed.grown == 2
    assert value("stream_down", stream="default") == 0


def test_throttling_and_what_is_given_up_are_counted(sink):
    retried = Since("records_retried_total", stream="default")
    throttled = Since("records_throttled_total", stream="default")
    rejected = Since(
        "records_rejected_total", stream="default", code="ProvisionedThroughputExceededException"
    )
    with producing(sink.url) as producer:
        sink.set_faults("throttle=0.1", seed=2)
        producer.send(events(200, 200))
        faults = sink.stats()["faults"]["throttle"]
        assert retried.grown == throttled.grown == faults > 0
        assert rejected.grown == 0
        sink.set_faults("throttle=1")
        producer.send(events(3, 3), seconds=0)
    assert rejected.grown == 3


def test_publishing_and_credentials_are_counted(settings):
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    memory = {alias: {**stream, "DELIVERY": "memory"} for alias, stream in streams.items()}
    settings.KINESIS_BRIDGE = {**settings.KINESIS_BRIDGE, "STREAMS": memory}
    published = Since("events_published_total", stream="default")
    refreshed = Since("credentials_refreshed_total", role="writer")
    publish("a.b", {"a": 1})
    credentials_refreshed.send(None, role="writer", role_arn="arn", expires_at=now())
    assert (published.grown, refreshed.grown) == (1, 1)


def test_what_waits_is_asked_at_the_scrape(database, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    labels = {"stream": "default", "database": database}
    assert value("backlog_events", **labels) == value("backlog_oldest_seconds", **labels) == 0
    for ago in (90, 5):
        waiting(database, created=now() - timedelta(seconds=ago))
    dead(database)

    assert value("backlog_events", **labels) == 2
    assert 90 <= value("backlog_oldest_seconds", **labels) < 95
    assert value("dead_letters", **labels) == 1
    assert value("relays", database=database) == 0
    assert value("database_up", database=database) == 1
    assert value("stream_paused", **labels) == 0
    Stream.objects.using(database).pause("default", by="ada")
    assert value("stream_paused", **labels) == 1
    OutboxRecord.objects.using(database).all().delete()
    assert value("backlog_events", **labels) == 0


@sqlite
def test_a_database_that_fails_breaks_no_scrape(outbox):
    with connections[outbox].schema_editor() as editor:
        editor.execute("ALTER TABLE kinesis_bridge_deadletter RENAME TO away")

    content_type, body = exposition()

    samples = {
        (sample.name, sample.labels.get("database")): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert content_type.startswith("text/plain")
    assert samples["kinesis_bridge_database_up", outbox] == 0
    assert ("kinesis_bridge_backlog_events", outbox) not in samples
    assert "kinesis_bridge_events_published_total" in body.decode()


@sqlite
def test_a_scrape_leaves_no_connection_behind(outbox):
    waiting(outbox)
    connections[outbox].close()
    assert value("backlog_events", stream="default", database=outbox) == 1
    assert connections[outbox].connection is None


@sqlite
def test_a_scrape_of_an_asgi_site_asks_the_databases_too(outbox):
    waiting(outbox)
    told = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        told.append(message)

    registry = CollectorRegistry()
    registry.register(BacklogCollector())
    scope = {"type": "http", "headers": [], "query_string": b""}
    asyncio.run(make_asgi_app(registry)(scope, receive, send))

    assert told[0]["status"] == 200
    sample = f'kinesis_bridge_backlog_events{{database="{outbox}",stream="default"}} 1.0'
    assert sample in told[1]["body"].decode()


def test_counters_of_a_relay_begin_at_zero():
    relay_started.send(None, streams=["fresh"], databases=["fresh"])
    assert value("records_throttled_total", stream="fresh") == 0
    assert value("delivery_seconds_count", stream="fresh", database="fresh") == 0


PUBLISHES = """
    import django
    django.setup()
    from kinesis_bridge import publish
    for _ in range({count}):
        publish("a.b", {{"a": 1}})
"""
SCRAPES = """
    import django
    django.setup()
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    from kinesis_bridge.contrib.prometheus import exposition
    print(exposition()[1].decode())
"""


def sharing(tmp_path):
    """Start processes whose metrics are one."""
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    env = environment(
        tmp_path,
        DJANGO_SETTINGS_MODULE="tests.observed_settings",
        OBSERVED_BY="kinesis_bridge.contrib.prometheus",
        KINESIS_DELIVERY="memory",
        PROMETHEUS_MULTIPROC_DIR=str(metrics),
    )

    def start(code):
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)

    return start


def test_several_processes_count_as_one(tmp_path):
    start = sharing(tmp_path)
    with start(PUBLISHES.format(count=2)) as first, start(PUBLISHES.format(count=3)) as second:
        assert (first.wait(20), second.wait(20)) == (0, 0)
    with start(SCRAPES) as scraping:
        out, _ = scraping.communicate(timeout=60)

    assert scraping.returncode == 0
    assert 'kinesis_bridge_events_published_total{stream="default"} 5.0' in out
    lines = [line for line in out.splitlines() if line.startswith("kinesis_bridge_backlog_events{")]
    assert lines == ['kinesis_bridge_backlog_events{database="default",stream="default"} 0.0']


ENDS_AMID_AN_OUTAGE = """
    import os, signal, sys, django
    django.setup()
    from kinesis_bridge import signals
    signals.relay_started.send(None, streams=["default"], databases=["default"])
    signals.relay_paused.send(None, stream="default", error=None)
    if {killed}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
IS_DOWN = """
    import django
    django.setup()
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector
    from kinesis_bridge import signals
    if {started}:
        signals.relay_started.send(None, streams=["default"], databases=["default"])
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    print(generate_latest(registry).decode())
"""


@pytest.mark.parametrize(("killed", "started"), [(True, True), (False, True), (False, False)])
def test_a_relay_that_ended_amid_an_outage_is_forgotten(tmp_path, killed, started):
    start = sharing(tmp_path)
    with start(ENDS_AMID_AN_OUTAGE.format(killed=killed)) as first:
        assert first.wait(60) == (-signal.SIGKILL if killed else 0)
    assert any(tmp_path.glob("metrics/counter_*.db"))
    with start(IS_DOWN.format(started=started)) as second:
        out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert [line for line in out.splitlines() if line.startswith("kinesis_bridge_stream_down")] == (
        ['kinesis_bridge_stream_down{stream="default"} 0.0'] if started else []
    )
