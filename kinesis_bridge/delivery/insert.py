"""Many rows of the outbox in one statement."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from kinesis_bridge.models import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

CHANNEL = "kinesis_bridge"
"""PostgreSQL's NOTIFY: wakes the relays of this database."""
COLUMNS = ("stream", "lane", "partition_key", "payload", "event_id", "created")
MAX_ROWS = 1000
MAX_BYTES = 4 * 1024 * 1024  # of payloads in one statement: MySQL's max_allowed_packet is 16 MiB


class Row(NamedTuple):
    """One event as the outbox keeps it."""

    stream: str
    lane: int
    partition_key: str
    payload: bytes
    event_id: str


def inserts(
    connection: BaseDatabaseWrapper, rows: Sequence[Row], created: datetime
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the SQL and the parameters that write `rows`, in their order, and wake the relays."""
    vendor = connection.vendor
    moment = connection.ops.adapt_datetimefield_value(created)
    for chunk in _chunks(connection, rows):
        if vendor == "postgresql" and len(chunk) > 1:
            yield _ARRAYS, _arrays(chunk, moment)
        else:
            parameters: list[Any] = []
            for row in chunk:
                parameters += (*row, moment)
            yield _values(vendor, len(chunk)), parameters


def _into(vendor: str) -> str:
    mark = "`" if vendor == "mysql" else '"'
    table, *columns = (f"{mark}{name}{mark}" for name in (OutboxRecord._meta.db_table, *COLUMNS))
    return f"INSERT INTO {table} ({', '.join(columns)})"


def _and_notify(statement: str) -> str:
    # One round trip for both; the notice goes out with the commit.
    return f"WITH written AS ({statement}) SELECT pg_notify('{CHANNEL}', '')"


@lru_cache(maxsize=256)
def _values(vendor: str, count: int) -> str:
    places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * count)
    statement = f"{_into(vendor)} VALUES {places}"
    return _and_notify(statement) if vendor == "postgresql" else statement


# A text that is always the same: psycopg takes long over thousands of placeholders. Sorted, since
# the order of ids is the order of events.
_ARRAYS = _and_notify(
    _into("postgresql") + " SELECT stream, lane, key, payload, event, %s::timestamptz"  # noqa: S608
    " FROM unnest(%s::text[], %s::smallint[], %s::text[], %s::bytea[], %s::text[])"
    " WITH ORDINALITY AS row(stream, lane, key, payload, event, place) ORDER BY place"
)


def _arrays(rows: Sequence[Row], moment: Any) -> Sequence[Any]:
    """Return a column an array, written here: psycopg takes long over lists too.

    Source: "Array Input and Output Syntax", PostgreSQL's manual, 8.15.6.
    """
    streams, lanes, keys, payloads, ids = zip(*rows, strict=True)
    data = '","\\\\x'.join([payload.hex() for payload in payloads])
    return (
        moment,
        _texts(streams),
        f"{{{','.join(map(str, lanes))}}}",
        _texts(keys),
        f'{{"\\\\x{data}"}}',
        _texts(ids),
    )


def _texts(values: Iterable[str]) -> str:
    escaped = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(escaped) + '"}'


def _chunks(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> list[list[Row]]:
    most = connection.features.max_query_params
    most_rows = min(MAX_ROWS, most // len(COLUMNS)) if most else MAX_ROWS
    chunks: list[list[Row]] = []
    size = MAX_BYTES
    for row in rows:
        size += len(row.payload)
        if size >= MAX_BYTES or len(chunks[-1]) == most_rows:
            chunks.append([])
            size = len(row.payload)
        chunks[-1].append(row)
    return chunks
