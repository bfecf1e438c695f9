"""Arguments of ``publishes()``, what they lead to, and the names of the events."""

from __future__ import annotations

import dataclasses
from typing import NotRequired, TypedDict

import pytest
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.db.models import Count, F, Q, Value

from kinesis_bridge import publishes
from kinesis_bridge.declarations import declarations_of, forget
from kinesis_bridge.declaring.shapes import names_of, required_of
from kinesis_bridge.declaring.sources import Computed, Expression, Path, WrongSource, resolve
from tests.testapp.models import (
    Bar,
    Bill,
    BillData,
    Branch,
    Buyer,
    Owner,
    Place,
    Plain,
    Post,
    Purchase,
    Region,
    Sample,
    Thing,
)


@dataclasses.dataclass
class Named:
    name: str
    id: int


class Typed(TypedDict):
    id: int
    name: NotRequired[str]


@pytest.fixture
def declare():
    """Declare the model that is not declared, for one test; return its declaration."""

    def declare(*given, **more):
        publishes(*given, **more)(Plain)
        return declarations_of(Plain)[-1]

    yield declare
    forget(Plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fields": {"a": 5}}, r"fields=\{'a': 5\}.*an expression"),
        ({"fields": {"a": ""}}, "a field"),
        ({"fields": {"a": None}}, "or a function of an instance"),
        ({"fields": {5: "id"}}, "give a name in the data"),
        ({"fields": {"": "id"}}, "give a name in the data"),
        ({"fields": {"a": "id"}, "exclude": ["name"]}, "and no fields="),
        ({"payload": "id"}, "payload='id'.*a function of an instance"),
        ({"payload": Named}, "payload=.*a function"),
        ({"payload": dict.copy, "fields": ["id"]}, "leave fields= out"),
        ({"payload": dict.copy, "exclude": ["id"]}, "leave exclude= out"),
        ({"select": "owner"}, r"select='owner'.*\[\"customer\"\]"),
        ({"select": [5]}, "a list of relations"),
        ({"schema": dict}, "a dataclass or a TypedDict"),
        ({"schema": Named("a", 1)}, "the class itself"),
        ({"version": 0}, "version=0"),
        ({"version": "2"}, "a whole number"),
        ({"version": True}, "version=True"),
        ({"when": Q()}, "when="),
        ({"when": "id"}, "when='id'"),
    ],
    ids=repr,
)
def test_a_bad_argument_is_refused_by_name(arguments, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        publishes(**arguments)


def field(model, name):
    return model._meta.get_field(name)


@pytest.mark.parametrize(
    ("model", "given", "fields"),
    [
        (Thing, "owner.name", ("owner", "name")),
        (Thing, "owner_id.pk", ("owner", "id")),
        (Purchase, "buyer.region.code", ("buyer", "region", "code")),
        (Purchase, "buyer.region", ("buyer", "region")),
        (Bar, "place_ptr.name", ("place_ptr", "name")),
    ],
)
def test_a_path_is_the_fields_of_its_steps(model, given, fields):
    found = resolve(model, given)
    assert isinstance(found, Path)
    assert tuple(one.name for one in found.fields) == fields
    assert found.is_null == any(one.null for one in found.fields)


@pytest.mark.parametrize(
    ("model", "given", "number", "message"),
    [
        (Thing, "owner.colour", "E034", "'colour' is no concrete field of testapp.Owner"),
        (Thing, "colour.name", "E034", "'colour' is no concrete field of testapp.Thing"),
        (Thing, "name.length", "E034", "'name' of testapp.Thing is no relation"),
        (Thing, "owner..name", "E034", "'' is no concrete field"),
        (Place, "bar.beers", "E034", "'bar' leads backwards from testapp.Place"),
        (Post, "tags.name", "E035", "'tags' is related to many rows of testapp.Post"),
        (Owner, "thing_set.name", "E035", "'thing_set' is related to many rows"),
        (Branch, "parent.branch_set", "E035", "'branch_set' is related to many rows"),
        (Plain, "colour", "E030", "testapp.Plain has no concrete field named 'colour'"),
        (Plain, F("colour"), "E037", "does not resolve: Cannot resolve keyword 'colour'"),
        (Plain, Value(object()), "E037", "does not resolve"),
        (Sample, F("count") + F("day"), "E037", "does not resolve"),
        (Post, F("tags__name"), "E037", "has a value for each of many related rows"),
        (Owner, F("thing__name"), "E037", "has a value for each of many related rows"),
        *((Plain, name, "E030", "no concrete field") for name in ("save", "delete", "objects")),
        *(
            (Plain, name, "E030", "no concrete field")
            for name in ("full_clean", "__str__", "_meta")
        ),
    ],
    ids=str,
)
def test_what_leads_to_nothing_is_refused(model, given, number, message):
    with pytest.raises(WrongSource) as caught:
        resolve(model, given)
    assert message in str(caught.value)
    assert caught.value.number == number
    assert caught.value.hint


@pytest.mark.parametrize(
    ("model", "given", "kind"),
    [
        (Thing, F("count") * 2, models.IntegerField),
        (Thing, F("owner__name"), models.CharField),
        (Post, Count("tags"), models.IntegerField),
        (Thing, Q(count__gt=1), models.BooleanField),
    ],
)
def test_an_expression_has_the_field_of_its_output(model, given, kind):
    found = resolve(model, given)
    assert isinstance(found, Expression)
    assert isinstance(found.output_field, kind)


class TestAttributes:
    @pytest.fixture
    def model(self):
        from functools import cached_property

        from django.utils.functional import cached_property as djangos

        class Attributed(models.Model):
            state = models.CharField(max_length=1, choices=[("n", "New")], default="n")

            plain = property(lambda self: "p")
            kept = cached_property(lambda self: "k")
            held = djangos(lambda self: "h")
            constant = 5

            def method(self):
                return "m"

            def with_argument(self, other=1):
                raise AssertionError

            async def later(self):
                raise AssertionError

            def name(self):
                raise AssertionError

            name.alters_data = True

            class Meta:
                app_label = "testapp"

        yield Attributed
        Attributed._meta.apps.all_models["testapp"].pop("attributed")
        Attributed._meta.apps.clear_cache()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("plain", "p"),
            ("kept", "k"),
            ("held", "h"),
            ("method", "m"),
            ("get_state_display", "New"),
        ],
    )
    def test_properties_and_methods_without_arguments(self, model, name, value):
        found = resolve(model, name)
        assert isinstance(found, Computed)
        assert found.function(model()) == value

    @pytest.mark.parametrize("name", ["constant", "with_argument", "later", "name"])
    def test_nothing_else(self, model, name):
        with pytest.raises(FieldDoesNotExist):
            resolve(model, name)


def test_the_declaration_says_where_each_name_comes_from():
    [purchase] = declarations_of(Purchase)
    assert list(purchase.payload_fields) == ["id"]
    assert purchase.relations == {"marks": field(Purchase, "tags")}
    assert purchase.derived["email"] == Path((field(Purchase, "buyer"), field(Buyer, "email")))
    assert purchase.derived["buyer.region.code"].fields[-1] is field(Region, "code")
    assert isinstance(purchase.derived["gross"], Expression)
    assert isinstance(purchase.derived["label"], Computed)
    assert purchase.select == ("buyer",)
    assert purchase.is_derived


def test_own_fields_by_other_names_are_not_derived(declare):
    declaration = declare(fields={"title": "name", "number": "pk"})
    assert declaration.payload_fields == {
        "title": field(Plain, "name"),
        "number": field(Plain, "id"),
    }
    assert not declaration.is_derived


def test_a_type_has_its_version():
    [bill] = declarations_of(Bill)
    assert bill.type == "test.bill"
    assert bill.event_type("created") == "test.bill.v2.created"
    assert bill.dataschema == "urn:x-kinesis-bridge:test.bill.v2"
    assert bill.payload_fields == bill.derived == {}


def test_the_settings_say_where_schemas_are(settings):
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"SCHEMAS": "https://shop.test/"}
    assert declarations_of(Bill)[0].dataschema == "https://shop.test/test.bill.v2"


def test_without_a_version_there_is_neither(declare):
    declaration = declare("test.plain", fields=["id"])
    assert declaration.event_type("deleted") == "test.plain.deleted"
    assert declaration.dataschema is None


def test_two_versions_stand_side_by_side(declare):
    declare("test.plain", fields=["id"])
    declare("test.plain", fields=["id"], version=2)
    with pytest.raises(ImproperlyConfigured, match=r"publishes\('test.plain.v2'\) stands twice"):
        declare("test.plain", fields=["name"], version=2)


@pytest.mark.parametrize("schema", [Named, Typed])
def test_the_names_of_a_schema_are_the_fields(declare, schema):
    declaration = declare(schema=schema)
    assert tuple(declaration.payload_fields) == names_of(schema)
    assert declaration.schema is schema


def test_what_a_schema_requires():
    assert required_of(Typed) == {"id"}
    assert required_of(Named) == {"id", "name"}


def test_what_a_function_says_to_return_is_its_schema(declare):
    assert declarations_of(Bill)[0].schema is BillData
    assert declare(payload=dict.copy).schema is None

    def unknown(row) -> Missing:  # noqa: F821 - as where only checkers have it
        raise AssertionError

    def loose(row) -> dict[str, int]:
        raise AssertionError

    assert declare("test.other", payload=unknown).schema is None
    assert declare("test.loose", payload=loose).schema is None
    assert declare("test.third", payload=loose, schema=Named).schema is Named
