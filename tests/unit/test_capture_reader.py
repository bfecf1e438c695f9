"""What is noted of an instance at save(), to be read later: the same as what would be read now."""

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.db.models import F

from kinesis_bridge.capture.values import Reader
from kinesis_bridge.declarations import Declaration
from tests.testapp.models import Gauge, Sample, Seat, Thing, Token

EAST = timezone(timedelta(hours=9))
SAFE = ["code", "count", "price", "active", "when", "day", "lasts", "token"]


def reader(*fields, model=Sample, key="pk"):
    return Reader(Declaration(model=model, type="test.sample", key=key, fields=fields))


@pytest.mark.parametrize(
    "held",
    [
        {},
        {"code": "a\u20ac\n", "count": 2**60, "price": 9, "active": False},
        {"code": None, "price": None, "when": None, "day": None, "lasts": None, "token": None},
        {"when": datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "day": date(2026, 1, 2)},
        {"when": datetime(2026, 1, 2, 3, 4, tzinfo=EAST)},
        {"lasts": timedelta(days=1, seconds=2), "token": uuid.UUID(int=7)},
    ],
)
def test_a_snapshot_holds_what_is_read(held):
    made = reader(*SAFE)
    instance = Sample(id=5, **held)

    snapshot = made.snapshot(instance)

    assert snapshot is not None
    read = made.read_saved(instance, "default", None, created=True)
    assert made.values_of(snapshot) == read
    assert made.payload(read).keys() == set(SAFE)


@pytest.mark.parametrize(
    "held",
    [
        {"price": Decimal("9.99")},  # may have more places than the database keeps
        {"price": "9.99"},
        {"price": 9.5},
        {"count": F("count") + 1},
        {"count": "5"},
        {"active": 1},
        {"when": date(2026, 1, 2)},
        {"when": "2026-01-02T03:04:05Z"},
        {"token": str(uuid.UUID(int=7))},
        {"code": b"bytes"},
    ],
)
def test_what_must_be_looked_at_now_is_no_snapshot(held):
    assert reader(*SAFE).snapshot(Sample(id=5, **held)) is None


@pytest.mark.parametrize(
    ("field", "value"), [("weight", 1.5), ("extra", {"a": 1}), ("raw", b"b"), ("doc", "a.txt")]
)
def test_a_field_of_another_kind_is_no_snapshot(field, value):
    assert reader(field).snapshot(Sample(id=5, **{field: value})) is None


def test_a_subclass_of_a_kind_is_no_snapshot():
    class Text(str):
        __slots__ = ()

    assert reader("code").snapshot(Sample(id=5, code=Text("a"))) is None


def test_deferred_fields_and_composite_keys_are_no_snapshot():
    deferred = Sample.from_db("default", ["id"], [5])
    assert reader("code").snapshot(deferred) is None
    seat = Seat(row="a", number=1)
    assert reader("taken", model=Seat).snapshot(seat) is None


@pytest.mark.parametrize("held", [2, None])
def test_a_generated_column_is_no_snapshot(held):
    gauge = Gauge(id=5, level=1)
    gauge.double = held
    assert reader("level", model=Gauge).snapshot(gauge) is not None
    assert reader("level", "double", model=Gauge).snapshot(gauge) is None


def test_without_a_key_there_is_no_snapshot():
    assert reader("name", model=Thing, key="owner").snapshot(Thing(id=5)) is None
    assert reader("name", model=Thing, key="owner").snapshot(Thing(id=5, owner_id=1)) is not None
    assert reader("code").snapshot(Sample(code="not saved")) is None


def test_a_primary_key_alone():
    token = Token(id=uuid.UUID(int=7))
    made = reader(model=Token)

    snapshot = made.snapshot(token)

    assert snapshot is not None
    assert made.values_of(snapshot) == {"id": uuid.UUID(int=7)}


def test_most_bytes_bound_the_json_of_the_worst_text():
    made = reader("code", "count", key="code")
    worst = Sample(id=5, code="\x00" * 200, count=-(2**62))
    snapshot = made.snapshot(worst)
    assert snapshot is not None
    data = {"code": r"\u0000" * 200, "count": -(2**62)}
    envelope = len(str(data)) + len("test.sample.created") + 6 * 200  # data, type, partition key
    assert made.most_bytes(snapshot) > envelope
