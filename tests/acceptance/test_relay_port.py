"""``kinesis_relay --health-port`` in a process of its own, spoken to over HTTP."""

import json
import signal
import socket
from contextlib import closing

import pytest

from benchmarks.sink import Sink
from tests.support.outbox import OutboxOn
from tests.support.producer import events
from tests.support.relay import fill, left
from tests.support.relay_process import relay, url_of
from tests.support.servers import wait_for
from tests.support.web import get, get_json


@pytest.fixture
def sink():
    with Sink(shards=2) as running:
        yield running


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker):
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def outbox(sqlite_file, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(sqlite_file)]
    return sqlite_file


def test_a_relay_tells_of_itself_and_ends_with_its_port(outbox, sink, tmp_path):
    fill(outbox, events(50, 5))
    with relay(
        outbox,
        sink,
        tmp_path,
        "--health-port=0",
        observed_by="kinesis_bridge.contrib.prometheus",
    ) as child:
        url = url_of(child)
        assert wait_for(lambda: not left(outbox))
        assert wait_for(lambda: get_json(f"{url}/readyz")[0] == 200)
        assert get_json(f"{url}/livez") == (200, {"ok": True, "hanging": []})
        status, content_type, metrics = get(f"{url}/metrics")
        child.send_signal(signal.SIGTERM)
        out, errors = child.communicate(timeout=60)

    assert (child.returncode, errors) == (0, "")
    assert json.loads(out)["sent"] == 50
    assert status == 200
    assert content_type.startswith("text/plain")
    assert 'kinesis_bridge_delivery_seconds_count{database="default",stream="default"} 50.0' in (
        metrics
    )
    assert 'kinesis_bridge_backlog_events{database="default",stream="default"} 0.0' in metrics
    assert 'kinesis_bridge_relays{database="default"} 1.0' in metrics


def test_a_port_that_is_taken_is_an_error_before_anything_is_sent(outbox, sink, tmp_path):
    fill(outbox, events(3, 3))
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with relay(outbox, sink, tmp_path, f"--health-port={port}") as child:
            out, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken by another process. Fix:" in errors
    assert "is taken" in json.loads(out)["error"]["message"]
    assert left(outbox) == 3
