"""``kinesis_events``: that what it says is captured is, and what it says is not, is not."""

import json
import re
from io import StringIO

import pytest
from django.apps import apps
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import connections, models
from django.db.migrations.state import ProjectState
from jsonschema import Draft7Validator

from kinesis_bridge import publishes
from kinesis_bridge.contract.coverage import captured, not_captured
from kinesis_bridge.declarations import Declaration, declarations_of, forget
from tests.support.aws import ROOT, closed_port, environment, manage
from tests.support.capture import with_outbox
from tests.support.databases import settings_of
from tests.testapp.models import Owner, Pin, Place, Plain, Restaurant, Thing, Token


def printed(*arguments):
    out = StringIO()
    call_command("kinesis_events", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def listed(*arguments):
    return {one["type"]: one for one in json.loads(printed("--json", *arguments))["events"]}


@pytest.fixture
def declared():
    """Declare `Plain` for the test alone."""
    yield lambda *args, **kwargs: publishes(*args, **kwargs)(Plain)
    forget(Plain)


class TestWhatIsSaid:
    def test_of_each_declaration(self):
        one = listed()["test.token"]

        assert one.pop("captured")
        assert one.pop("not_captured")[0] == "rows that are updated: on= leaves them out"
        assert one == {
            "model": "testapp.Token",
            "type": "test.token",
            "types": ["test.token.created", "test.token.deleted"],
            "changes": ["created", "deleted"],
            "key": "id",
            "fields": ["id", "stamped", "label"],
            "stream": "audit",
            "capture": "signals",
            "database": "default",
            "vendor": "sqlite",
        }
        assert "auth.group" in listed(), "those of other apps, too"

    def test_of_one_stream(self):
        assert list(listed("--stream", "audit")) == ["test.token"]

    def test_to_people(self):
        shown = re.sub(r"\s+", " ", printed("--stream", "audit"))

        assert "testapp.Token events test.token.created, test.token.deleted" in shown
        assert "stream audit, by key id" in shown
        assert "database default (sqlite), seen by signals" in shown
        assert "not captured rows that are updated: on= leaves them out raw SQL" in shown

    def test_the_outbox_has_snapshots(self, settings):
        with_outbox(settings)

        one = listed("--stream", "audit")["test.token"]

        assert one["types"][-1] == "test.token.snapshot"
        assert any("kinesis_snapshot" in way for way in one["captured"])

    def test_the_routers_say_on_which_database(self, settings):
        settings.DATABASE_ROUTERS = ["tests.acceptance.test_kinesis_events.PlacesElsewhere"]

        assert {one["database"] for one in listed().values()} == {"default", "other"}
        assert listed()["test.place"]["database"] == "other"

    def test_relations_and_what_on_delete_sets_are_named(self):
        listing = listed()

        assert "what on_delete=SET_... writes: place" in listing["test.pin"]["captured"]
        assert not any("on_delete" in way for way in listing["test.branch"]["captured"])
        assert (
            "many-to-many changes: user_set, permissions" in listing["auth.group"]["not_captured"]
        )

    def test_published_relations_are_captured(self):
        post = listed()["test.post"]

        assert post["fields"] == ["id", "title", "tags", "fans"]
        assert "add(), remove(), set(), clear() from either side: tags, fans" in post["captured"]
        assert not any("many-to-many" in way for way in post["not_captured"])

    def test_an_unpublished_relation_that_on_delete_sets_has_no_event(self):
        pin = Declaration(model=Pin, type="test.pin", key="pk", fields=("id",))

        assert not any("on_delete" in way for way in captured(pin))

    def test_writes_that_change_nothing(self, declared):
        declared("test.plain", fields=["name"], changed=True)

        assert listed()["test.plain"]["not_captured"][0] == (
            "writes that change nothing of what is published: changed=True"
        )


class PlacesElsewhere:
    def db_for_write(self, model, **hints):
        return "other" if model is Place else None


class TestWhatIsSaidIsSo:
    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.fixture
    def place(self, kinesis_events):
        place = Place.objects.create(name="a")
        kinesis_events.clear()
        return place

    def test_of_a_bulk_create_with_conflicts_on_each_database(self, kinesis_events, database):
        [declaration] = declarations_of(Place)
        said = [way for way in not_captured(declaration, database) if "bulk_create" in way]

        Place.objects.using(database).bulk_create([Place(name="a")], ignore_conflicts=True)

        assert len(kinesis_events) == (0 if said else 1)
        [declaration] = declarations_of(Token)
        assert not [way for way in not_captured(declaration, database) if "bulk_create" in way]
        Token.objects.using(database).bulk_create([Token()], ignore_conflicts=True)
        assert kinesis_events.types[-1] == "test.token.created"

    def test_raw_sql(self, place, kinesis_events):
        with connections["default"].cursor() as cursor:
            cursor.execute("UPDATE testapp_place SET name = 'b'")
        models.QuerySet(Place)._raw_delete("default")

        assert not kinesis_events

    def test_data_migrations(self, place, kinesis_events):
        historical = ProjectState.from_apps(apps).apps.get_model("testapp", "Place")
        historical.objects.create(name="b")
        historical.objects.update(name="c")
        historical.objects.bulk_create([historical(name="d")])
        historical.objects.first().delete()

        assert not kinesis_events

    def test_raw_saves(self, place, kinesis_events):
        text = serializers.serialize("json", [place])
        for row in serializers.deserialize("json", text):
            row.save()

        assert not kinesis_events

    def test_unpublished_fields(self, kinesis_events):
        thing = Thing.objects.create(owner=Owner.objects.create(name="o"))
        kinesis_events.clear()
        said = listed()["test.thing"]["not_captured"]
        assert "save(update_fields=...) and update() of unpublished fields alone: secret" in said

        thing.save(update_fields=["secret"])
        Thing.objects.update(secret="s")

        assert not kinesis_events

    def test_what_on_delete_sets(self, place, kinesis_events):
        Pin.objects.create(place=place)
        kinesis_events.clear()
        place.delete()

        assert "test.pin.updated" in kinesis_events.types

    def test_no_bulk_create_of_children(self):
        [place, restaurant] = declarations_of(Restaurant)

        assert any("bulk_create" in way for way in captured(place))
        assert not any("bulk_create" in way for way in captured(restaurant))
        with pytest.raises(ValueError, match="multi-table inherited"):
            Restaurant.objects.bulk_create([Restaurant(name="r")])


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django 6.1 has it first")
@pytest.mark.django_db(transaction=True)
class TestDatabaseOnDelete:
    @pytest.fixture
    def child(self):
        class Follower(models.Model):
            place = models.ForeignKey(Place, models.DB_CASCADE, related_name="+")

            class Meta:
                app_label = "testapp"

        publishes("test.follower", fields=["place"])(Follower)
        with connections["default"].schema_editor() as editor:
            editor.create_model(Follower)
        yield Follower
        with connections["default"].schema_editor() as editor:
            editor.delete_model(Follower)
        forget(Follower)
        del apps.all_models["testapp"]["follower"]
        apps.clear_cache()

    def test_it_has_no_event_and_that_is_said(self, child, kinesis_events):
        place = Place.objects.create(name="a")
        child.objects.create(place=place)
        kinesis_events.clear()
        place.delete()

        assert not child.objects.exists()
        assert kinesis_events.types == ["test.place.deleted"]
        said = listed()["test.follower"]["not_captured"]
        assert "what the database does by itself, on_delete=DB_...: place (DB_CASCADE)" in said


@pytest.fixture
def gone(django_db_blocker):
    """The alias of a MySQL database where nothing listens."""
    connections.settings["gone"] = connections.configure_settings(
        {"default": {}, "gone": settings_of(f"mysql://root@127.0.0.1:{closed_port()}/x")}
    )["gone"]
    with django_db_blocker.unblock():
        yield "gone"
    del connections["gone"], connections.settings["gone"]


def test_of_a_database_that_cannot_be_reached_what_may_be_is_said(gone):
    [declaration] = declarations_of(Place)

    last = list(not_captured(declaration, gone))[-1]

    assert last.endswith("if it is MySQL and not MariaDB: it cannot be reached now")
    # Other kinds are not asked: nothing listens at the tests' PostgreSQL either.
    assert not any("reached" in way for way in not_captured(declaration, "postgres"))


class TestSchema:
    def test_of_the_whole(self):
        made = json.loads(printed("--schema"))

        assert made["asyncapi"] == "3.0.0"
        assert set(made["channels"]) == {"default", "audit"}
        assert printed("--schema", "--json") == printed("--schema")

    def test_of_one_stream(self):
        assert list(json.loads(printed("--schema", "--stream", "audit"))["channels"]) == ["audit"]

    def test_of_one_event(self):
        made = json.loads(printed("--schema", "test.place.created"))

        assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
        Draft7Validator.check_schema(made)
        assert made["properties"]["type"] == {"const": "test.place.created"}

    def test_of_a_type_on_two_streams_that_are_written_differently(self, declared, settings):
        streams = settings.KINESIS_BRIDGE["STREAMS"]
        bare = streams["audit"] | {"OPTIONS": {"SERIALIZER": "json"}}
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STREAMS": streams | {"audit": bare}}
        declared("test.place", fields=["name"], stream="audit")

        either = json.loads(printed("--schema", "test.place.created"))["anyOf"]

        assert ["specversion" in one["properties"] for one in either] == [True, False]


class TestRefusals:
    def test_an_unknown_type_lists_those_there_are(self):
        with pytest.raises(CommandError, match=r"'test.tokens'.*there are: test.token.created, "):
            printed("--schema", "test.tokens", "--stream", "audit")

    def test_an_unknown_type_as_json(self):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("kinesis_events", "--json", "--schema", "no", stdout=out)
        assert json.loads(out.getvalue())["error"]["name"] == "usage"

    @pytest.mark.parametrize("more", [(), ("--schema",), ("--schema", "test.token.created")])
    def test_an_unknown_stream(self, more):
        with pytest.raises(CommandError, match=r"no 'nope'; there are: 'default', 'audit'"):
            printed("--stream", "nope", *more)

    def test_a_declared_stream_that_the_settings_have_not(self, declared):
        declared("test.plain", fields=["name"], stream="nope")

        with pytest.raises(CommandError, match="no 'nope'"):
            printed()


def test_without_a_declaration_that_is_said(settings):
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
        "STREAMS": streams | {"logs": streams["audit"]}
    }

    shown = printed("--stream", "logs")

    assert shown.startswith("No model is declared for stream logs: ")
    assert json.loads(printed("--stream", "logs", "--json")) == {"events": []}


def test_the_demo_shop_is_as_the_page_shows_it(tmp_path):
    done = manage("kinesis_events", "--schema", env=environment(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    schema = made["components"]["schemas"]["shop.order.created"]
    page = (ROOT / "docs" / "events.md").read_text()
    data, record = map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    assert schema["properties"]["data"] == data
    Draft7Validator(schema).validate(record)
