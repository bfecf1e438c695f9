"""Rows that are written just before COMMIT: one INSERT for all events of a transaction.

Each waits as a callback of ``transaction.on_commit``, so that Django itself drops those of a
savepoint that is rolled back. When the connection commits they are taken out of Django's list and
written first; the site's own callbacks stay where they are, in their order.

It leans on two names inside Django, ``connection.run_on_commit`` and ``connection.commit``. Where
they are not what they were, each row is written at once, in the same transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import transaction
from django.utils import timezone

from kinesis_bridge.exceptions import OutboxError
from kinesis_bridge.models import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

CHANNEL = "kinesis_bridge"
"""PostgreSQL's NOTIFY: wakes the relays of this database."""
COLUMNS = ("stream", "lane", "partition_key", "payload", "event_id", "created")
MAX_ROWS = 1000
MAX_BYTES = 4 * 1024 * 1024  # of payloads in one statement: MySQL's max_allowed_packet is 16 MiB
_INSTALLED = "_kinesis_bridge_precommit"


class Row(NamedTuple):
    """One event as the outbox keeps it."""

    stream: str
    lane: int
    partition_key: str
    payload: bytes
    event_id: str


class _Waiting:
    """A row in Django's list of what to call after the commit."""

    __slots__ = ("row", "using")

    def __init__(self, row: Row, using: str) -> None:
        self.row: Row | None = row
        self.using = using

    def __call__(self) -> None:
        """Write the row now: somebody called what waits without a commit, as test cases do."""
        if self.row is not None:
            write(transaction.get_connection(self.using), [self.row])


def add(connection: BaseDatabaseWrapper, row: Row) -> None:
    """Write `row` in the transaction that is open on `connection`; at once where there is none."""
    if not connection.in_atomic_block or not _install(connection):
        write(connection, [row])
        return
    waiting = _Waiting(row, connection.alias)
    transaction.on_commit(waiting, using=connection.alias)
    if not _is_last(connection, waiting):  # Django keeps it elsewhere: the fallback
        waiting.row = None
        write(connection, [row])


def _is_last(connection: BaseDatabaseWrapper, waiting: _Waiting) -> bool:
    entries: Any = getattr(connection, "run_on_commit", ())
    try:
        return entries[-1][1] is waiting
    except (TypeError, IndexError, KeyError):
        return False


def _install(connection: BaseDatabaseWrapper) -> bool:
    """Have `connection` write what waits before it commits; False where it is not Django's."""
    held: dict[str, Any] = connection.__dict__
    if _INSTALLED in held:
        return True
    commit = getattr(connection, "commit", None)
    if not callable(commit) or not isinstance(held.get("run_on_commit"), list):
        return False

    def commit_with_events() -> None:
        _write_waiting(connection)
        commit()

    connection.commit = commit_with_events  # type: ignore[method-assign]
    held[_INSTALLED] = True
    return True


def _write_waiting(connection: BaseDatabaseWrapper) -> None:
    entries: list[Any] = connection.run_on_commit
    waiting = [entry for entry in entries if isinstance(entry[1], _Waiting)]
    if not waiting:
        return
    connection.run_on_commit = [e for e in entries if not isinstance(e[1], _Waiting)]
    write(connection, [row for entry in waiting if (row := entry[1].row) is not None])


def write(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> None:
    """INSERT `rows` in their order; wake the relays.

    Raises OutboxError, a DatabaseError, for whatever goes wrong: only for those does Django roll
    back a transaction that fails in its COMMIT.
    """
    created = connection.ops.adapt_datetimefield_value(timezone.now())
    try:
        with connection.cursor() as cursor:
            for chunk in _chunks(connection, rows):
                values: list[Any] = []
                for row in chunk:
                    values += (*row, created)
                cursor.execute(_insert(connection, len(chunk)), values)
    except Exception as error:
        raise OutboxError(
            f"{len(rows)} events could not be written to the outbox of database"
            f" {connection.alias!r}, so nothing of the transaction was: {str(error).strip()}."
            f" If the table is missing: manage.py migrate --database {connection.alias}"
        ) from error


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


def _insert(connection: BaseDatabaseWrapper, count: int) -> str:
    quote = connection.ops.quote_name
    table = quote(OutboxRecord._meta.db_table)
    names = ", ".join(map(quote, COLUMNS))
    places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * count)
    statement = f"INSERT INTO {table} ({names}) VALUES {places}"  # noqa: S608 - names, no values
    if connection.vendor == "postgresql":
        # One round trip for both; the notice goes out with the commit.
        return f"WITH written AS ({statement}) SELECT pg_notify('{CHANNEL}', '')"
    return statement
