"""``kinesis_status``: what waits, what failed and who works."""

import json
import re
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from kinesis_bridge.management import tables
from kinesis_bridge.models import Lane, OutboxRecord, RelayProcess, Stream, StreamStatistic
from kinesis_bridge.status import read_status
from tests.support.outbox import OutboxOn, dead, waiting

pytestmark = pytest.mark.django_db(transaction=True)
STREAM = {"STREAM": "orders", "ROLE": "writer", "REGION": "eu-west-1"}


@pytest.fixture
def outbox(database, settings):
    """The alias of the one database that has an outbox."""
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    return database


def status(*arguments):
    out = StringIO()
    call_command("kinesis_status", *arguments, stdout=out)
    return out.getvalue()


def databases(*arguments):
    return json.loads(status("--json", *arguments))["databases"]


def stream(name, *arguments):
    (database,) = databases(*arguments)
    return next(each for each in database["streams"] if each["stream"] == name)


def relay(database, pid, ago):
    seen = timezone.now() - timedelta(seconds=ago)
    return RelayProcess.objects.using(database).create(
        id=f"r{pid}", host="web-1", pid=pid, started=seen, seen=seen
    )


def test_an_empty_outbox_shows_every_stream_of_the_settings(outbox):
    (database,) = databases()

    skip_locked = connections[outbox].features.has_select_for_update_skip_locked
    nothing = {
        "known": True,
        "ordering": "per_key",
        "pending": 0,
        "oldest": None,
        "age_seconds": None,
        "lanes_owned": 0 if skip_locked else None,
        "dead_letters": 0,
        "blocking": 0,
        "sent_last_minute": 0,
        "paused": None,
    }
    assert database == {
        "database": outbox,
        "reachable": True,
        "error": None,
        "relays": [],
        "streams": [{"stream": "default", **nothing}, {"stream": "audit", **nothing}],
    }


def test_what_waits_and_for_how_long(outbox):
    first = waiting(outbox, created=timezone.now() - timedelta(seconds=90))
    waiting(outbox)
    waiting(outbox, stream="audit")

    found = stream("default")

    assert found["pending"] == 2
    assert parse_datetime(found["oldest"]) == first.created
    assert 90 <= found["age_seconds"] < 120
    assert stream("audit")["pending"] == 1


def test_a_clock_ahead_of_ours_makes_no_age_negative(outbox):
    waiting(outbox, created=timezone.now() + timedelta(hours=1))

    assert stream("default")["age_seconds"] == 0


def test_dead_letters_and_how_many_of_them_block(outbox):
    dead(outbox, blocks=True)
    dead(outbox)
    dead(outbox, stream="audit")

    found = stream("default")
    assert (found["dead_letters"], found["blocking"]) == (2, 1)
    assert stream("audit")["blocking"] == 0


def test_sent_counts_the_last_minute_only(outbox):
    for ago, sent in ((20, 3), (40, 4), (90, 100)):
        start = timezone.now() - timedelta(seconds=ago)
        StreamStatistic.objects.using(outbox).create(stream="default", start=start, sent=sent)

    assert stream("default")["sent_last_minute"] == 7


def test_a_relay_that_was_silent_for_15_seconds_is_dead(outbox):
    alive = relay(outbox, 11, ago=14)
    relay(outbox, 12, ago=16)

    ((found,),) = [database["relays"] for database in databases()]

    assert (found["host"], found["pid"]) == ("web-1", 11)
    assert parse_datetime(found["seen"]) == alive.seen
    assert parse_datetime(found["started"]) == alive.started


def test_ordering_is_said(outbox, settings):
    relaxed = {**STREAM, "OPTIONS": {"ORDERING": "relaxed"}}
    settings.KINESIS_BRIDGE = {
        **settings.KINESIS_BRIDGE,
        "STREAMS": {"default": STREAM, "fast": relaxed},
    }

    assert stream("fast")["ordering"] == "relaxed"
    assert "relaxed" in status("--stream", "fast")


def test_rows_of_a_stream_that_the_settings_lack_are_shown_as_unknown(outbox):
    waiting(outbox, stream="renamed")
    dead(outbox, stream="removed")

    (database,) = databases()

    assert [s["stream"] for s in database["streams"]] == ["default", "audit", "removed", "renamed"]
    renamed = stream("renamed", "--stream", "renamed")
    assert renamed["pending"] == 1
    assert renamed["known"] is False
    assert renamed["ordering"] is None
    text = status()
    assert re.search(r"^renamed +unknown +1 ", text, re.MULTILINE)
    assert "Unknown: the settings have no such stream; what waits is not sent." in text


def test_a_pause_is_told(outbox):
    since = timezone.now()
    Stream.objects.using(outbox).create(alias="audit", paused=since, paused_by="ada")
    assert parse_datetime(stream("audit")["paused"]) == since
    assert stream("default")["paused"] is None
    assert f"Paused: audit, since {since:%Y-%m-%d %H:%M:%S}" in status()


@pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
def test_lanes_owned_are_those_that_somebody_else_holds(outbox):
    Lane.objects.using(outbox).bulk_create(
        [Lane(stream=name, number=n) for name in ("default", "audit") for n in range(4)]
    )
    held, release = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic(using=outbox):
                # Not number__lt: MariaDB locks the row behind a range, too.
                mine = Lane.objects.using(outbox).filter(stream="audit", number__in=[0, 1, 2])
                list(mine.select_for_update())
                held.set()
                release.wait(10)
        finally:
            held.set()
            connections[outbox].close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        assert stream("audit")["lanes_owned"] == 3
        assert stream("default")["lanes_owned"] == 0
    finally:
        release.set()
        thread.join()
    assert stream("audit")["lanes_owned"] == 0


@pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
def test_reading_lets_go_of_every_lane_also_within_a_transaction(outbox):
    Lane.objects.using(outbox).create(stream="default", number=0)
    with transaction.atomic(using=outbox):
        waiting(outbox)
        read_status(outbox)
        assert OutboxRecord.objects.using(outbox).count() == 1, "only the reading is rolled back"

    assert stream("default")["lanes_owned"] == 0
    assert stream("default")["pending"] == 1


def test_one_stream_only(outbox):
    ((found,),) = [database["streams"] for database in databases("--stream", "audit")]

    assert found["stream"] == "audit"


def test_a_stream_that_nobody_knows_is_refused_with_those_there_are(outbox):
    with pytest.raises(CommandError, match=r"has no 'adit'; there are: 'default', 'audit'"):
        status("--stream", "adit")


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_each_database_is_shown(settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default", "other")]
    waiting("other")

    assert [d["streams"][0]["pending"] for d in databases()] == [0, 1]
    assert [d["database"] for d in databases("--database", "other")] == ["other"]
    text = status()
    assert "Database default" in text
    assert "Database other" in text


# For people


def test_the_table_reads_well(outbox):
    waiting(outbox, created=timezone.now() - timedelta(hours=1, minutes=5, seconds=1))
    for _ in range(2):
        dead(outbox, blocks=True)
    relay(outbox, 11, ago=0)

    text = status()

    assert f"Database {outbox}, relays alive: web-1:11" in text
    row = next(line for line in text.splitlines() if "default" in line and "per_key" in line)
    assert "1 h 5 min" in row
    assert row.split()[-3:] == ["2", "2", "0"]
    assert "no relay runs" not in text


def test_it_is_said_that_events_wait_and_no_relay_runs(outbox):
    waiting(outbox)

    assert "Events wait and no relay runs. Start: manage.py kinesis_relay" in status()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (3601, "1 h"), (180_000, "2 d 2 h")],
)
def test_ages(seconds, text):
    assert tables.age(seconds) == text


def test_names_of_anyone_reach_the_terminal_as_text_only():
    assert tables.shown("[red]ü\x1b[2J\n") == "\\[red]ü\\x1b[2J\\n"


def test_nothing_is_written(outbox):
    waiting(outbox)
    with connections[outbox].execute_wrapper(refuse_writes):
        ((found,),) = [database.streams for database in read_status(stream="default")]
    assert found.pending == 1


def refuse_writes(execute, sql, params, many, context):
    assert sql.lstrip("( ").split()[0].upper() not in {"INSERT", "UPDATE", "DELETE"}, sql
    return execute(sql, params, many, context)
