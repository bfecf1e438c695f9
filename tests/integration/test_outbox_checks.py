"""System checks of the outbox: its tables, the length of an alias."""

from io import StringIO

import pytest
from django.core.checks import ERROR
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from kinesis_bridge.conf import rules, types
from kinesis_bridge.outbox_checks import check_outbox, check_outbox_aliases
from tests.support.outbox import OutboxOn
from tests.support.sqlite import sqlite_alias

STREAM = {"STREAM": "orders", "REGION": "eu-west-1", "DELIVERY": "direct"}
OUTBOX = {**STREAM, "DELIVERY": "outbox"}
DELIVERY = "kinesis_bridge.delivery.memory.MemoryDelivery"


class WritesTo:
    """A router that has the declared models of the tests in one database."""

    def __init__(self, alias):
        self.alias = alias

    def db_for_write(self, model, **hints):
        return self.alias if model._meta.app_label == "testapp" else None


@pytest.fixture
def bridge(settings, monkeypatch):
    """Change the streams; any delivery will do, as long as it is called outbox."""
    deliveries = {"outbox": DELIVERY, **types.DELIVERIES}
    for module in (rules, types):
        monkeypatch.setattr(module, "DELIVERIES", deliveries)

    def change(**streams):
        settings.KINESIS_BRIDGE = {"STREAMS": streams}

    change(default=OUTBOX, audit=STREAM)
    return change


@pytest.fixture
def bare(tmp_path, django_db_blocker):
    """A database without a table."""
    with django_db_blocker.unblock(), sqlite_alias("bare", tmp_path / "bare.sqlite3") as alias:
        yield alias


def routed(settings, alias, *outboxes):
    settings.DATABASE_ROUTERS = [WritesTo(alias), OutboxOn(*outboxes)]


def test_e040_a_database_that_a_model_is_written_to_lacks_the_tables(bridge, settings, bare):
    routed(settings, bare, bare)

    (error,) = check_outbox(databases=[bare])

    assert (error.id, error.level) == ("kinesis_bridge.E040", ERROR)
    assert error.msg.startswith("testapp.Thing is written to database 'bare', which lacks ")
    assert "kinesis_bridge_outboxrecord" in error.msg
    assert "kinesis_bridge_lane" in error.msg
    assert error.hint == "Run: manage.py migrate --database bare"


def test_e040_a_router_keeps_the_tables_out(bridge, settings, bare):
    routed(settings, bare)

    (error,) = check_outbox(databases=[bare])

    assert error.id == "kinesis_bridge.E040"
    assert "a router's allow_migrate keeps the outbox's tables out of it" in error.msg
    assert error.hint.startswith("Let the router allow kinesis_bridge, then: ")


def test_e040_the_default_database_is_where_publish_writes(bridge, settings, bare, monkeypatch):
    routed(settings, bare, "default", bare)
    monkeypatch.setattr("kinesis_bridge.outbox_checks.DEFAULT_DB_ALIAS", bare)
    settings.DATABASE_ROUTERS = [WritesTo("default"), OutboxOn(bare)]

    (error,) = check_outbox(databases=[bare])

    assert error.msg.startswith("publish() writes to database 'bare'")


def test_a_database_with_the_tables_passes(bridge, settings, sqlite_file):
    routed(settings, sqlite_file, sqlite_file)

    assert check_outbox(databases=[sqlite_file]) == []


def test_a_database_that_nothing_is_written_to_needs_no_tables(bridge, settings, bare):
    routed(settings, "default", "default", bare)

    assert check_outbox(databases=[bare]) == []


@pytest.mark.parametrize(
    "streams", [{"default": STREAM, "audit": STREAM}, {"default": {**OUTBOX, "DELIVERY": "pigeon"}}]
)
def test_without_outbox_delivery_no_table_is_needed(bridge, settings, bare, streams):
    routed(settings, bare, bare)
    bridge(**streams)

    assert check_outbox(databases=[bare]) == []
    assert check_outbox_aliases() == []


def test_no_database_is_opened_unless_it_is_asked_about(bridge, settings, bare):
    routed(settings, bare, bare)

    assert check_outbox() == check_outbox(databases=["other"]) == []
    assert connections[bare].connection is None


def test_check_command_refuses_and_migrate_mends_it(bridge, settings, bare):
    routed(settings, bare, bare)
    with pytest.raises(SystemCheckError, match=r"kinesis_bridge.E040.*lacks the outbox's tables"):
        call_command("check", databases=[bare])

    # As from the command line, where migrate runs the checks before it makes a table.
    output = StringIO()
    call_command("migrate", "kinesis_bridge", database=bare, skip_checks=False, stdout=output,
                 stderr=output)  # fmt: skip

    assert "E040" not in output.getvalue()
    assert "Applying kinesis_bridge.0001_initial" in output.getvalue()
    call_command("check", databases=[bare])


@pytest.mark.django_db(databases=["default", "other"])  # since Django 6.1 `check` looks into them
def test_e041_an_alias_longer_than_its_column(bridge):
    fits, too_long = "a" * 64, "b" * 65
    bridge(**{fits: OUTBOX, too_long: OUTBOX, "c" * 65: STREAM})

    (error,) = check_outbox_aliases()

    assert error.id == "kinesis_bridge.E041"
    assert error.msg == (
        f'KINESIS_BRIDGE["STREAMS"]["{too_long}"] has an alias of 65 characters:'
        " the outbox keeps 64 at most."
    )
    with pytest.raises(SystemCheckError, match=r"kinesis_bridge.E041"):
        call_command("check")
