"""Schemas of what no own column holds, and of schema=: draft-07 that the events fit."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

import pytest
from django.db.models import F
from jsonschema import Draft7Validator

from kinesis_bridge import publishes, serializers
from kinesis_bridge.contract.asyncapi import document
from kinesis_bridge.contract.derived import shape_schema, source_schema
from kinesis_bridge.contract.schema import messages, versioned_data
from kinesis_bridge.declarations import declarations_of, forget
from kinesis_bridge.declaring.shapes import check_fits
from kinesis_bridge.declaring.sources import resolve
from tests.testapp.models import Bill, Buyer, Plain, Purchase, Tag, Thing
from tests.unit.test_contract_asyncapi import found, official, references

__all__ = ["official"]


class Kind(enum.Enum):
    NEW = "new"


@dataclasses.dataclass
class Line:
    product: str
    price: Decimal
    parts: list[Line] | None = None


@dataclasses.dataclass
class Whole:
    """What an order is."""

    id: int
    lines: list[Line]
    place: tuple[float, float]
    kind: Kind
    token: UUID
    moment: datetime
    day: date
    at: time
    lasts: timedelta
    raw: bytes
    by_name: dict[str, Line]
    note: str | None = None


class Small(TypedDict, total=False):
    name: str


WHOLE = Whole(
    1,
    [Line("a", Decimal("1.50"), [Line("b", Decimal(1))])],
    (1.5, 2),
    Kind.NEW,
    UUID(int=1),
    datetime(2026, 1, 2, tzinfo=UTC),
    date(2026, 1, 2),
    time(1, 2, 3),
    -timedelta(days=3, microseconds=1),
    b"\x00",
    {"x": Line("a", Decimal(0))},
)


@pytest.fixture
def declared():
    """Declare `Plain` for the test alone."""
    yield lambda *args, **kwargs: publishes(*args, **kwargs)(Plain)
    forget(Plain)


def errors(schema, body):
    Draft7Validator.check_schema(schema)
    return [
        f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(body)
    ]


def of(type_):
    [message] = [one for one in messages() if one.type == type_]
    return message.schema


class TestShapes:
    def test_what_is_written_fits_both(self):
        data = serializers.to_json(WHOLE)

        check_fits("shop.Order", Whole, data)
        assert errors(shape_schema(Whole), json.loads(data)) == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("id", "1"),
            ("lines", [{"product": "a"}]),
            ("place", [1.5]),
            ("place", [1.5, 2.5, 3.5]),
            ("kind", "old"),
            ("by_name", {"x": 1}),
            ("note", 5),
        ],
    )
    def test_what_does_not_fit_fits_neither(self, name, value):
        body = json.loads(serializers.to_json(WHOLE)) | {name: value}

        assert errors(shape_schema(Whole), body)
        with pytest.raises(ValueError, match=rf"^shop\.Order\.{name} cannot be published"):
            check_fits("shop.Order", Whole, json.dumps(body).encode())

    def test_it_is_draft_07_without_references(self):
        made = shape_schema(Whole)

        assert not list(references(made))
        assert "prefixItems" not in json.dumps(made)
        assert made["properties"]["place"]["additionalItems"] is False
        line = made["properties"]["lines"]["items"]
        assert line["properties"]["parts"]["anyOf"][0]["items"] == {"description": "As around it."}

    def test_a_field_may_have_the_name_of_a_keyword(self):
        shape = TypedDict("shape", {"default": int, "items": list[Small], "$ref": str})

        made = shape_schema(shape)["properties"]
        assert made["default"] == {"type": "integer"}
        assert made["items"]["items"]["title"] == "Small"
        assert made["$ref"] == {"type": "string"}


def returns_number(row) -> int:
    raise AssertionError


def returns_what_msgspec_has_not(row) -> complex:
    raise AssertionError


class TestSources:
    @pytest.mark.parametrize(
        ("model", "given", "expected"),
        [
            (Purchase, "buyer.email", {"type": ["string", "null"], "maxLength": 50}),
            (Thing, F("count") + 1, {"type": ["integer", "null"]}),
            (Purchase, returns_number, {"type": "integer"}),
            (Purchase, returns_what_msgspec_has_not, {}),
            (Purchase, lambda row: 1, {}),
            (Purchase, "label", {"type": "string"}),
        ],
    )
    def test_each(self, model, given, expected):
        assert source_schema(resolve(model, given), "postgres") == expected


@pytest.mark.django_db
def test_what_is_published_fits(kinesis_events):
    buyer = Buyer.objects.create(email="a@x")
    rows = [Purchase.objects.create(buyer=buyer), Purchase.objects.create()]
    rows += [Bill.objects.create(buyer=buyer, total="1.5"), Bill.objects.create()]
    Purchase.objects.update(net=1)
    Bill.objects.update(total=2)
    rows[0].tags.add(Tag.objects.create(name="t"))
    for row in rows:
        row.delete()

    bodies = [json.loads(serializers.cloudevents(event)) for event in kinesis_events]
    assert len(bodies) == 13
    for body in bodies:
        assert errors(of(body["type"]), body) == [], body["type"]


def test_the_document_is_as_asyncapi_has_it(official, declared):
    declared("test.plain", payload=lambda row: {}, changed=True, version=3)
    declared("test.whole", payload=lambda row: WHOLE, schema=Whole, changed=True)

    assert found(official, document()) == []


class TestVersions:
    def test_the_envelope_has_the_uri(self):
        schema = of("test.bill.v2.created")

        assert schema["$id"] == "urn:x-kinesis-bridge:test.bill.v2.created"
        assert "dataschema" in schema["required"]
        uri = schema["properties"]["dataschema"]
        assert uri["examples"] == ["urn:x-kinesis-bridge:test.bill.v2"]
        assert "dataschema" not in of("test.purchase.created")["properties"]
        assert "$id" not in of("test.purchase.created")

    def test_ids_are_those_of_one_schema_each(self):
        ids = [schema["$id"] for schema in (one.schema for one in messages()) if "$id" in schema]

        assert len(ids) == len(set(ids)) == 3

    def test_the_data_alone_is_found_at_it(self, kinesis_events):
        made = versioned_data("test.bill.v2")

        assert made["$id"] == declarations_of(Bill)[0].dataschema
        assert list(made["properties"]) == ["id", "buyer", "total", "changed"]
        assert made["required"] == ["id", "buyer", "total"]
        assert versioned_data("test.bill") is versioned_data("test.purchase") is None

    def test_one_type_on_two_streams_has_no_id(self, declared):
        for stream, fields in (("default", ["id"]), ("audit", ["name"])):
            publishes("test.twice", fields=fields, version=1, stream=stream)(
                Plain if stream == "default" else Tag
            )
        try:
            twice = [one.schema for one in messages() if one.type == "test.twice.v1.created"]
            assert ["$id" in schema for schema in twice] == [False, False]
        finally:
            forget(Tag)


def test_a_payload_without_a_schema_is_anything(declared):
    declared("test.plain", payload=lambda row: {}, changed=True)

    assert of("test.plain.created")["properties"]["data"] == {"type": "object"}
    data = of("test.plain.updated")["properties"]["data"]
    assert data["required"] == ["changed"]
    assert errors(data, {"a": 1, "changed": {"a": [None, 1]}}) == []
    assert errors(data, {"a": 1}) != []
