"""The envelope of one event, and the record that carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import uuid_utils

from .context import Context
from .exceptions import EventError, PartitionKeyError
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .exceptions import AwsError

MAX_KEY_CHARACTERS = 256
_TEXT = {str}


def new_id() -> str:
    """Return a UUIDv7: unique, and sortable by the millisecond of its making."""
    return str(uuid_utils.uuid7())


def _now() -> datetime:
    return datetime.now(UTC)


def check_partition_key(key: object) -> str:
    """Return `key` if Kinesis takes it; raise PartitionKeyError where it is empty or too long.

    1-256 Unicode characters, however many bytes: PutRecord, Kinesis Data Streams API Reference.
    """
    if not isinstance(key, str):
        said = _("The partition key must be text, not {type}: pass str(...) of it.")
        raise PartitionKeyError(Text(said, type=type(key).__name__))
    if not key:
        said = _(
            "The partition key is empty. Name a field that always has a value as key=, since all"
            " events of one key keep their order."
        )
        raise PartitionKeyError(Text(said))
    if len(key) > MAX_KEY_CHARACTERS:
        said = _(
            "The partition key has {count} characters and Kinesis takes {limit}: use an id, or a"
            " hash of the long value."
        )
        raise PartitionKeyError(Text(said, count=len(key), limit=MAX_KEY_CHARACTERS))
    try:
        key.encode()
    except UnicodeEncodeError as error:
        said = _("The partition key is not valid Unicode: {reason}.")
        raise PartitionKeyError(Text(said, reason=error.reason)) from None
    return key


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened: the attributes of CloudEvents 1.0, and where it goes.

    Raises :class:`~kinesis_bridge.exceptions.PartitionKeyError` when made with a bad key,
    :class:`~kinesis_bridge.exceptions.EventError` with what CloudEvents does not allow.
    """

    type: str
    """What happened: ``shop.order.created``."""
    source: str
    """Who says so: a URI reference, ``/shop``."""
    key: str
    """The partition key: the events of one key keep their order."""
    data: Any = field(repr=False)
    """The payload: anything with a JSON form."""
    id: str = field(default_factory=new_id)
    """UUIDv7. A repeat carries the same id: consumers drop doubles by it."""
    time: datetime = field(default_factory=_now)
    """When it happened; aware."""
    subject: str | None = None
    """What it happened to: the model's primary key."""
    stream: str = "default"
    """Alias of the stream it goes to."""
    context: Context | None = field(default=None, repr=False)
    """Who and why, as :func:`kinesis_bridge.context.current` has it: extension attributes."""
    dataschema: str | None = None
    """URI of the schema that the data fits."""

    def __post_init__(self) -> None:
        check_partition_key(self.key)
        if self.context is not None and not isinstance(self.context, Context):
            raise EventError(  # anything else might hold names of the envelope
                Text(
                    _(
                        "The event's context must be a kinesis_bridge.context.Context, as current()"
                        " returns it, not {type}."
                    ),
                    type=type(self.context).__name__,
                )
            )
        # Required and optional attributes: CloudEvents 1.0.2, "Context Attributes".
        subject = "-" if self.subject is None else self.subject
        texts: tuple[str, ...] = (self.id, self.type, self.source, subject)
        if self.dataschema is not None:
            texts += (self.dataschema,)
        if set(map(type, texts)) == _TEXT and all(texts):
            return
        for name in ("id", "type", "source", "subject", "dataschema"):
            value = getattr(self, name)
            optional = name in {"subject", "dataschema"}
            if not (isinstance(value, str) and value) and not (optional and value is None):
                said = _("The event's {name} must be text that is not empty: {value}.")
                raise EventError(Text(said, name=name, value=repr(value)))


class Record(
    msgspec.Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    rename={
        "partition_key": "PartitionKey",
        "data": "Data",
        "explicit_hash_key": "ExplicitHashKey",
    },
):
    """What goes into the stream: a partition key and bytes. Its ``repr`` shows no data.

    A msgspec struct, renamed as PutRecords names its entries: the fast transport encodes a whole
    batch of them in one call.
    """

    partition_key: str
    data: bytes
    explicit_hash_key: str | None = None
    """Decimal text of a 128-bit integer: the place in the hash range, instead of the key's own."""

    @property
    def size(self) -> int:
        """Bytes that count against the limits: data and UTF-8 key.

        Source: PutRecords, Kinesis Data Streams API Reference.
        """
        key = self.partition_key
        return len(self.data) + (len(key) if key.isascii() else len(key.encode()))

    def __repr__(self) -> str:
        return f"Record(partition_key={self.partition_key!r}, {len(self.data)} bytes)"


class PutResult(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={"shard_id": "ShardId", "sequence_number": "SequenceNumber"},
):
    """Where an acknowledged record landed; renamed as PutRecords names it, for decoding."""

    shard_id: str
    """The shard that took it."""
    sequence_number: str
    """Decimal text; compare as integers, and only within one shard."""

    def __iter__(self) -> Iterator[str]:
        """Let it be unpacked: ``shard_id, sequence_number = ...``."""
        return iter((self.shard_id, self.sequence_number))


class RejectedRecord(NamedTuple):
    """Why a record was not acknowledged."""

    code: str
    """AWS's error code, e.g. ``ProvisionedThroughputExceededException``."""
    message: str
    """AWS's own words."""
    error: AwsError | None = None
    """The failure of the whole request, where it was not this record's own."""
    poison: bool = False
    """True: this very record can never pass, whatever AWS's state."""


Result = PutResult | RejectedRecord
