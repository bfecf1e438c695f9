"""What a relay's port says while its threads work, rest, hang and lose their database."""

import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest
from django.db import connections, transaction

from benchmarks.sink import Sink
from kinesis_bridge.conf import get_config
from kinesis_bridge.exceptions import KinesisBridgeError
from kinesis_bridge.models import OutboxRecord, Stream, StreamQuerySet
from kinesis_bridge.relay import Health, HealthPort, Relay, Rhythm, outage
from kinesis_bridge.relay.port import MAX_METRICS, MAX_REQUESTS
from kinesis_bridge.signals import metrics_asked
from tests.support.outbox import waiting
from tests.support.producer import events
from tests.support.relay import fill, going_to
from tests.support.servers import wait_for
from tests.support.web import get, get_json

pytestmark = pytest.mark.django_db(transaction=True)
postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
sqlite = pytest.mark.parametrize("database", ["default"], indirect=True)


@pytest.fixture(scope="module")
def module_sink():
    with Sink(shards=2) as running:
        yield running


@pytest.fixture
def sink(module_sink):
    module_sink.clear_faults()
    module_sink.reset()
    return module_sink


@contextmanager
def serving(alias, *, hangs_after=60.0, threads=1):
    """A relay in a thread, with its port; yields the relay and the port's URL."""
    relay = Relay(
        list(get_config().streams.values()), [alias], rhythm=Rhythm(poll=0.05), threads=threads
    )

    def work():
        try:
            relay.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    with HealthPort(Health(relay, hangs_after=hangs_after), "127.0.0.1", 0) as port:
        thread.start()
        try:
            yield relay, port.url
        finally:
            relay.stop()
            thread.join(15)
            for other in threading.enumerate():
                if other.name.startswith("kinesis-listen"):
                    other.join(5)
    assert not thread.is_alive()


def is_ready(url):
    return get_json(f"{url}/readyz")[0] == 200


def test_a_relay_that_works_is_alive_and_ready(outbox, sink):
    with going_to(sink), serving(outbox, threads=2) as (_, url):
        assert wait_for(lambda: is_ready(url))
        assert get_json(f"{url}/livez") == (200, {"ok": True, "hanging": []})
        assert get_json(f"{url}/readyz") == (
            200,
            {"ok": True, "streams": [{"stream": "default", "database": outbox, "ok": True}]},
        )
        assert get_json(f"{url}/other")[0] == get_json(f"{url}/metrics")[0] == 404


@sqlite
def test_an_outage_is_told_with_its_name_and_without_secrets(outbox, sink):
    fill(outbox, events(3, 3))
    sink.set_faults("access_denied")
    with going_to(sink), serving(outbox) as (_, url):
        assert wait_for(lambda: '"outage"' in get(f"{url}/readyz")[2])
        status, document = get_json(f"{url}/readyz")
        assert get_json(f"{url}/livez")[0] == 200
        sink.clear_faults()
        assert wait_for(lambda: is_ready(url))

    assert (status, document["ok"]) == (503, False)
    assert document["streams"] == [
        {
            "stream": "default",
            "database": outbox,
            "ok": False,
            "reason": "outage",
            "error": "stream-denied-caller",
            "code": "AccessDeniedException",
            "side": "account B",
        }
    ]


@sqlite
def test_a_pause_is_told_and_no_fault(outbox, sink):
    StreamQuerySet(Stream, using=outbox).pause("default", "ada")
    fill(outbox, events(3, 3))
    with going_to(sink), serving(outbox) as (_, url):
        assert wait_for(lambda: is_ready(url))
        (work,) = get_json(f"{url}/readyz")[1]["streams"]
        assert work == {"stream": "default", "database": outbox, "paused": True, "ok": True}
        StreamQuerySet(Stream, using=outbox).resume("default")
        assert wait_for(lambda: "paused" not in get(f"{url}/readyz")[2])


def test_an_outage_is_over_when_another_relay_has_sent_what_waited(outbox, sink, monkeypatch):
    monkeypatch.setattr(outage, "IDLE_SECONDS", 0.0)
    fill(outbox, events(3, 3))
    sink.set_faults("access_denied")
    with going_to(sink), serving(outbox) as (_, url):
        assert wait_for(lambda: '"outage"' in get(f"{url}/readyz")[2])
        OutboxRecord.objects.using(outbox).all().delete()
        assert wait_for(lambda: is_ready(url), 30)


@sqlite
def test_a_database_that_fails_is_told(outbox, sink):
    with going_to(sink), serving(outbox) as (_, url):
        assert wait_for(lambda: is_ready(url))
        rename = "ALTER TABLE kinesis_bridge_outboxrecord RENAME TO {}"
        with connections[outbox].cursor() as cursor:
            cursor.execute(rename.format("away"))
            assert wait_for(lambda: not is_ready(url))
            (work,) = get_json(f"{url}/readyz")[1]["streams"]
            cursor.execute("ALTER TABLE away RENAME TO kinesis_bridge_outboxrecord")
        assert (work["reason"], work["error"]) == ("database", "OperationalError")
        assert wait_for(lambda: is_ready(url))


@postgres
def test_a_thread_that_hangs_is_not_alive(outbox, sink):
    with going_to(sink), serving(outbox, hangs_after=0.5) as (_, url):
        assert wait_for(lambda: is_ready(url))
        with transaction.atomic(using=outbox), connections[outbox].cursor() as cursor:
            cursor.execute("LOCK TABLE kinesis_bridge_outboxrecord IN ACCESS EXCLUSIVE MODE")
            assert wait_for(lambda: get_json(f"{url}/livez")[0] == 503)
            document = get_json(f"{url}/livez")[1]
        assert document["ok"] is False
        assert f"default of {outbox}" in [one["thread"] for one in document["hanging"]]
        assert all(one["seconds"] > 0.5 for one in document["hanging"])
        assert wait_for(lambda: get_json(f"{url}/livez")[0] == 200)


@sqlite
def test_a_thread_that_is_done_does_not_hang(outbox, sink):
    fill(outbox, events(3, 3))
    with going_to(sink):
        relay = Relay(list(get_config().streams.values()), [outbox], rhythm=Rhythm(once=True))
        health = Health(relay, hangs_after=-1.0)
        time.sleep(0.01)
        before = {one["thread"] for one in health.liveness()["hanging"]}
        relay.run()
        after = {one["thread"] for one in health.liveness()["hanging"]}
    assert before == {f"default of {outbox}", "main"}
    assert after == {"main"}


@sqlite
def test_a_relay_that_ends_is_not_ready(outbox, sink):
    waiting(outbox, key="k")
    sink.set_faults("hang:next=1")
    with going_to(sink, READ_TIMEOUT=1.0), serving(outbox) as (relay, url):
        assert wait_for(lambda: sink.stats()["requests"] > 0)
        relay.stop()
        status, document = get_json(f"{url}/readyz")
    assert (status, document["reason"]) == (503, "stopping")


@sqlite
def test_clients_that_hang_are_bounded_and_hold_up_no_end(outbox, sink):
    with going_to(sink), serving(outbox) as (_, url):
        assert wait_for(lambda: is_ready(url))
        assert wait_for(lambda: _handlers() == 0)
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        hanging = [socket.create_connection(address, 5) for _ in range(MAX_REQUESTS)]
        try:
            assert wait_for(lambda: _handlers() == MAX_REQUESTS)
            with closing(socket.create_connection(address, 5)) as one_more:
                assert one_more.recv(1) == b""
            assert _handlers() == MAX_REQUESTS
            began = time.monotonic()
            hanging.pop().close()
            assert wait_for(lambda: _handlers() < MAX_REQUESTS)
            assert is_ready(url)
        finally:
            for one in hanging:
                one.close()
    assert time.monotonic() - began < 5


def _handlers():
    return sum(one.name == "kinesis-health-request" for one in threading.enumerate())


@sqlite
def test_metrics_are_what_a_receiver_answers(outbox, sink):
    def receiver(accept, **_):
        return "text/plain", f"for {accept}".encode()

    metrics_asked.connect(receiver)
    try:
        with going_to(sink), serving(outbox) as (_, url):
            assert get(f"{url}/metrics", accept="a/b") == (200, "text/plain", "for a/b")
    finally:
        metrics_asked.disconnect(receiver)


@sqlite
def test_metrics_that_wait_for_a_database_leave_room_for_the_probes(outbox, sink):
    asked, ended = threading.Semaphore(0), threading.Event()

    def receiver(**_):
        asked.release()
        ended.wait(30)
        return "text/plain", b"late"

    metrics_asked.connect(receiver)
    scrapes = []
    try:
        with going_to(sink), serving(outbox) as (_, url):
            assert wait_for(lambda: is_ready(url))
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            for _ in range(MAX_METRICS):
                scrapes.append(socket.create_connection(address, 5))
                scrapes[-1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert all(asked.acquire(timeout=30) for _ in scrapes)
            assert get_json(f"{url}/metrics")[0] == 503
            assert get_json(f"{url}/livez")[0] == 200
            ended.set()
            for scrape in scrapes:
                scrape.settimeout(30)
                with scrape.makefile("rb") as answer:
                    assert answer.read().endswith(b"late")
            assert get(f"{url}/metrics")[0] == 200
    finally:
        ended.set()
        metrics_asked.disconnect(receiver)
        for scrape in scrapes:
            scrape.close()


@sqlite
def test_metrics_that_fail_are_told_from_metrics_that_are_not_there(outbox, sink):
    def receiver(**_):
        raise ValueError("no directory")

    metrics_asked.connect(receiver)
    try:
        with going_to(sink), serving(outbox) as (_, url):
            status, document = get_json(f"{url}/metrics")
            assert get_json(f"{url}/livez")[0] == 200
    finally:
        metrics_asked.disconnect(receiver)
    assert (status, document["ok"]) == (500, False)


@sqlite
def test_it_listens_on_ipv6_too(outbox, sink):
    with going_to(sink):
        relay = Relay(list(get_config().streams.values()), [outbox])
        with HealthPort(Health(relay), "::1", 0) as port:
            assert port.url.startswith("http://[::1]:")
            assert get_json(f"{port.url}/livez")[0] == 200


@pytest.mark.parametrize(
    ("host", "says"),
    [("127.0.0.1", "is taken by another process"), ("192.0.2.1", "--health-host")],
)
@sqlite
def test_a_port_that_cannot_be_had_says_why(outbox, sink, host, says):
    with going_to(sink), closing(socket.create_server(("127.0.0.1", 0))) as taken:
        relay = Relay(list(get_config().streams.values()), [outbox])
        with pytest.raises(KinesisBridgeError, match="Fix: ") as raised:
            HealthPort(Health(relay), host, taken.getsockname()[1])
    assert says in str(raised.value)
