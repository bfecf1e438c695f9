"""What a relay leaves for those who look from outside: lanes, credentials, outages, latencies.

And what it takes from them: a pause.
"""

import time
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from benchmarks.sink import Sink
from kinesis_bridge.dashboard import WINDOWS, overview
from kinesis_bridge.exceptions import EndpointError
from kinesis_bridge.latency import BUCKETS
from kinesis_bridge.models import RelayProcess, Stream, StreamStatistic, lane_of
from kinesis_bridge.relay.outage import StreamState
from kinesis_bridge.relay.outages import Outages
from kinesis_bridge.relay.presence import Presence
from kinesis_bridge.signals import credentials_refreshed
from tests.support.outbox import waiting
from tests.support.producer import events
from tests.support.relay import fill, going_to, left, running
from tests.support.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
sqlite = pytest.mark.parametrize("database", ["default"], indirect=True)
DOWN = EndpointError("No answer.", name="no-answer", side="network", hint="Open the way.")


@pytest.fixture
def sink():
    with Sink() as running_sink:
        yield running_sink


def pause(alias, stream="default"):
    assert Stream.objects.using(alias).pause(stream, by="ada")


def resume(alias):
    assert Stream.objects.using(alias).resume("default")


def drained(alias):
    """What a relay did that sent what waits."""
    with running(alias, once=True) as totals:
        assert wait_for(lambda: totals)
    return totals


# Pauses


def test_an_idle_relay_honours_a_pause_within_two_seconds(outbox, sink):
    with going_to(sink), running(outbox, poll=0.2):
        waiting(outbox)
        assert wait_for(lambda: not left(outbox))
        pause(outbox)
        time.sleep(1.5)
        waiting(outbox)
        time.sleep(1.5)
        assert left(outbox) == 1
        resume(outbox)
        began = time.monotonic()
        assert wait_for(lambda: not left(outbox), 3)
        assert time.monotonic() - began < 2


@sqlite
def test_a_busy_relay_honours_a_pause_within_two_seconds_and_lets_its_lanes_go(outbox, sink):
    fill(outbox, events(3000, 40))
    with going_to(sink), running(outbox, batch=1):
        assert wait_for(lambda: left(outbox) < 2995)
        pause(outbox)
        time.sleep(2)
        waits = left(outbox)
        time.sleep(0.5)
        assert left(outbox) == waits > 0


@sqlite
def test_a_stream_that_is_paused_already_is_not_sent_at_the_start(outbox, sink, caplog):
    pause(outbox)
    waiting(outbox)
    with going_to(sink):
        assert drained(outbox)["sent"] == 0
    assert left(outbox) == 1
    assert "is paused in database" in caplog.text


def test_pausing_twice_is_pausing_once(outbox):
    streams = Stream.objects.using(outbox)
    assert not streams.resume("default")
    pause(outbox)
    assert not streams.pause("default", by="bob")
    assert streams.get().paused_by == "ada"
    resume(outbox)
    assert (streams.get().paused, streams.get().paused_by) == (None, "")


@sqlite
def test_a_pause_is_of_one_stream(outbox, sink):
    pause(outbox, "audit")
    waiting(outbox)
    with going_to(sink), running(outbox):
        assert wait_for(lambda: not left(outbox))


# Lanes and credentials


def test_a_relay_tells_its_lanes(outbox, sink, monkeypatch):
    monkeypatch.setattr("kinesis_bridge.relay.WRITE_SECONDS", 0.2)
    relays = RelayProcess.objects.using(outbox)

    def told():
        waiting(outbox, key="k")  # each time it tells what it has held since the time before
        return relays.filter(lanes={"default": [lane_of("default", "k")]}).exists()

    with going_to(sink), running(outbox):
        assert wait_for(told)


@pytest.mark.django_db(databases=["default"])
def test_a_relay_tells_whose_credentials_it_has_and_no_secret():
    presence = Presence()
    ends = timezone.now() + timedelta(hours=1)
    credentials_refreshed.send_robust(
        None,
        role="writer",
        role_arn="arn:aws:iam::222222222222:role/EventWriter",
        session_arn="arn:aws:sts::222222222222:assumed-role/EventWriter/shop-web1",
        expires_at=ends,
    )
    presence.write(["default"])

    assert RelayProcess.objects.get().credentials == {
        "writer": {
            "role_arn": "arn:aws:iam::222222222222:role/EventWriter",
            "session_arn": "arn:aws:sts::222222222222:assumed-role/EventWriter/shop-web1",
            "expires_at": ends.isoformat(),
        }
    }
    presence.end(["default"])
    assert not RelayProcess.objects.exists()


# Outages


def test_an_outage_is_told_while_it_lasts_and_when_it_ends(outbox):
    state = StreamState("default")
    outages = Outages([state])
    rows = Stream.objects.using(outbox)
    outages.write([outbox])
    assert not rows.exists()

    state.failed(DOWN)
    outages.write([outbox])
    row = rows.get()
    assert (row.alias, row.outage, row.side) == ("default", "no-answer", "network")
    assert (row.cause, row.fix) == ("No answer.", "Open the way.")
    assert row.ended is None
    began = row.began

    state.failed(DOWN)
    outages.write([outbox])
    assert rows.get().began == began

    state.worked()
    outages.write([outbox])
    row = rows.get()
    assert row.began == began < row.ended


def test_an_outage_between_two_writes_is_told_too(outbox):
    state = StreamState("default")
    state.failed(DOWN)
    state.worked()
    Outages([state]).write([outbox])
    row = Stream.objects.using(outbox).get()
    assert row.outage == "no-answer"
    assert row.began <= row.ended


def test_an_outage_that_several_relays_meet_began_with_the_first(outbox):
    states = [StreamState("default") for _ in range(2)]
    for state in states:
        state.failed(DOWN)
        Outages([state]).write([outbox])
        time.sleep(0.01)
    assert Stream.objects.using(outbox).get().began == states[0].last.began


def test_an_outage_amid_which_its_relay_died_ends_with_anothers_success(outbox):
    dying, other = StreamState("default"), StreamState("default")
    dying.failed(DOWN)
    Outages([dying]).write([outbox])
    other.worked()
    Outages([other]).write([outbox])
    assert Stream.objects.using(outbox).get().ended is not None


def test_telling_of_outages_leaves_a_pause_alone(outbox):
    pause(outbox)
    state = StreamState("default")
    state.failed(DOWN)
    Outages([state]).write([outbox])
    row = Stream.objects.using(outbox).get()
    assert row.paused is not None
    assert row.outage == "no-answer"


# Statistics


def test_latencies_are_counted_by_bucket(outbox, sink):
    for seconds, name in ((0, "young"), (40, "old"), (4000, "older")):
        waiting(outbox, key=name, created=timezone.now() - timedelta(seconds=seconds))
    with going_to(sink):
        assert drained(outbox)["sent"] == 3
    rows = list(StreamStatistic.objects.using(outbox).values(*BUCKETS))
    sums = {name: sum(row[name] for row in rows) for name in BUCKETS}
    assert (sums["within_1min"], sums["slower"], sum(sums.values())) == (1, 1, 3)


@sqlite
def test_throttled_records_are_counted(outbox, sink):
    fill(outbox, events(30, 30))
    sink.set_faults("throttle:next=1")
    with going_to(sink):
        assert drained(outbox)["sent"] == 30
    (row,) = StreamStatistic.objects.using(outbox).all()
    assert row.sent == 30
    assert row.throttled >= 1
    assert row.resent >= row.throttled


@sqlite
def test_a_database_that_fails_is_told_later(outbox):
    state = StreamState("default")
    state.failed(DOWN)
    outages, presence = Outages([state]), Presence()
    with connections[outbox].schema_editor() as editor:
        editor.delete_model(Stream)
        editor.delete_model(RelayProcess)
    presence.write([outbox])
    outages.write([outbox])
    with connections[outbox].schema_editor() as editor:
        editor.create_model(Stream)
        editor.create_model(RelayProcess)
    presence.write([outbox])
    outages.write([outbox])
    assert Stream.objects.using(outbox).get().outage == "no-answer"
    assert RelayProcess.objects.using(outbox).exists()


def test_a_relay_of_the_version_before_can_go_on(outbox):
    """It knows the columns that there were: the others have defaults of the database."""
    now = timezone.now()
    with connections[outbox].cursor() as cursor:
        cursor.execute(
            "INSERT INTO kinesis_bridge_streamstatistic"
            " (stream, start, sent, bytes, retried, dead_lettered) VALUES (%s, %s, 1, 2, 0, 0)",
            ["default", now],
        )
        cursor.execute(
            "INSERT INTO kinesis_bridge_relayprocess (id, host, pid, started, seen)"
            " VALUES ('old', 'web-1', 1, %s, %s)",
            [now, now],
        )
    row = StreamStatistic.objects.using(outbox).get()
    assert (row.sent, row.throttled, row.slower) == (1, 0, 0)
    assert overview(WINDOWS[1])[0].relays[0].lanes == {}
