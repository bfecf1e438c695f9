"""The page's figures, on every kind of database: sums, states, sessions, reasons."""

import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone

from kinesis_bridge.dashboard import WINDOWS, overview
from kinesis_bridge.dashboard.seldom import Seldom
from kinesis_bridge.dashboard.series import minutes
from kinesis_bridge.models import RelayProcess, Stream, StreamStatistic
from tests.support.figures import outage
from tests.support.figures import relay as alive
from tests.support.outbox import OutboxOn, dead, waiting

pytestmark = pytest.mark.django_db(transaction=True)
STREAM = {"STREAM": "orders", "ROLE": "writer", "REGION": "eu-west-1"}


@pytest.fixture
def outbox(database, settings, monkeypatch):
    """The alias of the one database that has an outbox; both streams go by it."""
    monkeypatch.setattr("kinesis_bridge.dashboard.seldom.CHEAP_SECONDS", float("inf"))
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    bridge = settings.KINESIS_BRIDGE
    both = {alias: {**given, "DELIVERY": "outbox"} for alias, given in bridge["STREAMS"].items()}
    settings.KINESIS_BRIDGE = {**bridge, "STREAMS": both}
    return database


def view(stream="default", hours=1):
    (database,) = overview(WINDOWS[hours])
    assert database.error is None
    return next(each for each in database.streams if each.status.stream == stream)


def sent(alias, start, number=1, **fields):
    StreamStatistic.objects.using(alias).create(
        stream="default", start=start, sent=number, **fields
    )


@pytest.mark.parametrize(
    ("use_tz", "zone"), [(True, "UTC"), (True, "Asia/Kolkata"), (False, "Asia/Tokyo")]
)
def test_rows_add_up_to_minutes(outbox, settings, use_tz, zone):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
    connections[outbox].close()
    minute = datetime(2026, 11, 27, 12, 34, tzinfo=UTC)
    for second in (0, 10, 50, 60):
        moment = minute + timedelta(seconds=second)
        start = moment if use_tz else timezone.make_naive(moment, timezone.get_default_timezone())
        sent(outbox, start, 2, within_1s=2)

    found = minutes(outbox, minute - timedelta(hours=1))["default"]

    assert {key: sums["sent"] for key, sums in found.items()} == {
        minute: 6,
        minute + timedelta(minutes=1): 2,
    }
    assert found[minute]["within_1s"] == 6
    assert minutes(outbox, minute + timedelta(minutes=2)) == {}
    five = minute.replace(minute=30)
    (in_fives,) = minutes(outbox, minute - timedelta(hours=1), 5).values()
    assert {key: sums["sent"] for key, sums in in_fives.items()} == {
        five: 6,
        five + timedelta(minutes=5): 2,
    }


def test_what_was_sent_is_in_the_points_and_in_the_sums(outbox):
    now = timezone.now().replace(microsecond=0)
    sent(outbox, now - timedelta(minutes=2), 30, bytes=300, within_10ms=30)
    sent(outbox, now - timedelta(minutes=30), 60, throttled=3, slower=60)
    sent(outbox, now - timedelta(hours=3), 90)

    shown = view()
    assert shown.window["sent"] == 90
    assert shown.window["throttled"] == 3
    assert shown.p95 <= 0.01, "of the last five minutes"
    assert sum(point.events for point in shown.points) == pytest.approx(90)
    assert view(hours=6).window["sent"] == view(hours=24).window["sent"] == 180
    assert view(hours=24).p95 == shown.p95
    assert view("audit").moved is False


def test_many_streams_are_added_up_by_the_database_and_seldom_where_that_takes_long(
    outbox, monkeypatch
):
    now = timezone.now().replace(second=0, microsecond=0)
    for back in range(360):
        sent(outbox, now - timedelta(minutes=back))
    seen = []

    def note(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "kinesis_bridge_streamstatistic" in sql and "within_10ms" in sql:
            seen.append(context["cursor"].rowcount)
        return result

    with connections[outbox].execute_wrapper(note):
        assert view(hours=24).window["sent"] == 360
        if connections[outbox].vendor != "sqlite":  # which does not count them
            assert 72 <= seen[0] <= 73, "a row for five minutes"
        keep_everything(monkeypatch)
        view(hours=24)
        asked = len(seen)
        view(hours=24)
        assert len(seen) == asked
        view(hours=6)
        assert len(seen) > asked, "another window is another question"


def keep_everything(monkeypatch):
    """Take every answer for one that took long; nothing is left of it after the test."""
    monkeypatch.setattr("kinesis_bridge.dashboard.seldom.CHEAP_SECONDS", 0)
    monkeypatch.setattr("kinesis_bridge.dashboard.seldom.SHARE", 1e9)
    module = sys.modules[overview.__module__]
    for name in ("_status", "_statistics_of", "_reasons_of"):
        monkeypatch.setattr(module, name, Seldom(getattr(module, name)._ask))


def test_the_first_thing_to_know_of_a_stream(outbox):
    assert view().state == "no-relay"
    relay = alive(outbox)
    assert view().state == "up-to-date"
    waiting(outbox)
    assert view().state == "sending"
    row = outage(outbox)
    assert view().state == "outage"
    relay.seen -= timedelta(seconds=60)
    relay.save(using=outbox)
    assert view().state == "no-relay"
    Stream.objects.using(outbox).update(ended=timezone.now())
    alive(outbox, "web-2")
    assert view().state == "sending"
    assert view().outage == row
    waiting(outbox, created=timezone.now() - timedelta(seconds=301))
    assert view().state == "behind"
    Stream.objects.using(outbox).update(paused=timezone.now())
    assert view().state == "paused"
    waiting(outbox, stream="removed")
    assert view("removed").state == "unknown"


def test_a_stream_that_does_not_go_by_the_outbox(outbox, settings):
    bridge = settings.KINESIS_BRIDGE
    settings.KINESIS_BRIDGE = {**bridge, "STREAMS": {"default": {**STREAM, "DELIVERY": "direct"}}}
    assert view().state == "not-used"
    waiting(outbox)
    assert view().state == "no-relay", "what waits is of use to know"


def test_sessions_are_of_the_streams_role_and_of_relays_that_live(outbox):
    name = "arn:aws:sts::222222222222:assumed-role/EventWriter/shop-web1"
    ends = (timezone.now() + timedelta(minutes=5)).isoformat()
    told = {"role_arn": "arn", "session_arn": name, "expires_at": ends}
    alive(outbox, credentials={"writer": told, "other": told})
    alive(outbox, "dead", credentials={"writer": told}, seen=timezone.now() - timedelta(minutes=1))

    (session,) = view().sessions
    assert (session.name, session.relay) == ("shop-web1", "web-1:4711")
    assert 290 < session.expires_in <= 300
    assert view().role_arn.endswith("role/EventWriter")


def test_lanes_are_counted_once(outbox):
    alive(outbox, lanes={"default": [1, 2, 3]})
    alive(outbox, "web-2", lanes={"default": [3, 4], "audit": [9]})
    assert view().lanes == 4
    assert view("audit").lanes == 1


def test_reasons_are_counted_and_the_newest_message_is_shown(outbox):
    for number in range(3):
        dead(outbox, outbox_id=number, code="ValidationException", message=f"message {number}")
    dead(outbox, outbox_id=9, code="RecordTooLarge", blocks=True)

    first, second = view().reasons
    assert (first.code, first.letters, first.blocking) == ("ValidationException", 3, 0)
    assert first.message == "message 2"
    assert (second.code, second.letters, second.blocking) == ("RecordTooLarge", 1, 1)
    assert view("audit").reasons == ()


def test_no_stream_loses_its_reasons_to_others(outbox):
    codes = ("ValidationException", "RecordTooLarge")
    for number in range(60):
        for code in codes:
            dead(outbox, outbox_id=number, stream=f"removed-{number:02}", code=code)
    (database,) = overview(WINDOWS[1])
    found = {
        each.status.stream: {reason.code for reason in each.reasons} for each in database.streams
    }
    assert all(found[f"removed-{number:02}"] == set(codes) for number in range(60))


def test_no_lock_is_tried(outbox):
    alive(outbox)
    with connections[outbox].execute_wrapper(refuse_locks):
        assert view().state == "up-to-date"


def refuse_locks(execute, sql, params, many, context):
    assert "FOR UPDATE" not in sql, sql
    return execute(sql, params, many, context)


def test_a_database_that_lacks_the_new_tables_says_so(outbox):
    with connections[outbox].schema_editor() as editor:
        editor.delete_model(RelayProcess)
    try:
        (database,) = overview(WINDOWS[1])
        assert "kinesis_bridge_relayprocess" in database.error
    finally:
        with connections[outbox].schema_editor() as editor:
            editor.create_model(RelayProcess)
