"""The schemas: what is published fits them, and what is not does not."""

import json
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import models
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, FormatChecker

from kinesis_bridge import event_context, publishes, serializers
from kinesis_bridge.capture.events import make_event
from kinesis_bridge.capture.values import reader_of
from kinesis_bridge.contract.fields import field_schema
from kinesis_bridge.contract.schema import CLOUDEVENTS, messages
from kinesis_bridge.declarations import declarations_of, forget
from kinesis_bridge.models import OutboxRecord
from tests.support.capture import with_outbox
from tests.testapp.models import (
    Branch,
    ComplexField,
    Document,
    Gadget,
    Gauge,
    Note,
    Owner,
    Pin,
    Place,
    Plain,
    Post,
    Restaurant,
    Sample,
    Seat,
    Tag,
    Thing,
    Token,
)

EAST = timezone(timedelta(hours=9, minutes=30))
FULL = {
    "code": "a\u20ac\n",
    "count": -5,
    "weight": 1.5e300,
    "price": "-9.9",
    "when": datetime(1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "lasts": -timedelta(days=3, microseconds=1),
    "token": uuid.uuid4(),
    "raw": b"\x00\xff\x10\x20",
    "doc": "a/b.txt",
    "extra": {"a": [1, None, {"b": 1.5}]},
}


class ToTheOther:
    """A router that sends every write to one database."""

    def __init__(self, using):
        self.using = using

    def db_for_write(self, model, **hints):
        return self.using


def of(type_):
    [schema] = [message.schema for message in messages() if message.type == type_]
    return schema


def errors(schema, body):
    Draft7Validator.check_schema(schema)
    found = Draft7Validator(schema, format_checker=FormatChecker()).iter_errors(body)
    return [f"{error.json_path}: {error.message}" for error in found]


def body_of(event):
    return json.loads(serializers.cloudevents(event))


def write_of_everything(using):
    """Create, update and delete rows, with values and with nulls; return their models."""
    owner = Owner.objects.using(using).create(name="o")
    rows = [
        Sample(**FULL),
        Sample(code="k", extra=[], raw=b""),
        Thing(owner=owner, name="n", price=3, made=FULL["when"], extra="x"),
        Place(name="p"),
        Restaurant(name="r", stars=2),
        Seat(row="C", number=7),
        Branch(size=1),
        Document(title="t"),
        Pin(),
        Note(),
        Gauge(level=2),
        Token(label="l"),
        Group(name="g"),
        Gadget(owner=owner, name="n", extra={"a": 1}),
        post := Post(title="t"),
    ]
    for row in rows:
        row.save(using=using)
        row.save(using=using)
    post.tags.add(Tag.objects.using(using).create(name="t"))
    Post.objects.using(using).update(title="u")
    Gadget.objects.using(using).update(price="9.5", extra=None)
    Sample.objects.using(using).bulk_create([Sample(**FULL, active=False)])
    Sample.objects.using(using).update(count=models.F("count") + 1, when=None, price=Decimal(1))
    Thing.objects.using(using).update(price="1.1", extra=None)
    for row in rows:
        row.delete(using=using)
    return {type(row)._meta.label for row in rows}


@pytest.fixture
def declared():
    """Declare `Plain` for the test alone."""
    yield lambda *args, **kwargs: publishes(*args, **kwargs)(Plain)
    forget(Plain)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database")
def test_every_event_of_every_declared_model_fits(kinesis_events, database, settings):
    settings.DATABASE_ROUTERS = [ToTheOther(database)]
    with event_context(requestid="r", userid=7, jobname="nightly", number=3, dry=True):
        written = write_of_everything(database)
    published = [body_of(event) for event in kinesis_events]

    for body in published:
        assert errors(of(body["type"]), body) == [], body["type"]
    expected = {message.type for message in messages() if written & {*message.models}}
    assert {body["type"] for body in published} == expected


@pytest.mark.django_db(transaction=True)
def test_a_snapshot_fits(settings):
    with_outbox(settings)
    Sample.objects.create(**FULL)
    OutboxRecord.objects.all().delete()

    call_command("kinesis_snapshot", "testapp.Sample", verbosity=0, json=True)

    [record] = OutboxRecord.objects.all()
    body = json.loads(bytes(record.payload))
    assert body["type"] == "test.sample.snapshot"
    assert errors(of("test.sample.snapshot"), body) == []


@pytest.mark.django_db
def test_what_changed_is_there_for_who_asked_for_it(declared, kinesis_events):
    declared("test.plain", fields=["id", "name"], changed=True)
    row = Plain.objects.create(name="a")
    row.name = "b"
    row.save()
    created, updated = map(body_of, kinesis_events)

    assert updated["data"]["changed"] == {"name": ["a", "b"]}
    assert errors(of("test.plain.created"), created) == []
    schema = of("test.plain.updated")
    assert errors(schema, updated) == []
    updated["data"]["changed"] = {"name": ["a", 5]}
    assert errors(schema, updated) == ["$.data.changed.name[1]: 5 is not of type 'string'"]
    del updated["data"]["changed"]
    assert errors(schema, updated) == ["$.data: 'changed' is a required property"]


def event_of(model, **values):
    """The bytes of an event of a row as the database would give it, parsed."""
    [declaration] = declarations_of(model)
    reader = reader_of(declaration)
    row = reader.of_row([values.get(name) for name in reader.attnames])
    return body_of(make_event(declaration, "updated", row, datetime.now(UTC)))


ZONES = st.sampled_from([UTC, EAST, timezone(-timedelta(hours=5, seconds=7))])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
COLUMNS = {
    "count": st.integers(-(2**31), 2**31 - 1),
    "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "price": st.none() | st.decimals(-999999, 999999, places=2),
    "active": st.booleans(),
    "when": st.none() | st.datetimes(timezones=ZONES).filter(lambda moment: 1 < moment.year < 9999),
    "day": st.none() | st.dates(),
    "lasts": st.none() | st.timedeltas(),
    "token": st.none() | st.uuids(),
    "raw": st.none() | st.binary(max_size=20),
    "doc": TEXT,
    "extra": JSON,
}


@given(row=st.fixed_dictionaries(COLUMNS), pk=st.integers(1, 2**63 - 1), code=TEXT)
@settings(max_examples=100, deadline=None)
def test_any_value_that_a_column_can_hold_fits(row, pk, code):
    body = event_of(Sample, id=pk, code=code, **row)

    assert errors(of("test.sample.updated"), body) == []


WRONG = {
    "id": ["1", 1.5, None, 2**63],
    "code": [5, ["a"]],
    "count": ["5", 1.5, True, None],
    "doubled": ["5"],
    "weight": ["1.5"],
    "price": [9.9, "9.9", "9.900", "1e3", "9,90", ".90"],
    "active": [0, "true", None],
    "when": ["2026-01-02T03:04:05", "2026-01-02 03:04:05+00:00", 5],
    "day": ["2026-01-02T00:00:00+00:00", "2026-1-2", "2026-02-30"],
    "lasts": [60, "1 day"],
    "token": ["0" * 32, "G0000000-0000-0000-0000-000000000000"],
    "raw": ["a", "-_==", [0]],
    "doc": [None, {}],
}


@pytest.fixture
def good():
    body = event_of(Sample, id=1, active=True, doubled=-10, **FULL)
    assert errors(of("test.sample.updated"), body) == []
    return body


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_another_type_does_not_fit(good, name, value):
    good["data"][name] = value

    assert [error.split(":")[0] for error in errors(of("test.sample.updated"), good)]


def test_what_is_always_there_is_required(good):
    schema = of("test.sample.updated")
    for name in [*good["data"]]:
        rest = {**good, "data": {k: v for k, v in good["data"].items() if k != name}}
        assert errors(schema, rest) == [f"$.data: {name!r} is a required property"]
    for name in [*good]:
        rest = {k: v for k, v in good.items() if k != name}
        assert errors(schema, rest) == [f"$: {name!r} is a required property"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "test.sample.created"),
        ("id", "1"),
        ("time", "yesterday"),
        ("specversion", "0.3"),
        ("partitionkey", "k" * 257),
        ("partitionkey", ""),
        ("subject", 1),
        ("traceparent", "00-1-1-01"),
        ("custom", 1.5),
        ("custom", {"a": 1}),
        ("data", None),
    ],
)
def test_another_envelope_does_not_fit(good, name, value):
    assert errors(of("test.sample.updated"), {**good, name: value}) != []


def test_what_comes_later_fits(good):
    good["data"]["new"] = {"any": "thing"}
    good |= {"newattribute": "x", "partitionkey": "\U0001f600" * 256, "source": "/elsewhere"}

    assert errors(of("test.sample.updated"), good) == []


def test_a_subject_is_required_where_the_key_is_never_empty():
    assert "subject" in of("test.seat.created")["required"]
    assert "subject" in of("test.restaurant.created")["required"]


class Shouting(models.TextField):
    """Of a third party: what the database has becomes a list."""

    def from_db_value(self, value, expression, connection):
        return value.split("!")


class Named(models.CharField):
    """Of a third party, and a text as Django's own."""

    description = "a name"


FK = Thing._meta.get_field("owner")
BIG = {"minimum": -(2**63), "maximum": 2**63 - 1}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (models.CharField(max_length=5), {"type": "string", "maxLength": 5}),
        (models.CharField(), {"type": "string"}),
        (Named(max_length=5, null=True), {"type": ["string", "null"], "maxLength": 5}),
        (models.TextField(max_length=5), {"type": "string"}),
        (models.FileField(), {"type": "string", "maxLength": 100}),
        (models.EmailField(), {"type": "string", "maxLength": 254}),
        (
            models.CharField(max_length=5, choices=[("a", "A"), ("More", [("b", "B")])]),
            {"type": "string", "maxLength": 5, "examples": ["a", "b"]},
        ),
        (
            models.SmallIntegerField(choices=[(None, "-"), (1, "One")], null=True),
            {"type": ["integer", "null"], "minimum": -32768, "maximum": 32767, "examples": [1]},
        ),
        (models.BigAutoField(primary_key=True), {"type": "integer", **BIG}),
        (models.DecimalField(), {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}),
        (
            models.DecimalField(max_digits=5, decimal_places=0),
            {
                "type": "string",
                "pattern": "^-?[0-9]+$",
                "description": "A decimal number of at most 5 digits, 0 of them after the point.",
            },
        ),
        (models.GenericIPAddressField(), {"type": "string"}),
        (models.JSONField(), {}),
        (models.JSONField(null=True), {}),
        (ComplexField(), {}),
        (Shouting(), {}),
        (FK, {"type": ["integer", "null"], **BIG}),
        (
            Sample._meta.get_field("doubled"),
            {"type": ["integer", "null"], "minimum": -(2**31), "maximum": 2**31 - 1},
        ),
        (
            Seat._meta.pk,
            {
                "type": "array",
                "items": [
                    {"type": "string", "maxLength": 5},
                    {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
                ],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, models.Field) else "",
)
def test_a_field_on_postgresql(field, expected):
    assert field_schema(field, "postgres") == expected


def test_sqlite_holds_to_no_length():
    assert field_schema(models.CharField(max_length=5), "default") == {"type": "string"}


@pytest.mark.parametrize("value", [time(1, 2, 3), time(23, 59, 59, 999999)])
def test_a_time_of_day_has_no_offset(value):
    schema = field_schema(models.TimeField(), "default")

    written = json.loads(serializers.to_json(value))
    assert errors(schema, written) == []
    assert errors(schema, f"{written}+00:00") != []


class TestSerializers:
    @pytest.fixture
    def written_by(self, settings):
        def write(name):
            streams = settings.KINESIS_BRIDGE["STREAMS"]
            default = streams["default"] | {"OPTIONS": {"SERIALIZER": name}}
            settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
                "STREAMS": streams | {"default": default}
            }
            return next(one for one in messages() if one.type == "test.place.created")

        return write

    def test_an_envelope(self, written_by):
        assert written_by("cloudevents").content_type == CLOUDEVENTS

    def test_bare_data(self, written_by):
        made = written_by("json")

        assert made.content_type == "application/json"
        assert list(made.schema["properties"]) == ["id", "name"]
        assert errors(made.schema, {"id": 1, "name": "n"}) == []

    def test_of_what_the_site_writes_itself_nothing_is_said(self, written_by):
        made = written_by("pickle.dumps")

        assert made.content_type == "application/octet-stream"
        assert errors(made.schema, "anything") == []
        assert "pickle.dumps" in made.schema["description"]


def test_two_models_of_one_type_may_send_either(declared):
    declared("test.place", fields=["name"])

    found = [message for message in messages() if message.type == "test.place.created"]

    assert [one.models for one in found] == [("testapp.Place", "testapp.Plain")]
    data = found[0].schema["properties"]["data"]
    assert [list(either["properties"]) for either in data["anyOf"]] == [["id", "name"], ["name"]]
