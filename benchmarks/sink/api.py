"""Kinesis Data Streams and Firehose, parsed and checked as AWS documents them.

Sources: Amazon Kinesis Data Streams API Reference, "PutRecords", "PutRecord", "ListShards",
"DescribeStreamSummary"; Amazon Data Firehose API Reference, "PutRecordBatch". Where AWS does not
say which error a breach gives, the ones seen in public reports were taken: ValidationException for
counts and lengths of single fields, InvalidArgumentException for sums over a limit.
"""

from __future__ import annotations

import base64
import re
import time
from typing import NamedTuple

import orjson

from benchmarks.sink.config import (
    FIREHOSE_RECORD_BYTES,
    FIREHOSE_REQUEST_BYTES,
    KIB,
    MAX_KEY_CHARACTERS,
    MAX_RECORDS,
    MAX_REQUEST_BYTES,
    MIB,
    NEXT_TOKEN_SECONDS,
    Config,
    payload_units,
)
from benchmarks.sink.errors import (
    INTERNAL,
    THROTTLED,
    ApiError,
    constraint,
    invalid_argument,
    rate_exceeded,
    serialization,
    validation,
)
from benchmarks.sink.faults import Plan
from benchmarks.sink.fields import (
    Document,
    data_of,
    hash_key_of,
    mismatch,
    records_of,
    refuse_dry_run,
    text_of,
)
from benchmarks.sink.stats import Stats
from benchmarks.sink.store import Shard, Store, Stream, hash_of

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_ARN = re.compile(r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+")
_HASH = re.compile(r"0|[1-9]\d{0,38}")
_SEQUENCE = re.compile(r"0|[1-9]\d{0,128}")


class _Record(NamedTuple):
    data: bytes
    key: str
    hash_key: int
    size: int  # data and partition key, bytes


class _Refused(NamedTuple):
    code: str
    message: str


class Api:
    """The operations; each takes the request's JSON document and returns the reply's."""

    def __init__(self, config: Config, store: Store, stats: Stats) -> None:
        self._config = config
        self._store = store
        self._stats = stats

    # -- Kinesis, writing

    def put_records(self, body: Document, plan: Plan) -> Document:
        records = records_of(body, MAX_RECORDS)
        findings: list[str] = []
        parsed = [
            self._record(item, f"records.{place}.member.", findings)
            for place, item in enumerate(records, 1)
        ]
        if findings:
            raise validation(*findings)
        stream = self._stream(body)
        if sum(record.size for record in parsed) > MAX_REQUEST_BYTES:
            raise invalid_argument(f"Records size exceeds {MAX_REQUEST_BYTES // MIB} MB limit")
        self._check_sizes(parsed)
        refuse_dry_run(body)
        order = list(range(len(parsed)))
        if plan.shuffle is not None:
            plan.shuffle.shuffle(order)
        now = time.monotonic()
        plan.begin_shards([shard.id for shard in stream.open], now)
        entries: list[Document] = [{}] * len(parsed)
        failed = 0
        for place in order:
            outcome = self._take(stream, parsed[place], plan, now)
            if isinstance(outcome, _Refused):
                failed += 1
                entries[place] = {"ErrorCode": outcome.code, "ErrorMessage": outcome.message}
            else:
                entries[place] = outcome
        self._store.flush()
        return {"FailedRecordCount": failed, "Records": entries}

    def put_record(self, body: Document, plan: Plan) -> Document:
        findings: list[str] = []
        record = self._record(body, "", findings)
        ordering = text_of(body, "SequenceNumberForOrdering")
        if ordering is not None and not _SEQUENCE.fullmatch(ordering):
            findings.append(mismatch("sequenceNumberForOrdering", ordering, _SEQUENCE))
        if findings:
            raise validation(*findings)
        stream = self._stream(body)
        self._check_sizes([record])
        refuse_dry_run(body)
        now = time.monotonic()
        plan.begin_shards([shard.id for shard in stream.open], now)
        outcome = self._take(stream, record, plan, now)
        self._store.flush()
        if isinstance(outcome, _Refused):
            raise ApiError(*outcome, 500 if outcome.code == INTERNAL else 400)
        return outcome

    def _record(self, item: object, where: str, findings: list[str]) -> _Record:
        if not isinstance(item, dict):
            raise serialization("Start of structure or map found where not expected.")
        data, key = data_of(item), text_of(item, "PartitionKey")
        explicit = text_of(item, "ExplicitHashKey")
        hash_key = 0
        if data is None:
            findings.append(constraint(where + "data", "not be null", "null"))
        elif len(data) > self._config.max_record_bytes:
            limit = self._config.max_record_bytes
            findings.append(
                constraint(where + "data", f"have length less than or equal to {limit}")
            )
        if key is None:
            findings.append(constraint(where + "partitionKey", "not be null", "null"))
        elif not key:
            findings.append(
                constraint(where + "partitionKey", "have length greater than or equal to 1", "''")
            )
        elif len(key) > MAX_KEY_CHARACTERS:
            limit = MAX_KEY_CHARACTERS
            findings.append(
                constraint(where + "partitionKey", f"have length less than or equal to {limit}")
            )
        if explicit is not None and not _HASH.fullmatch(explicit):
            findings.append(mismatch(where + "explicitHashKey", explicit, _HASH))
        elif not findings and key is not None:
            hash_key = hash_of(key) if explicit is None else hash_key_of(explicit)
        data, key = data or b"", key or ""
        return _Record(data, key, hash_key, len(data) + len(key.encode()))

    def _check_sizes(self, records: list[_Record]) -> None:
        limit = self._config.max_record_bytes
        for place, record in enumerate(records, 1):
            if record.size > limit:
                raise invalid_argument(
                    f"Data and partition key of record {place} have {record.size} bytes, "
                    f"the limit is {limit}."
                )

    def _take(self, stream: Stream, record: _Record, plan: Plan, now: float) -> Document | _Refused:
        """Accept one record, or refuse it; the reply entry of an accepted one."""
        shard = stream.route(record.hash_key)
        kind = plan.refuse(shard.id, now)
        if kind == "internal":
            return self._refused(INTERNAL, "Internal Service Failure")
        if kind is not None or (
            self._config.enforce_rates and not shard.admits(record.size, now, self._config)
        ):
            return self._refused(
                THROTTLED, rate_exceeded(shard.id, stream.name, self._config.account)
            )
        sequence = shard.next_sequence()
        self._count(f"{stream.name}/{shard.id}", record.data)
        self._store.accept((stream.name, shard.id, sequence, record.key, record.data))
        return {"SequenceNumber": str(sequence), "ShardId": shard.id}

    def _refused(self, code: str, message: str) -> _Refused:
        self._stats.record_errors[code] += 1
        return _Refused(code, message)

    def _count(self, shard: str, data: bytes) -> None:
        stats = self._stats
        stats.records += 1
        stats.shards[shard] += 1
        stats.data_bytes += len(data)
        stats.units += payload_units(len(data))

    # -- Kinesis, reading

    def list_shards(self, body: Document) -> Document:
        token, limit = text_of(body, "NextToken"), body.get("MaxResults")
        if limit is not None and (not isinstance(limit, int) or not 1 <= limit <= 10000):
            raise validation(constraint("maxResults", "be within 1 and 10000", f"'{limit}'"))
        after, kind = text_of(body, "ExclusiveStartShardId") or "", "FROM_TRIM_HORIZON"
        if token is not None:
            if body.keys() & {"StreamName", "StreamARN", "ExclusiveStartShardId", "ShardFilter"}:
                raise invalid_argument("NextToken and StreamName cannot be provided together.")
            name, after, kind = _read_token(token)
            stream = self._store.stream(name)
        else:
            stream = self._stream(body)
            shard_filter = body.get("ShardFilter")
            if shard_filter is not None:
                kind = shard_filter.get("Type", "")
                after = shard_filter.get("ShardId", after) if kind == "AFTER_SHARD_ID" else after
        found = [shard for shard in _filtered(stream, kind) if shard.id > after]
        size = min(limit or self._config.page_size, self._config.page_size)
        reply: Document = {"Shards": [_describe(shard) for shard in found[:size]]}
        if len(found) > size:
            reply["NextToken"] = _write_token(stream.name, found[size - 1].id, kind)
        return reply

    def describe_stream_summary(self, body: Document) -> Document:
        stream = self._stream(body)
        return {
            "StreamDescriptionSummary": {
                "StreamName": stream.name,
                "StreamARN": stream.arn,
                "StreamStatus": "ACTIVE",
                "StreamModeDetails": {"StreamMode": "PROVISIONED"},
                "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": int(stream.created),
                "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
                "EncryptionType": "NONE",
                "OpenShardCount": len(stream.open),
                "ConsumerCount": 0,
                "MaxRecordSizeInKiB": self._config.max_record_bytes // KIB,
            }
        }

    def _stream(self, body: Document) -> Stream:
        name, arn = text_of(body, "StreamName"), text_of(body, "StreamARN")
        if name is not None and not _NAME.fullmatch(name):
            raise validation(mismatch("streamName", name, _NAME))
        if arn is not None and not _ARN.fullmatch(arn):
            raise validation(mismatch("streamARN", arn, _ARN))
        if arn is not None:
            stream = self._store.stream_of_arn(arn)
            if name not in (None, stream.name):
                raise invalid_argument("StreamARN and StreamName do not match.")
            return stream
        if name is None:
            raise invalid_argument("Neither StreamARN nor StreamName was provided.")
        return self._store.stream(name)

    # -- Firehose

    def put_record_batch(self, body: Document, plan: Plan) -> Document:
        records = records_of(body, MAX_RECORDS)
        name = text_of(body, "DeliveryStreamName")
        if name is None or not _NAME.fullmatch(name) or len(name) > 64:
            raise validation(mismatch("deliveryStreamName", name or "", _NAME))
        blobs = []
        findings = []
        for place, item in enumerate(records, 1):
            blob = data_of(item) if isinstance(item, dict) else None
            where = f"records.{place}.member.data"
            if blob is None:
                findings.append(constraint(where, "not be null", "null"))
            elif len(blob) > FIREHOSE_RECORD_BYTES:
                findings.append(
                    constraint(where, f"have length less than or equal to {FIREHOSE_RECORD_BYTES}")
                )
            blobs.append(blob or b"")
        if findings:
            raise validation(*findings)
        self._store.firehose(name)
        if sum(map(len, blobs)) > FIREHOSE_REQUEST_BYTES:
            raise invalid_argument(f"Records size exceeds {FIREHOSE_REQUEST_BYTES // MIB} MB limit")
        answers: list[Document] = []
        failed = 0
        for blob in blobs:
            kind = plan.refuse("", 0.0)
            if kind is None:
                sequence = len(self._store.accepted) + 1
                self._count(f"{name}/", blob)
                self._store.accept((name, "", sequence, "", blob))
                answers.append({"RecordId": f"{sequence:056d}"})
                continue
            failed += 1
            refused = (
                self._refused(INTERNAL, "Internal Service Failure")
                if kind == "internal"
                else self._refused("ServiceUnavailableException", "Slow down.")
            )
            answers.append({"ErrorCode": refused.code, "ErrorMessage": refused.message})
        self._store.flush()
        return {"FailedPutCount": failed, "Encrypted": False, "RequestResponses": answers}


def _filtered(stream: Stream, kind: str) -> list[Shard]:
    match kind:
        case "AT_LATEST":
            return [shard for shard in stream.shards if shard.ending is None]
        case "AT_TRIM_HORIZON":
            return [shard for shard in stream.shards if not shard.parent]
        case "FROM_TRIM_HORIZON" | "AFTER_SHARD_ID":
            return stream.shards
        case _:
            raise invalid_argument(f"ShardFilter type {kind} is not one this server knows.")


def _describe(shard: Shard) -> Document:
    numbers = {"StartingSequenceNumber": str(shard.starting)}
    if shard.ending is not None:
        numbers["EndingSequenceNumber"] = str(shard.ending)
    described: Document = {
        "ShardId": shard.id,
        "HashKeyRange": {
            "StartingHashKey": str(shard.first),
            "EndingHashKey": str(shard.last),
        },
        "SequenceNumberRange": numbers,
    }
    if shard.parent:
        described["ParentShardId"] = shard.parent
    return described


def _write_token(stream: str, after: str, kind: str) -> str:
    return base64.b64encode(orjson.dumps([stream, after, kind, time.time()])).decode()


def _read_token(token: str) -> tuple[str, str, str]:
    try:
        stream, after, kind, written = orjson.loads(base64.b64decode(token, validate=True))
    except ValueError as err:
        raise invalid_argument("NextToken is invalid.") from err
    if time.time() - float(written) > NEXT_TOKEN_SECONDS:
        raise ApiError("ExpiredNextTokenException", "The pagination token is expired.")
    return str(stream), str(after), str(kind)
