"""Many rows of the outbox in one statement."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from kinesis_bridge.models import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

CHANNEL = "kinesis_bridge"
"""PostgreSQL's NOTIFY: wakes the relays of this database."""
COLUMNS = ("stream", "lane", "partition_key", "payload", "event_id", "created")
SEPARATOR = "\x1f"  # of units, in ASCII; JSON holds it only escaped
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
    connection: BaseDatabaseWrapper, rows: Sequence[Row], created: datetime, *, commit: bool
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Yield the SQL and the parameters that write `rows`, in their order, and wake the relays.

    With `commit` the last one ends the transaction.
    """
    vendor = connection.vendor
    moment = connection.ops.adapt_datetimefield_value(created)
    chunks = _chunks(connection, rows)
    for number, chunk in enumerate(chunks, 1):
        end = "; COMMIT" if commit and number == len(chunks) else ""
        if vendor == "postgresql" and (columns := _joined(chunk)):
            yield _ARRAYS + end, (moment, *columns)
            continue
        parameters: list[Any] = []
        for row in chunk:
            parameters += (*row, moment)
        yield _values(vendor, len(chunk)) + end, parameters


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


# A statement that is always the same, and one text a column: psycopg takes long over thousands of
# placeholders, and over lists too. Sorted, since the order of ids is the order of events.
_COLUMN = f"string_to_array(%s, E'\\x{ord(SEPARATOR):02x}')"
_ARRAYS = _and_notify(
    " ".join(
        (
            _into("postgresql"),
            "SELECT stream, lane::smallint, key, convert_to(payload, 'UTF8'), event,",
            "%s::timestamptz",
            f"FROM unnest({', '.join([_COLUMN] * 5)}) WITH ORDINALITY",
            "AS row(stream, lane, key, payload, event, place) ORDER BY place",
        )
    )
)


def _joined(rows: Sequence[Row]) -> list[str]:
    """Return each column's texts in one; none where that cannot be, or would be of no use."""
    if len(rows) == 1:
        return []
    streams, lanes, keys, payloads, ids = zip(*rows, strict=True)
    try:
        texts = SEPARATOR.encode().join(payloads).decode()
    except UnicodeDecodeError:  # from a serializer that does not write JSON
        return []
    columns = [
        SEPARATOR.join(streams),
        SEPARATOR.join(map(str, lanes)),
        SEPARATOR.join(keys),
        texts,
        SEPARATOR.join(ids),
    ]
    between = len(rows) - 1
    fit = all(column.count(SEPARATOR) == between for column in columns)
    return columns if fit and "\0" not in texts else []  # no text of PostgreSQL holds a NUL


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
