"""``@publishes``: what it takes, what it refuses."""

import pytest
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.test.utils import isolate_apps

from kinesis_bridge import publishes
from kinesis_bridge.declarations import declarations, declarations_of, forget
from tests.testapp.models import Bar, Place, Plain, Restaurant, Thing, ThingProxy, Token


@pytest.fixture
def plain():
    yield Plain
    forget(Plain)


def test_the_model_itself_is_returned(plain):
    assert publishes("test.plain", fields=["id"])(plain) is plain


def test_the_defaults_are_the_models_name_its_primary_key_and_every_change(plain):
    publishes()(plain)
    (declaration,) = declarations_of(plain)
    assert declaration.type == "testapp.plain"
    assert declaration.key_field is plain._meta.pk
    assert declaration.on == ("created", "updated", "deleted")
    assert declaration.stream == "default"
    assert list(declaration.payload_fields) == ["id", "name"]
    assert declaration in list(declarations())


def test_one_change_may_be_given_as_a_text(plain):
    publishes(on="created", fields="__all__")(plain)
    assert declarations_of(plain)[0].on == ("created",)


def test_fields_are_found_by_name_attname_and_pk(plain):
    declaration = next(d for d in declarations_of(Thing) if d.type == "test.thing")
    assert declaration.field("owner") is declaration.field("owner_id")
    assert declaration.field("pk") is Thing._meta.pk
    with pytest.raises(FieldDoesNotExist, match=r"testapp\.Thing has no concrete field named 'x'"):
        declaration.field("x")


def test_no_fields_are_a_payload_of_nothing(plain):
    publishes(fields=[])(plain)
    assert declarations_of(plain)[0].payload_fields == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fields": "name"}, r'give a list, \["name"\]'),
        ({"fields": [Plain]}, "give a list of field names"),
        ({"fields": 5}, "give a list of field names"),
        ({"on": []}, "choose from 'created', 'updated', 'deleted'"),
        ({"on": ["saved"]}, r"on=\['saved'\]"),
        ({"on": "create"}, "on='create'"),
        ({"on": 5}, "on=5"),
        ({"on": [["created"]]}, "choose from"),
        ({"key": None}, "key=None"),
        ({"key": ""}, "key=''"),
        ({"key": ["id"]}, "give one name"),
        ({"stream": None}, "stream=None"),
        ({"type": ""}, "the events' type"),
        ({"type": 5}, "the events' type"),
    ],
    ids=repr,
)
def test_a_bad_argument_is_refused_by_name(arguments, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        publishes(**arguments)


def test_a_decorator_without_parentheses_is_refused():
    with pytest.raises(ImproperlyConfigured, match=r"Write @publishes\(\)"):

        @publishes
        class Order:
            pass


@pytest.mark.parametrize("what", [object, "testapp.Plain", None])
def test_what_is_no_model_is_refused(what):
    with pytest.raises(ImproperlyConfigured, match="declares a model, not"):
        publishes("a.b")(what)


def test_a_type_cannot_stand_twice_on_a_model(plain):
    publishes("test.plain", fields=["id"])(plain)
    with pytest.raises(ImproperlyConfigured, match=r"stands twice on testapp\.Plain"):
        publishes("test.plain", fields=["name"])(plain)


def test_two_types_of_one_model_are_two_declarations(plain):
    publishes("test.plain", fields=["id"])(plain)
    publishes("test.audit", fields=["name"], stream="audit")(plain)
    assert [d.type for d in declarations_of(plain)] == ["test.plain", "test.audit"]


@isolate_apps("tests.testapp")
def test_an_abstract_model_is_refused():
    with pytest.raises(ImproperlyConfigured, match="is abstract"):

        @publishes("a.b")
        class Base(models.Model):
            class Meta:
                abstract = True


def test_a_proxy_is_refused_and_the_concrete_model_named_as_the_way():
    with pytest.raises(ImproperlyConfigured, match=r"is a proxy.*Declare the concrete model"):
        publishes("a.b")(ThingProxy)


@pytest.mark.parametrize(
    ("model", "types"),
    [
        (Thing, ["test.thing"]),
        (ThingProxy, ["test.thing"]),
        (Bar, ["test.place"]),
        (Restaurant, ["test.place", "test.restaurant"]),
        (Place, ["test.place"]),
        (Token, ["test.token"]),
        (Plain, []),
    ],
)
def test_a_model_has_the_declarations_of_every_table_it_writes(model, types):
    assert [declaration.type for declaration in declarations_of(model)] == types
