"""``send_kinesis_test``: proves the path to account B with real records, past the outbox."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .conf import get_config
from .diagnosis import Path
from .event import Event, PutResult, Record, RejectedRecord, new_id
from .exceptions import AwsError
from .producer import Producer
from .serializers import check_size, get
from .session import region_of, source_of, temporary_credentials
from .tail import Reader, may_not_read
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .conf import StreamConfig

TEST_TYPE = "kinesis_bridge.test"
# A person waits: whichever hop is silent, the answer comes within 10 seconds.
CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
SEND_SECONDS = 3.0


class Hop(NamedTuple):
    """A hop that was passed."""

    name: str
    """``caller in A``, ``role in B``, ``session``, ``stream`` or ``put``."""
    found: str
    """What was found there."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the test records went through; the JSON of the command."""

    stream: str
    """Name of the stream."""
    role_arn: str | None
    """The role that was assumed; None: the caller's own credentials wrote."""
    caller_arn: str
    """Who account A's credentials are."""
    assumed_role_arn: str | None
    """The session of the role."""
    account: str
    """The account that the writing credentials belong to."""
    shard_id: str
    """Shard of the first record."""
    sequence_number: str
    """Sequence number of the first record."""
    partition_key: str
    """Partition key of the first record."""
    bytes: int
    """Size of all records, keys included."""
    sent: int
    """How many records were acknowledged."""
    read_back: bool | None
    """The first record was read and is the same; None: not asked for, or not allowed."""
    elapsed_ms: int
    """From the first call to the last answer."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def send_test(
    alias: str,
    *,
    data: Any,
    key: str | None = None,
    count: int = 1,
    read_back: bool = True,
    progress: Callable[[str, str], object] = lambda *_hop: None,
) -> Report:
    """Send `count` events of type ``kinesis_bridge.test`` and report the way they took.

    `progress` is told each hop as it is done: its name, what was found. Raises AwsError, explained
    for the hop that failed, and EventError for data that cannot be sent.
    """
    hops = follow(alias, data=data, key=key, count=count, read_back=read_back)
    while True:
        try:
            hop = next(hops)
        except StopIteration as end:
            report: Report = end.value
            return report
        progress(*hop)


def follow(
    alias: str, *, data: Any, key: str | None = None, count: int = 1, read_back: bool = True
) -> Generator[Hop, None, Report]:
    """Do what :func:`send_test` does, and yield each hop as it is done; return the report."""
    started = time.monotonic()
    stream = impatient(get_config().stream(alias))
    role = get_config().role_of(stream)
    records = make_records(stream, data, key, count)

    from .session.assume import who_am_i  # noqa: PLC0415 - imports boto3

    region = region_of(stream)
    caller = who_am_i(source_of(role), Path(hop="credentials", role=role, region=region))
    yield Hop(_("caller in A"), caller)
    assumed = None
    if role:
        yield Hop(_("role in B"), role.role_arn)
        assumed = temporary_credentials(role.alias).arn
        yield Hop(_("session"), assumed)
    yield Hop(_("stream"), Text(_("{stream} in {region}"), stream=stream.name, region=region))
    first = send_all(stream, records)
    landed = f"{first.shard_id} {first.sequence_number}"
    yield Hop(_("put"), Text(_("{count} sent; first: {place}"), count=count, place=landed))
    seen = was_read_back(stream, first, records[0]) if read_back else None
    return Report(
        stream=stream.name,
        role_arn=role.role_arn if role else None,
        caller_arn=caller,
        assumed_role_arn=assumed,
        account=(assumed or caller).split(":")[4],
        shard_id=first.shard_id,
        sequence_number=first.sequence_number,
        partition_key=records[0].partition_key,
        bytes=sum(record.size for record in records),
        sent=count,
        read_back=seen,
        elapsed_ms=round((time.monotonic() - started) * 1000),
    )


def impatient(stream: StreamConfig) -> StreamConfig:
    """Return `stream` with the time-outs that a person has, and nobody else's producer."""
    options = stream.options
    connect = min(CONNECT_SECONDS, options["CONNECT_TIMEOUT"])
    read = min(READ_SECONDS, options["READ_TIMEOUT"])
    return replace(stream, options={**options, "CONNECT_TIMEOUT": connect, "READ_TIMEOUT": read})


def make_records(stream: StreamConfig, data: Any, key: str | None, count: int) -> list[Record]:
    """Make the records as publish would: the same envelope, the same limits."""
    serialize = get(stream.options["SERIALIZER"])
    records = []
    for _number in range(count):
        event = Event(
            type=TEST_TYPE,
            source=get_config().source,
            key=new_id() if key is None else key,
            data=data,
        )
        payload = serialize(event)
        check_size(event.key, payload, stream)
        records.append(Record(event.key, payload))
    return records


def send_all(stream: StreamConfig, records: list[Record]) -> PutResult:
    """Send all; return where the first landed, or raise what the first failure means."""
    producer = Producer(stream)
    try:
        answers = producer.send(records, seconds=SEND_SECONDS)
        for answer in answers:
            if isinstance(answer, RejectedRecord):
                raise producer.failure(answer)
    finally:
        producer.close()
    first = answers[0]
    assert isinstance(first, PutResult)  # noqa: S101 - the loop above raised otherwise  # nosec B101
    return first


def was_read_back(stream: StreamConfig, landed: PutResult, sent: Record) -> bool | None:
    """Tell whether what landed there is `sent`; None where reading is impossible or not allowed."""
    if stream.is_firehose:
        return None
    reader = Reader(stream)
    try:
        stored = reader.find(landed, seconds=READ_SECONDS)
    except AwsError as error:
        if may_not_read(error):
            return None
        raise
    finally:
        reader.close()
    return stored is not None and stored.data == sent.data
