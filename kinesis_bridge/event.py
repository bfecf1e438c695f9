"""The envelope of one event, and the record that carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import uuid_utils

from .context import Context
from .exceptions import EventError, PartitionKeyError

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
        raise PartitionKeyError(
            f"The partition key must be text, not {type(key).__name__}: pass str(...) of it."
        )
    if not key:
        raise PartitionKeyError(
            "The partition key is empty. Name a field that always has a value as key=, since all"
            " events of one key keep their order."
        )
    if len(key) > MAX_KEY_CHARACTERS:
        raise PartitionKeyError(
            f"The partition key has {len(key)} characters and Kinesis takes"
            f" {MAX_KEY_CHARACTERS}: use an id, or a hash of the long value."
        )
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise PartitionKeyError(
            f"The partition key is not valid Unicode: {error.reason}."
        ) from None
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

    def __post_init__(self) -> None:
        check_partition_key(self.key)
        if self.context is not None and not isinstance(self.context, Context):
            raise EventError(  # anything else might hold names of the envelope
                "The event's context must be a kinesis_bridge.context.Context, as current() returns"
                f" it, not {type(self.context).__name__}."
            )
        # Required and optional attributes: CloudEvents 1.0.2, "Context Attributes".
        subject = "-" if self.subject is None else self.subject
        texts = (self.id, self.type, self.source, subject)
        if set(map(type, texts)) == _TEXT and all(texts):
            return
        for name in ("id", "type", "source", "subject"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and not (name == "subject" and value is None):
                raise EventError(f"The event's {name} must be text that is not empty: {value!r}.")


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
    error: AwsError | None = None
    """The failure of the whole request, where it was not this record's own."""
    poison: bool = False
    """True: this very record can never pass, whatever AWS's state."""


Result = PutResult | RejectedRecord
