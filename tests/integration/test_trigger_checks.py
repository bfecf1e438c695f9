"""What ``check`` says of ``capture="triggers"``, and what ``kinesis_events`` says is captured."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models import Exists, F, OuterRef, Q, Sum

from kinesis_bridge import publishes
from kinesis_bridge.contract.coverage import coverage
from kinesis_bridge.declarations import declarations, forget
from kinesis_bridge.trigger_checks import check_installed, check_triggers
from tests.support.capture import with_outbox
from tests.support.outbox import OutboxOn
from tests.support.triggers import declared
from tests.testapp.models import Owner, PlaceProxy, Plain, Post, Restaurant, Sample, Thing

DB = "postgres"


class OnPostgres(OutboxOn):
    def db_for_write(self, model, **hints):
        return DB


@pytest.fixture(autouse=True)
def site(settings):
    settings.DATABASE_ROUTERS = [OnPostgres(DB)]
    with_outbox(settings)


@pytest.fixture
def declare():
    from kinesis_bridge import declarations as module

    kept = {model: [*of_model] for model, of_model in module._declarations.items()}

    def declare(model, **arguments):
        forget(model)
        publishes("test.check", capture="triggers", **{"fields": ["id"], **arguments})(model)

    yield declare
    module._declarations.clear()
    module._declarations.update(kept)  # in the order that they had
    module._found.clear()


def said():
    return [
        (message.id.removeprefix("kinesis_bridge."), message.msg) for message in check_triggers()
    ]


@pytest.mark.parametrize(
    ("model", "arguments", "why"),
    [
        (Plain, {"payload": lambda _: {}, "fields": None}, "payload= is a function"),
        (Plain, {"coalesce": True}, "coalesce=, for which all of a transaction is looked at"),
        (Plain, {"fields": {"a": lambda _: 1}}, "a, which is computed by a function"),
        (Plain, {"when": lambda _: True}, "when= is a function, and not a Q"),
        (Thing, {"when": Q(owner__name="x")}, "when= is not of the row's own columns alone"),
        (Thing, {"fields": {"a": F("owner__name")}}, "a: its expression is not of the row's own"),
        (Thing, {"fields": {"a": Sum("count")}}, "a: its expression is not of the row's own"),
        (Thing, {"when": Q(Exists(Owner.objects.filter(pk=OuterRef("owner_id"))))}, "when= is not"),
        (Thing, {"when": Q(owner__in=Owner.objects.all())}, "when= is not of the row's own"),
        (Post, {"fields": ["id", "tags"]}, "many-to-many fields (tags)"),
        (Restaurant, {"fields": ["name"]}, "name, which is in the table of testapp.Place"),
        (Restaurant, {"fields": ["id", "stars"]}, "id, which is in the table of testapp.Place"),
        (Restaurant, {"fields": ["stars"], "key": "name"}, "key=, which is in the table of"),
        (Sample, {"fields": ["wave"]}, "ComplexField 'wave' converts its values in Python"),
        (Sample, {"key": "weight"}, "FloatField 'weight' as text is known to Python only"),
    ],
)
def test_what_only_python_can_compute_is_named(declare, model, arguments, why):
    declare(model, **arguments)
    [(number, message)] = said()
    assert number == "E070"
    assert f"publishes('test.check') on {model._meta.label}: capture=\"triggers\"" in message
    assert why in message


def test_a_serializer_of_the_site_is_named(declare, settings):
    given = settings.KINESIS_BRIDGE
    options = {"OPTIONS": {"SERIALIZER": "tests.integration.test_trigger_checks.serializer"}}
    streams = given["STREAMS"] | {"default": given["STREAMS"]["default"] | options}
    settings.KINESIS_BRIDGE = given | {"STREAMS": streams}
    declare(Plain)
    [(number, message)] = said()
    assert number == "E070"
    assert "the serializer tests.integration.test_trigger_checks.serializer" in message


def serializer(event):
    return b""


def test_only_the_outbox_is_written_by_triggers(declare, settings):
    given = settings.KINESIS_BRIDGE
    streams = given["STREAMS"] | {"default": given["STREAMS"]["default"] | {"DELIVERY": "direct"}}
    settings.KINESIS_BRIDGE = given | {"STREAMS": streams}
    declare(Plain)
    [(number, message)] = said()
    assert number == "E071"
    assert "stream 'default' has DELIVERY 'direct'" in message


def test_only_on_postgresql(declare, settings):
    settings.DATABASE_ROUTERS = []
    declare(Plain)
    [(number, message)] = said()
    assert number == "W070"
    assert "database 'default' (sqlite): nothing of it is published there" in message


def test_an_app_that_is_not_the_sites_gets_no_migrations(declare, monkeypatch):
    declare(Plain)
    installed = str(Path(sysconfig.get_path("purelib")) / "somebodys")
    monkeypatch.setattr(apps.get_app_config("testapp"), "path", installed)
    [(number, message)] = said()
    assert number == "W071"
    assert "makemigrations would write the triggers into tests.testapp" in message


def test_what_is_right_passes(declare):
    declare(Thing, fields=["id", "owner.name"], when=Q(secret=""), changed=True)
    assert said() == []


def test_on_a_proxy_the_table_is_declared(declare):
    declare(PlaceProxy)
    [declaration] = [one for one in declarations() if one.type == "test.check"]
    try:
        assert declaration.label == "testapp.Place"
        assert declaration.proxy is PlaceProxy
    finally:
        from kinesis_bridge import declarations as module

        module._declarations[declaration.model].remove(declaration)


def test_another_way_of_capture_is_refused():
    with pytest.raises(ImproperlyConfigured, match='choose "signals"'):
        publishes("test.check", capture="magic")


@pytest.mark.django_db(transaction=True, databases=["default", DB])
class TestInstalled:
    @pytest.fixture(autouse=True)
    def triggers(self, django_db_setup):
        with declared(DB):
            yield

    def drop(self):
        with connections[DB].cursor() as cursor:
            cursor.execute(
                "SELECT tgname FROM pg_trigger WHERE tgname LIKE %s", ["%kinesis_trigger_place_v%"]
            )
            cursor.execute(
                "SELECT tgname FROM pg_trigger WHERE tgrelid = 'triggerapp_triggerplace'::regclass"
            )
            names = [name for (name,) in cursor.fetchall()]
            for name in names:
                cursor.execute(f"DROP TRIGGER {name} ON triggerapp_triggerplace")
        return names

    def test_as_declared_nothing_is_said(self):
        assert check_installed(databases=[DB]) == []

    def test_missing_ones_are_named(self):
        names = self.drop()
        [message] = check_installed(databases=[DB])
        assert message.id == "kinesis_bridge.E072"
        assert "on triggerapp.TriggerPlace" in message.msg
        assert sum(f"{name} (missing)" in message.msg for name in names) == 3
        assert "and 1 more" in message.msg
        assert f"migrate --database {DB}" in message.hint
        assert check_installed(databases=["default"]) == []

    def test_a_setting_that_stands_in_the_events_is_a_drift(self, settings):
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"SOURCE": "/moved"}
        found = check_installed(databases=[DB])
        assert len(found) > 3
        assert all("of another declaration" in message.msg for message in found)

    def test_kinesis_events_says_what_is_captured(self, settings):
        by_type = {one.type: one for one in coverage()}
        thing, token = by_type["trigger.thing"], by_type["trigger.token"]
        assert (thing.capture, thing.vendor) == ("triggers", "postgresql")
        assert any("INSERT, COPY, UPDATE, DELETE" in way for way in thing.captured)
        assert any("cascades" in way for way in thing.captured)
        assert "TRUNCATE" in thing.not_captured
        assert token.not_captured[0] == "rows that are updated: on= leaves them out"
        settings.DATABASE_ROUTERS = []
        [thing] = [one for one in coverage() if one.type == "trigger.thing"]
        assert thing.not_captured == ("all others: triggers need PostgreSQL, and this is sqlite",)

    def test_truncate_is_what_it_is_said_to_be(self):
        with connections[DB].cursor() as cursor:
            cursor.execute("INSERT INTO triggerapp_triggerplace (name) VALUES ('a')")
            cursor.execute("TRUNCATE triggerapp_triggerplace")
            cursor.execute("SELECT count(*) FROM kinesis_bridge_outboxrecord")
            assert cursor.fetchall() == [(1,)]
