"""Reads a stream back: every shard, de-aggregated, one record after the other.

A reader for people and for proofs, not for production: it keeps no checkpoints (that is the KCL's).
"""

from __future__ import annotations

import base64
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import orjson
from django.core.exceptions import ImproperlyConfigured

from . import redaction
from .aggregation import deaggregate
from .conf import get_config
from .diagnosis import DENIED, Path, explain
from .event import PutResult, Record
from .exceptions import AwsError
from .session import region_of
from .transport import kinesis_client
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conf import StreamConfig

Start = Literal["oldest", "latest"] | datetime
# Five GetRecords a second and shard: GetRecords, Kinesis Data Streams API Reference.
POLL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRecord:
    """One record as the stream holds it."""

    shard_id: str
    sequence_number: str
    arrived: datetime
    """``ApproximateArrivalTimestamp``: aware, to the millisecond."""
    partition_key: str
    data: bytes = field(repr=False)


class Reader:
    """Reads one stream through its alias's own role, which needs the read permissions."""

    def __init__(self, stream: StreamConfig) -> None:
        """Open boto3's client; raise ``ImproperlyConfigured`` for a Firehose stream."""
        if stream.is_firehose:
            said = _(
                "{stream} is a Firehose stream, which cannot be read back: look where it delivers"
                " to."
            )
            raise ImproperlyConfigured(Text(said, stream=f"STREAMS[{stream.alias!r}]"))
        self._stream = stream
        self._client = kinesis_client(stream)
        self._by_arn = {"StreamARN": stream.arn} if stream.arn else {}
        self._target = self._by_arn or {"StreamName": stream.name}

    def tail(
        self, start: Start = "oldest", *, limit: int | None = None, follow: bool = False
    ) -> Iterator[StoredRecord]:
        """Yield records from `start` on, shard by shard in turn; in order within each shard.

        Ends at the tip of every shard, or goes on for ever with `follow`; `limit` ends both. New
        shards after a resharding are found when their parents end. Raises AwsError.
        """
        return islice(self._records(start, follow=follow), limit)

    def _records(self, start: Start, *, follow: bool) -> Iterator[StoredRecord]:
        known: set[str] = set()
        open_shards: deque[tuple[str, str]] = deque()

        def discover(position: Start) -> None:
            for shard in self._shards():
                if shard not in known:
                    known.add(shard)
                    open_shards.append((shard, self._iterator(shard, position)))

        discover(start)
        while open_shards:
            idle = True
            for _turn in range(len(open_shards)):
                shard, iterator = open_shards.popleft()
                records, following, at_tip = self._page(shard, iterator)
                yield from records
                idle = idle and not records
                if following is None:
                    discover("oldest")
                elif follow or not at_tip:
                    open_shards.append((shard, following))
            if idle and open_shards:
                time.sleep(POLL_SECONDS)

    def find(self, landed: PutResult, *, seconds: float = 5.0) -> StoredRecord | None:
        """Return the record that landed there, waiting up to `seconds`; None where it is not seen.

        Raises AwsError, with one of :data:`~kinesis_bridge.diagnosis.DENIED` as its code where
        reading is not allowed.
        """
        position = {"StartingSequenceNumber": landed.sequence_number}
        iterator = self._call(
            "get_shard_iterator",
            ShardId=landed.shard_id,
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            **position,
            **self._target,
        )["ShardIterator"]
        deadline = time.monotonic() + seconds
        while True:
            answer = self._call("get_records", ShardIterator=iterator, Limit=1, **self._by_arn)
            for entry in answer["Records"]:
                if entry["SequenceNumber"] == landed.sequence_number:
                    return next(_stored(landed.shard_id, entry), None)
            iterator = answer.get("NextShardIterator")
            if iterator is None or time.monotonic() + POLL_SECONDS > deadline:
                return None
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _shards(self) -> list[str]:
        # By hand: boto3's paginator repeats the stream's name beside NextToken, which AWS refuses.
        shards: list[str] = []
        request: dict[str, Any] = dict(self._target)
        while True:
            answer = self._call("list_shards", **request)
            shards += [shard["ShardId"] for shard in answer["Shards"]]
            if not answer.get("NextToken"):
                return shards
            request = {"NextToken": answer["NextToken"]}

    def _iterator(self, shard: str, start: Start) -> str:
        where: dict[str, Any]
        if isinstance(start, datetime):
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": start}
        else:
            where = {"ShardIteratorType": {"oldest": "TRIM_HORIZON", "latest": "LATEST"}[start]}
        answer = self._call("get_shard_iterator", ShardId=shard, **where, **self._target)
        iterator: str = answer["ShardIterator"]
        return iterator

    def _page(self, shard: str, iterator: str) -> tuple[list[StoredRecord], str | None, bool]:
        """Return a page: its records, the next iterator (None: closed shard), at the tip or not."""
        while True:
            try:
                answer = self._call(
                    "get_records", ShardIterator=iterator, Limit=1000, **self._by_arn
                )
                break
            except AwsError as error:
                if error.name != "throttled":
                    raise
                time.sleep(POLL_SECONDS)
        records = [stored for entry in answer["Records"] for stored in _stored(shard, entry)]
        at_tip = not records and answer.get("MillisBehindLatest", 0) == 0
        return records, answer.get("NextShardIterator"), at_tip

    def _call(self, operation: str, **request: Any) -> Any:
        from botocore.exceptions import IncompleteReadError  # noqa: PLC0415 - lazily

        from .session.assume import BOTO_ERRORS  # noqa: PLC0415 - imports boto3

        try:
            with redaction.quiet():
                answer = getattr(self._client, operation)(**request)
            if not answer.keys() - {"ResponseMetadata"}:
                # What boto3 makes of a reply that is not AWS's, or was cut short.
                raise IncompleteReadError(actual_bytes=0, expected_bytes=1)
        except BOTO_ERRORS as error:
            path = Path(
                hop="stream",
                stream=self._stream,
                role=get_config().role_of(self._stream),
                region=region_of(self._stream),
                endpoint=self._client.meta.endpoint_url,
                read=True,
            )
            raise explain(error, path) from error
        return answer


def _stored(shard: str, entry: dict[str, Any]) -> Iterator[StoredRecord]:
    for record in deaggregate(Record(entry["PartitionKey"], entry["Data"])):
        yield StoredRecord(
            shard_id=shard,
            sequence_number=entry["SequenceNumber"],
            arrived=entry["ApproximateArrivalTimestamp"],
            partition_key=record.partition_key,
            data=record.data,
        )


def may_not_read(error: AwsError) -> bool:
    """Tell whether `error` only says that this role has no read permissions."""
    return error.code in DENIED


def as_dict(record: StoredRecord) -> dict[str, Any]:
    """Return `record` for JSON: its data parsed where it is JSON, as base64 where it is no text."""
    body: Any
    try:
        body = orjson.loads(record.data)
    except orjson.JSONDecodeError:
        try:
            body = record.data.decode()
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(record.data).decode()}
    return {
        "shard_id": record.shard_id,
        "sequence_number": record.sequence_number,
        "partition_key": record.partition_key,
        "arrived": record.arrived,
        "event": body,
    }
