"""What a sink can be told, and the limits of AWS that it holds requests against.

Sources: Amazon Kinesis Data Streams API Reference, "PutRecords", "PutRecordsRequestEntry",
"ListShards"; Developer Guide, "Quotas and limits" and "Handle large records"; Amazon Data Firehose
API Reference, "PutRecordBatch"; AWS STS API Reference, "AssumeRole"; Kinesis Data Streams pricing.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

MAX_RECORDS = 500  #: records of one PutRecords or PutRecordBatch request
MAX_REQUEST_BYTES = 10 * MIB  #: data before base64 plus partition keys, of one PutRecords request
MAX_KEY_CHARACTERS = 256  #: of a partition key: Unicode characters, not bytes
MAX_BODY_BYTES = 20 * MIB  #: of an HTTP body; above it: 413. Not a documented figure of AWS
FIREHOSE_RECORD_BYTES = 1000 * KIB  #: data before base64 of one Firehose record
FIREHOSE_REQUEST_BYTES = 4 * MIB  #: data before base64 of one PutRecordBatch request
UNIT_BYTES = 25 * KIB  #: one PUT payload unit, the unit of billing in provisioned mode
HASH_KEYS = 1 << 128  #: partition keys are hashed by MD5 into 0 .. HASH_KEYS - 1
NEXT_TOKEN_SECONDS = 300  #: a NextToken of ListShards is good for this long


def payload_units(size: int) -> int:
    """PUT payload units of a record of ``size`` bytes: begun pieces of 25 KiB, at least one."""
    return max(1, -(-size // UNIT_BYTES))


@dataclass(kw_only=True)
class Config:
    """The settings of one sink. Every field has a command line option of the same name."""

    port: int = 0
    """TCP port on 127.0.0.1; 0: any free one."""
    fast: bool = False
    """Fast mode: PutRecords is counted, not read. See ``benchmarks.sink.fast``."""
    units: bool = False
    """Fast mode: parse bodies after all, to sum data bytes and PUT payload units."""
    route: bool = False
    """Fast mode: parse bodies after all, to name the right shard of every record."""
    streams: tuple[str, ...] = ()
    """``name`` or ``name:shards`` of those that exist; none given: every name exists."""
    shards: int = 1
    """Open shards of a stream, at its start."""
    faults: str = ""
    """What fails, see ``benchmarks.sink.faults``. Full mode only."""
    seed: int = 0
    """Of the faults."""
    enforce_rates: bool = False
    """Throttle each shard at ``shard_records`` and ``shard_bytes`` per second."""
    shard_records: int = 1000
    """Records per second of a shard."""
    shard_bytes: int = MIB
    """Bytes (data and partition key) per second of a shard."""
    max_record_bytes: int = MIB
    """Data and partition key of a record: 1 MiB unless the stream is set to up to 10 MiB."""
    page_size: int = 1000
    """Shards of one ListShards page, where the request asks for no fewer."""
    latency_ms: float = 0.0
    """Delay of every reply, in milliseconds: the network between client and AWS."""
    log: str = ""
    """File that gets one JSON line per accepted record, as ``GET /_sink/accepted`` shows them."""
    keep: bool = True
    """Keep accepted records in memory, for ``accepted()``. Fast mode keeps none."""
    account: str = "222222222222"
    """Account that owns the streams and the roles."""
    caller_account: str = "111111111111"
    """Account of callers that use no session token of this sink."""
    region: str = "us-east-1"
    """Region in the ARNs."""
    sts_lifetime: float = 0.0
    """Seconds that assumed credentials live; 0: as long as the request's DurationSeconds says."""
    external_id: str = ""
    """AssumeRole is denied without this ExternalId."""
    require_sts: bool = False
    """Refuse requests to streams whose session token is none that this sink issued."""

    def __post_init__(self) -> None:
        self.streams = tuple(self.streams)
        if self.fast and self.faults:
            raise ValueError("fast mode injects no faults: drop fast or faults")
        if self.shards < 1 or self.page_size < 1:
            raise ValueError("shards and page_size are at least 1")
