"""What account B reads: checked with the CloudEvents SDK, a reader that is not ours."""

import base64
import enum
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from cloudevents.core.formats.json import JSONFormat
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy
from django.utils.translation import override as language

from kinesis_bridge import serializers
from kinesis_bridge.conf import StreamConfig
from kinesis_bridge.context import MAX_BYTES, Context
from kinesis_bridge.event import Event
from kinesis_bridge.exceptions import RecordTooLarge, SerializationError
from kinesis_bridge.serializers import check_size, to_json

STREAM = StreamConfig(alias="default", stream="orders", options={"MAX_RECORD_BYTES": 2000})
FIREHOSE_ARN = "arn:aws:firehose:eu-west-1:222222222222:deliverystream/orders"
FIREHOSE = StreamConfig(
    alias="lake", stream=FIREHOSE_ARN, options={"MAX_RECORD_BYTES": 10 * 1024 * 1024}
)


class Size(enum.Enum):
    LARGE = "L"
    BROKEN = float("nan")


@dataclass
class Point:
    x: float
    y: float


def make(data, **changes):
    return Event(**{"type": "a.b", "source": "/s", "key": "k", "data": data} | changes)


def read(event):
    return JSONFormat().read(None, serializers.cloudevents(event))


def test_the_sdk_reads_every_attribute():
    event = make({"total": 5}, key="clé 😀", subject="7", source="/shop", type="shop.order.created")
    there = read(event)
    assert there.get_specversion() == "1.0"
    assert there.get_id() == event.id
    assert there.get_type() == "shop.order.created"
    assert there.get_source() == "/shop"
    assert there.get_subject() == "7"
    assert there.get_time() == event.time
    assert there.get_datacontenttype() == "application/json"
    assert there.get_extension("partitionkey") == "clé 😀"
    assert there.get_data() == {"total": 5}


def test_an_event_without_a_subject_has_no_such_attribute():
    assert "subject" not in read(make({})).get_attributes()


def test_the_sdk_reads_the_context_as_extensions():
    values = {"requestid": 'é\U0001f600 "', "attempt": -(2**31), "dryrun": True, "userid": "7"}
    there = read(make({"total": 5}, context=Context(values)))
    for name, value in values.items():
        assert there.get_extension(name) == value
    assert there.get_extension("partitionkey") == "k"
    assert there.get_data() == {"total": 5}


def test_a_context_adds_at_most_its_own_bytes():
    fill = '"' * ((MAX_BYTES - len('{"jobname":""}')) // 2)
    small, large = make({}), make({}, context=Context({"jobname": fill}))
    added = len(serializers.cloudevents(large)) - len(serializers.cloudevents(small))
    assert MAX_BYTES - 4 < added <= MAX_BYTES


def test_bare_json_has_no_context():
    assert serializers.bare_json(make({"a": 1}, context=Context({"userid": "7"}))) == b'{"a":1}'


@pytest.mark.parametrize(
    ("value", "read_back"),
    [
        (Decimal("9.90"), "9.90"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.00000001"), "0.00000001"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006+00:00"),
        (
            datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=-5))),
            "2026-01-02T03:00:00-05:00",
        ),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(days=1, seconds=2), "P1DT00H00M02S"),
        (
            UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
            "01890a5d-ac96-774b-bcce-b302099a8057",
        ),
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        (memoryview(b"ab"), "YWI="),
        (Size.LARGE, "L"),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({2, 1}), [1, 2]),
        ((1, 2), [1, 2]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Point(1.5, 2), {"x": 1.5, "y": 2}),
        (None, None),
        (2**63, 2**63),
        ("\u2028 </script>\x00", "\u2028 </script>\x00"),
    ],
    ids=repr,
)
def test_the_sdk_reads_each_kind_of_value(value, read_back):
    assert read(make({"value": value})).get_data() == {"value": read_back}


def test_a_naive_datetime_is_of_the_sites_time_zone_not_of_the_visitors(settings):
    from django.utils import timezone as django_timezone

    settings.TIME_ZONE = "Europe/Berlin"
    with django_timezone.override("America/New_York"):
        assert to_json(datetime(2026, 7, 1, 12)) == b'"2026-07-01T12:00:00+02:00"'  # noqa: DTZ001


def test_an_offset_with_seconds_which_rfc3339_does_not_have_becomes_utc():
    before_standard_time = datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert to_json(before_standard_time) == b'"1879-12-31T23:06:32+00:00"'


def test_a_lazy_translation_is_translated_when_it_is_published():
    lazy = gettext_lazy("Monday")
    with language("de"):
        assert to_json(lazy) == b'"Montag"'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "NaN or Infinity"),
        (float("-inf"), "NaN or Infinity"),
        ({"a": [1, {"b": float("nan")}]}, r"data\['a'\]\[1\]\['b'\] is NaN"),
        ({float("nan")}, "NaN or Infinity"),
        (Point(float("nan"), 1), r"data\['x'\] is NaN"),
        (Size.BROKEN, "NaN or Infinity"),
        (Decimal("NaN"), "no finite number"),
        (Decimal("-Infinity"), "no finite number"),
        (object(), "builtins.object is not JSON-able"),
        (1j, "builtins.complex is not JSON-able"),
        ({1: "a"}, "key"),
        ("a\ud800", "surrogates"),
        (2**64, "64-bit"),
    ],
    ids=repr,
)
def test_what_has_no_json_form_is_refused_with_the_reason(value, reason):
    with pytest.raises(SerializationError, match=reason):
        to_json(value)


def test_a_nan_in_an_event_is_named_by_its_place():
    with pytest.raises(SerializationError, match=r"event\['data'\]\['n'\] is NaN"):
        serializers.cloudevents(make({"n": float("nan")}))


def test_a_value_that_holds_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(SerializationError, match=r"[Rr]ecursion"):
        to_json(endless)


def test_a_null_is_no_nan():
    assert to_json({"a": None, "b": 1.5}) == b'{"a":null,"b":1.5}'


def test_bare_json_is_only_the_data():
    assert json.loads(serializers.get("json")(make({"a": 1}))) == {"a": 1}


def test_a_registered_serializer_is_found_by_its_name(monkeypatch):
    monkeypatch.setattr(serializers, "_registry", dict(serializers._registry))
    serializers.register("upper", lambda event: event.type.upper().encode())
    assert serializers.get("upper")(make({})) == b"A.B"


def test_a_serializer_is_found_by_its_dotted_path():
    assert serializers.get("kinesis_bridge.serializers.bare_json") is serializers.bare_json


def test_an_unknown_serializer_is_refused_with_the_known_ones():
    with pytest.raises(ImproperlyConfigured, match=r"'avro'.*cloudevents, json"):
        serializers.get("avro")


@pytest.mark.parametrize("key", ["k", "é" * 10, "😀" * 256])
def test_the_record_limit_counts_the_key_in_utf8_bytes(key):
    room = 2000 - len(key.encode())
    check_size(key, b"x" * room, STREAM)
    with pytest.raises(RecordTooLarge, match=r"2,001 bytes.*'default' takes 2,000"):
        check_size(key, b"x" * (room + 1), STREAM)


def test_firehose_takes_1000_kib_and_no_key_counts():
    check_size("k" * 256, b"x" * 1_024_000, FIREHOSE)
    with pytest.raises(RecordTooLarge, match=r"1,024,001 bytes and Firehose stream 'lake'"):
        check_size("k", b"x" * 1_024_001, FIREHOSE)
