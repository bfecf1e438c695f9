"""The doctor at the site's own part: outboxes, relays, backlogs, dead letters."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from kinesis_bridge.conf import get_config
from kinesis_bridge.doctor.site import check_outbox
from kinesis_bridge.findings import FINDINGS
from kinesis_bridge.models import OutboxRecord, RelayProcess, Stream, StreamQuerySet
from tests.support.outbox import OutboxOn, dead, waiting
from tests.support.triggers import declared


class Site(OutboxOn):
    """The router of a site that writes where its outbox is."""

    def db_for_write(self, model, **hints):
        return self.aliases[0]


@pytest.fixture
def outbox(database, settings):
    """The alias of the one database that has an outbox."""
    settings.DATABASE_ROUTERS = [Site(database)]
    waits(settings)
    return database


def waits(settings, **changed):
    """Let the streams' events wait in the outbox."""
    given = settings.KINESIS_BRIDGE
    streams = {name: {**one, "DELIVERY": "outbox"} for name, one in given["STREAMS"].items()}
    settings.KINESIS_BRIDGE = {**given, "STREAMS": streams, **changed}


def relay(database, ago=1):
    seen = timezone.now() - timedelta(seconds=ago)
    RelayProcess.objects.using(database).create(
        id="r1", host="web-1", pid=4711, started=seen, seen=seen
    )


def look(alias="default"):
    return {check.name.split(":")[0]: check for check in check_outbox(get_config().stream(alias))}


def no_relay(database):
    waiting(database)


def silent_relay(database):
    relay(database, ago=60)


def old_backlog(database):
    relay(database)
    waiting(database, created=timezone.now() - timedelta(seconds=900))


def letters(database):
    relay(database)
    dead(database, blocks=True)
    dead(database, key="other", outbox_id=8)


def stream_is_gone(database):
    relay(database)
    waiting(database, stream="renamed")


CASES = [
    (no_relay, "relay", "relay-missing", "Events waiting: 1"),
    (silent_relay, "relay", "relay-missing", "Events waiting: 0"),
    (old_backlog, "backlog", "backlog", "the oldest for 90"),
    (letters, "dead-letters", "dead-letters", "2 events"),
    (stream_is_gone, "backlog", "orphans", "STREAMS['renamed']"),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("broken", "name", "finding", "said"), CASES, ids=[finding for _, _, finding, _ in CASES]
)
def test_what_is_wrong_is_the_only_finding(outbox, settings, broken, name, finding, said):
    waits(settings, LOCAL_AWS=False)
    broken(outbox)

    checks = look()

    assert [(one.name.split(":")[0], one.finding) for one in checks.values() if not one.ok] == [
        (name, finding)
    ]
    assert said in checks[name].detail
    assert repr(outbox) in checks[name].detail
    assert "manage.py" in checks[name].hint or finding in {"backlog", "orphans"}
    assert checks[name].side == "site"


@pytest.mark.django_db(transaction=True)
def test_a_relay_that_runs_and_nothing_that_waits_is_well(outbox):
    relay(outbox)

    checks = look()

    assert [check.ok for check in checks.values()] == [True] * 4
    assert checks["relay"].detail == "alive: web-1:4711"
    assert checks["backlog"].detail == "nothing waits"
    suffix = "" if outbox == "default" else f":{outbox}"
    assert checks["outbox"].name == f"outbox{suffix}"


@pytest.mark.django_db(transaction=True)
def test_a_backlog_of_a_stream_that_is_paused_is_named_so(outbox):
    old_backlog(outbox)
    StreamQuerySet(Stream, using=outbox).pause("default", "ada")

    checks = look()

    assert checks["backlog"].ok
    assert "events waiting: 1, the oldest for 90" in checks["backlog"].detail
    assert "is paused since 20" in checks["backlog"].hint
    assert "Resume it in the admin" in checks["backlog"].hint


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_triggers_that_are_not_as_declared_are_named(outbox):
    relay(outbox)
    with declared(outbox), connections[outbox].cursor() as cursor:
        assert look()["triggers"].ok
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'triggerapp_triggerplace'::regclass"
            " AND tgname LIKE %s",
            ["%_insert_%"],
        )
        [(name,)] = cursor.fetchall()
        cursor.execute(f"ALTER TABLE triggerapp_triggerplace DISABLE TRIGGER {name}")
        checks = look()

    assert [check.finding for check in checks.values() if not check.ok] == ["triggers-differ"]
    assert f"{name} (disabled)" in checks["triggers"].detail
    assert "triggerapp.TriggerPlace" in checks["triggers"].detail
    assert "manage.py kinesis_snapshot" in checks["triggers"].hint


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_a_moment_is_well(outbox):
    relay(outbox)
    waiting(outbox)
    assert look()["backlog"].ok


@pytest.mark.django_db(transaction=True)
def test_in_development_a_relay_may_be_missing_while_nothing_waits(outbox, settings):
    waits(settings, LOCAL_AWS=True)
    assert look()["relay"].ok
    waiting(outbox)
    assert look()["relay"].finding == "relay-missing"


@pytest.mark.django_db(transaction=True)
def test_the_letters_of_another_stream_are_its_own(outbox):
    relay(outbox)
    dead(outbox, stream="audit")
    assert look()["dead-letters"].ok
    assert look("audit")["dead-letters"].finding == "dead-letters"


@pytest.mark.django_db(transaction=True)
def test_missing_tables_are_named_with_the_command(outbox):
    table = OutboxRecord._meta.db_table
    connection = connections[outbox]
    with connection.schema_editor() as editor:
        editor.alter_db_table(OutboxRecord, table, "elsewhere")
    try:
        checks = look()
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(OutboxRecord, "elsewhere", table)

    assert [check.finding for check in checks.values()] == ["outbox-missing"]
    assert checks["outbox"].hint == f"Run: manage.py migrate --database {outbox}"


def test_a_database_that_cannot_be_reached_is_named(
    settings, monkeypatch, tmp_path, django_db_blocker
):
    gone = {**connections.settings["other"], "NAME": str(tmp_path / "no" / "such.sqlite3")}
    monkeypatch.setitem(connections.settings, "gone", gone)
    settings.DATABASE_ROUTERS = [Site("gone")]
    waits(settings)

    with django_db_blocker.unblock():
        checks = look()
    del connections["gone"]  # the name alone is taken back by itself

    assert [check.finding for check in checks.values()] == ["outbox-unreachable"]
    assert "'gone'" in checks["outbox"].detail
    assert "DATABASES['gone']" in checks["outbox"].hint


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_a_router_that_keeps_the_outbox_out_is_named(settings):
    settings.DATABASE_ROUTERS = [OutboxOn("other")]
    waits(settings)

    first, *_ = check_outbox(get_config().stream("default"))

    assert first.finding == "outbox-forbidden"


def test_the_cases_have_every_finding_of_the_outbox():
    named = {finding for _, _, finding, _ in CASES}
    elsewhere = {
        "outbox-missing",
        "outbox-unreachable",
        "outbox-forbidden",
        "delivery-keeps",
        "triggers-differ",
    }
    assert {row.name for row in FINDINGS if row.hops == ("outbox",)} == named | elsewhere
