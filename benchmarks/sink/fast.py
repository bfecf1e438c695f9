"""Fast mode: PutRecords answered without reading it.

What a record costs here is its share of ``bytes.count`` and of one ``bytes.join``:

* The number of records is the number of ``"PartitionKey":`` in the body (``"Data":`` for
  PutRecordBatch). That is exact for every JSON writer that puts no space before the colon: base64
  holds no quotes, and quotes within a key are escaped.
* The reply is a pattern kept for each number of records; the only thing put in is a request
  counter. Sequence numbers are that counter followed by the record's place, so they grow within a
  request, from request to request, and for every key.
* Every record is said to be in shard 0. ``route`` parses the body and names the right shard;
  ``units`` parses it and sums data bytes and PUT payload units. Both cost most of the speed.

Neither stream nor sizes are checked, only 1 to 500 records; nothing is kept; there are no faults.
All other operations are those of full mode.
"""

from __future__ import annotations

from typing import Any

import orjson

from benchmarks.sink.config import MAX_RECORDS, Config, payload_units
from benchmarks.sink.errors import ApiError, constraint, validation
from benchmarks.sink.http import Reply, Request
from benchmarks.sink.server import App
from benchmarks.sink.store import Stream, hash_of

_PREFIX = "49" + "0" * 31  # with the counter (20 digits) and the place (3): 56 digits, as AWS has
_PUT_RECORDS = b"Kinesis_20131202.PutRecords"
_PUT_RECORD_BATCH = b"Firehose_20150804.PutRecordBatch"


def _put_records_pattern(count: int, shards: list[str] | None = None) -> list[bytes]:
    """Pieces of a reply of ``count`` records; the counter goes between them."""
    names = shards or ["shardId-000000000000"] * count
    start = f'{{"SequenceNumber":"{_PREFIX}'
    pieces = [f'{{"FailedRecordCount":0,"Records":[{start}']
    pieces += [f'{place:03d}","ShardId":"{names[place]}"}},{start}' for place in range(count - 1)]
    pieces.append(f'{count - 1:03d}","ShardId":"{names[-1]}"}}]}}')
    return [piece.encode() for piece in pieces]


def _put_record_batch_pattern(count: int) -> list[bytes]:
    start = f'{{"RecordId":"{_PREFIX}'
    pieces = [f'{{"FailedPutCount":0,"Encrypted":false,"RequestResponses":[{start}']
    pieces += [f'{place:03d}"}},{start}' for place in range(count - 1)]
    pieces.append(f'{count - 1:03d}"}}]}}')
    return [piece.encode() for piece in pieces]


class FastApp(App):
    """The application in fast mode."""

    mode = "fast"

    def __init__(self, config: Config) -> None:
        config.keep = False
        super().__init__(config)
        self._parses = config.units or config.route
        self._records = [[b""], *map(_put_records_pattern, range(1, MAX_RECORDS + 1))]
        self._batches = [[b""], *map(_put_record_batch_pattern, range(1, MAX_RECORDS + 1))]
        self._counter = 0

    def handle(self, request: Request) -> Reply:
        target = request.header(b"x-amz-target")
        if target == _PUT_RECORDS:
            count = request.count(b'"PartitionKey":')
            patterns = self._records
        elif target == _PUT_RECORD_BATCH:
            count = request.count(b'"Data":')
            patterns = self._batches
        else:
            return super().handle(request)
        stats = self.stats
        stats.requests += 1
        stats.operations[target.partition(b".")[2].decode()] += 1
        stats.body_bytes += request.size
        if not 1 <= count <= MAX_RECORDS:
            return self._json_error(_wrong_count(count), self._latency)
        pattern = patterns[count]
        if self._parses:
            try:
                pattern = self._parsed(request, pattern, routed=patterns is self._records)
            except (ValueError, KeyError, TypeError) as err:
                error = ApiError("SerializationException", str(err))
                return self._json_error(error, self._latency)
        stats.records += count
        self._counter += 1
        return Reply(
            (b"%020d" % self._counter).join(pattern),
            headers=self.request_id(),
            delay=self._latency,
        )

    def _parsed(self, request: Request, pattern: list[bytes], *, routed: bool) -> list[bytes]:
        """Sum what was asked for; with ``route`` the pattern that names the right shards."""
        body: dict[str, Any] = orjson.loads(request.body())
        records = body["Records"]
        stats = self.stats
        stream = self._stream_of(body) if self.config.route and routed else None
        if self.config.units:
            for record in records:
                size = _decoded(record["Data"])
                stats.data_bytes += size
                stats.units += payload_units(size)
        if stream is None:
            return pattern
        names = [
            stream.route(int(record.get("ExplicitHashKey") or hash_of(record["PartitionKey"]))).id
            for record in records
        ]
        stats.shards.update(f"{stream.name}/{name}" for name in names)
        return _put_records_pattern(len(names), names)

    def _stream_of(self, body: dict[str, Any]) -> Stream:
        name = body.get("StreamName") or body["StreamARN"].rpartition("/")[2]
        try:
            return self.store.stream(name)
        except ApiError as err:
            raise ValueError(err.message) from err


def _decoded(text: str) -> int:
    """Bytes that base64 ``text`` stands for."""
    return len(text) // 4 * 3 - text.count("=", -2)


def _wrong_count(count: int) -> ApiError:
    rule = "greater than or equal to 1" if count < 1 else f"less than or equal to {MAX_RECORDS}"
    return validation(constraint("records", f"have length {rule}", "'[...]'"))
