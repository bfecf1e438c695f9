"""Which databases have an outbox: without tables, kept free by a router, not to be reached."""

import json
from io import StringIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections

from kinesis_bridge.databases import missing_tables, outbox_databases
from kinesis_bridge.models import OutboxRecord
from tests.support.outbox import OutboxOn, dead, waiting
from tests.support.sqlite import sqlite_alias


@pytest.fixture
def bare(tmp_path, django_db_blocker):
    """A database without a table."""
    with django_db_blocker.unblock(), sqlite_alias("bare", tmp_path / "bare.sqlite3") as alias:
        yield alias


@pytest.fixture
def gone(tmp_path, django_db_blocker):
    """A database that cannot be reached."""
    path = tmp_path / "no such folder" / "db.sqlite3"
    with django_db_blocker.unblock(), sqlite_alias("gone", path) as alias:
        yield alias


@pytest.fixture
def outboxes(settings):
    """Let the outbox into these databases only."""

    def let(*aliases):
        settings.DATABASE_ROUTERS = [OutboxOn(*aliases)]

    return let


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def status():
    return json.loads(run("kinesis_status", "--json"))["databases"]


def test_a_database_without_the_tables_has_no_outbox(outboxes, sqlite_file, bare):
    outboxes(sqlite_file, bare)

    assert outbox_databases() == [sqlite_file]
    assert "kinesis_bridge_outboxrecord" in missing_tables(bare)
    assert missing_tables(sqlite_file) == []
    with pytest.raises(ImproperlyConfigured, match="migrate --database bare"):
        outbox_databases(bare)


def test_a_database_that_a_router_keeps_free_has_no_outbox(outboxes, sqlite_file):
    outboxes(sqlite_file)

    assert outbox_databases() == [sqlite_file]
    with pytest.raises(CommandError, match="'other' has no outbox: a router's allow_migrate"):
        run("kinesis_status", "--database", "other")


def test_a_database_that_does_not_exist_is_refused_with_those_there_are():
    with pytest.raises(CommandError, match="DATABASES has no 'othr'; there are: 'default', 'oth"):
        run("kinesis_status", "--database", "othr")


@pytest.mark.parametrize("command", [["kinesis_status"], ["kinesis_deadletter", "list"]])
def test_no_outbox_at_all_is_an_error_with_its_fix(outboxes, bare, command):
    outboxes(bare)

    with pytest.raises(CommandError, match=r"its tables are missing. Run: manage.py migrate"):
        run(*command)


def test_a_database_that_cannot_be_reached_is_a_line_beside_the_others(outboxes, sqlite_file, gone):
    outboxes(sqlite_file, gone)
    waiting(sqlite_file)

    first, second = status()

    assert outbox_databases() == [sqlite_file, "gone"]
    assert first["streams"][0]["pending"] == 1
    assert second == {
        "database": "gone",
        "reachable": False,
        "error": "unable to open database file",
        "relays": [],
        "streams": [],
    }
    text = run("kinesis_status")
    assert "Database gone cannot be reached: unable to open database file" in text


def test_a_database_that_has_half_of_the_tables_says_what_is_wrong(outboxes, bare):
    outboxes(bare)
    with connections[bare].schema_editor() as editor:
        editor.create_model(OutboxRecord)

    (found,) = status()

    assert found["reachable"] is True
    assert found["error"].startswith("It lacks kinesis_bridge_deadletter, kinesis_bridge_lane, ")
    assert found["error"].endswith(". Run: manage.py migrate --database bare")
    assert "Database bare cannot be read: It lacks" in run("kinesis_status")


def test_a_column_that_is_missing_is_named_too(outboxes, sqlite_file):
    outboxes(sqlite_file)
    with connections[sqlite_file].cursor() as cursor:
        cursor.execute("ALTER TABLE kinesis_bridge_stream DROP COLUMN paused_by")
        cursor.execute("ALTER TABLE kinesis_bridge_stream DROP COLUMN paused")

    (found,) = status()

    assert found["error"] == (
        "It lacks kinesis_bridge_stream.paused, kinesis_bridge_stream.paused_by."
        f" Run: manage.py migrate --database {sqlite_file}"
    )


@pytest.mark.parametrize("first", ["sqlite_file", "gone"])
def test_dead_letters_stay_where_one_of_the_databases_fails(outboxes, sqlite_file, gone, first):
    outboxes(sqlite_file, gone)
    letter = dead(sqlite_file)
    aliases = list(connections.settings)
    if first == "gone":  # whichever comes first
        connections.settings[sqlite_file] = connections.settings.pop(sqlite_file)
        assert list(connections.settings) != aliases

    with pytest.raises(CommandError, match="'gone' failed, and nothing was changed: unable to op"):
        run("kinesis_deadletter", "discard", "--all")

    run("kinesis_deadletter", "discard", str(letter.pk), "--database", sqlite_file)
    assert "Dead letters: 0" in run("kinesis_deadletter", "list", "--database", sqlite_file)
