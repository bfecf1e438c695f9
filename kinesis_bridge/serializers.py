"""Event -> bytes, once, in the caller's hands: what is written here is what account B reads.

``cloudevents`` is CloudEvents 1.0 in structured JSON mode; ``json`` is the bare data. Others:
:func:`register`, or the dotted path of a callable ``(Event) -> bytes`` as OPTIONS["SERIALIZER"].
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise
from django.utils.module_loading import import_string

from .event import check_partition_key
from .exceptions import RecordTooLarge, SerializationError
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from .conf import StreamConfig
    from .event import Event

Serializer = Callable[["Event"], bytes]

# orjson would write a naive datetime without the offset that is owed to the reader.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME


def to_json(data: Any, name: str = "data") -> bytes:
    """Return `data` as JSON; raise SerializationError where it has no JSON form.

    `name` is what a message calls it.

    Decimal becomes text, datetime RFC 3339 with an offset, timedelta ISO 8601, bytes base64, UUID
    and lazy translations text. NaN and Infinity are refused: JSON has neither.
    """
    try:
        text = orjson.dumps(data, _default, _OPTIONS)
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error.__cause__ or error)
        said = _("The data has no JSON form: {reason}.")
        raise SerializationError(Text(said, reason=reason)) from error
    # orjson writes NaN as null; only a text with a null in it can hide one.
    if b"null" in text and (path := _find_nan(data, name)):
        said = _("The data has no JSON form: {path} is NaN or Infinity.")
        raise SerializationError(Text(said, path=path))
    return text


def _default(value: Any) -> Any:
    match value:
        case Decimal():
            if not value.is_finite():
                raise TypeError(f"{value} is no finite number")
            return format(value, "f")
        case datetime():
            return _rfc3339(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return duration_iso_string(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case Promise():
            return str(value)
        case set() | frozenset():
            return sorted(value, key=str)
        case Mapping():
            return dict(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not JSON-able")


def _rfc3339(value: datetime) -> str:
    if timezone.is_naive(value):  # in TIME_ZONE, as DateTimeField saves it
        value = timezone.make_aware(value, timezone.get_default_timezone())
    offset = value.utcoffset()
    # RFC 3339 offsets are whole minutes; those of before standard time are not.
    whole = offset is not None and not offset % timedelta(minutes=1)
    return (value if whole else value.astimezone(UTC)).isoformat()


def _find_nan(value: Any, path: str) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = enumerate(value)
    elif isinstance(value, Enum):
        return _find_nan(value.value, path)
    elif is_dataclass(value):
        inner = ((item.name, getattr(value, item.name)) for item in fields(value))
    return next(
        (found for key, item in inner if (found := _find_nan(item, f"{path}[{key!r}]"))), None
    )


def cloudevents(event: Event) -> bytes:
    """CloudEvents 1.0, structured mode, JSON (JSON Event Format for CloudEvents, v1.0.2)."""
    moment = event.time
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        # What _default would write of it, and many times faster.
        "time": moment.isoformat() if moment.tzinfo is UTC else moment,
        "datacontenttype": "application/json",
        "partitionkey": event.key,
    }
    if event.context is not None:
        envelope.update(event.context)  # none of the names above: it refuses them
    envelope["data"] = event.data
    if event.subject is not None:
        envelope["subject"] = event.subject
    if event.dataschema is not None:
        envelope["dataschema"] = event.dataschema
    return to_json(envelope, "event")


def bare_json(event: Event) -> bytes:
    """Only the data, for consumers that know nothing of envelopes; it loses id and type."""
    return to_json(event.data)


_registry: dict[str, Serializer] = {"cloudevents": cloudevents, "json": bare_json}


def register(name: str, serializer: Serializer) -> None:
    """Make `serializer` known as ``OPTIONS["SERIALIZER"] = name``."""
    _registry[name] = serializer


def get(name: str) -> Serializer:
    """Return a serializer by name or dotted path; raise ImproperlyConfigured if there is none."""
    if name in _registry:
        return _registry[name]
    try:
        found: Serializer = import_string(name)
    except ImportError as error:
        raise ImproperlyConfigured(
            Text(
                _("{setting} is {name}: {error}. There are {known}, or a dotted path."),
                setting='OPTIONS["SERIALIZER"]',
                name=repr(name),
                error=str(error),
                known=", ".join(sorted(_registry)),
            )
        ) from error
    return found


def is_built_in(serializer: Serializer) -> bool:
    """Tell whether it is ours: what has a JSON form passes."""
    return serializer in {cloudevents, bare_json}


def check_size(key: str, data: bytes, stream: StreamConfig) -> None:
    """Refuse a record that `stream` cannot hold: PartitionKeyError or RecordTooLarge."""
    size = len(check_partition_key(key).encode()) * (not stream.is_firehose) + len(data)
    if size <= stream.max_record_bytes:
        return
    said = _(
        "The record has {size} bytes (key included) and stream {stream} takes {limit}. Publish less"
        " (fields=), or raise the stream's record limit in AWS and"
        ' OPTIONS["MAX_RECORD_BYTES"] with it (10 MiB at most).'
    )
    if stream.is_firehose:
        said = _(
            "The record has {size} bytes and Firehose stream {stream} takes {limit}. Publish less"
            " (fields=)."
        )
    limit = f"{stream.max_record_bytes:,}"
    raise RecordTooLarge(Text(said, size=f"{size:,}", stream=repr(stream.alias), limit=limit))
