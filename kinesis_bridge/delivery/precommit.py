"""Rows that are written just before COMMIT: one INSERT for all events of a transaction.

Each waits as a callback of ``transaction.on_commit``, so that Django itself drops those of a
savepoint that is rolled back. When the connection commits they are taken out of Django's list and
written first; the site's own callbacks stay where they are, in their order.

Savepoints made by hand, with ``transaction.savepoint()`` or, from Django 6.1 on,
``savepoint_create()``, are unknown to Django's list: what they roll back is dropped here.

It leans on names inside Django: ``connection.run_on_commit``, ``commit``, ``savepoint``,
``savepoint_rollback`` and ``commit_on_exit``. Where they are not what they were, and where the site
turned autocommit off, each row is written at once, in the same transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DatabaseError, Error, transaction
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
_WRAPPED = ("commit", "savepoint", "savepoint_rollback")
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

    __slots__ = ("place", "row", "using")

    def __init__(self, row: Row, using: str, place: int) -> None:
        self.row: Row | None = row
        self.using = using
        self.place = place

    def __call__(self) -> None:
        """Write the row now: somebody called what waits without a commit, as test cases do."""
        if self.row is not None:
            write(transaction.get_connection(self.using), [self.row])


class _Places:
    """What came first on a connection: a row, or a savepoint."""

    __slots__ = ("of_savepoints", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.of_savepoints: dict[str, int] = {}

    def next(self) -> int:
        self.rows += 1
        return self.rows


def add(connection: BaseDatabaseWrapper, row: Row) -> None:
    """Write `row` in the transaction that is open on `connection`; at once where there is none."""
    places = _install(connection) if _commits_by_atomic(connection) else None
    if places is None:
        write(connection, [row])
        return
    waiting = _Waiting(row, connection.alias, places.next())
    transaction.on_commit(waiting, using=connection.alias)
    if not _is_last(connection, waiting):  # Django keeps it elsewhere: the fallback
        waiting.row = None
        write(connection, [row])


def _commits_by_atomic(connection: BaseDatabaseWrapper) -> bool:
    # Where the site turned autocommit off, turning it on again may commit without a commit().
    return connection.in_atomic_block and connection.commit_on_exit


def _is_last(connection: BaseDatabaseWrapper, waiting: _Waiting) -> bool:
    entries: Any = getattr(connection, "run_on_commit", ())
    try:
        return _waiting_in(entries[-1]) is waiting
    except (TypeError, IndexError, KeyError):
        return False


def _install(connection: BaseDatabaseWrapper) -> _Places | None:
    """Have `connection` write what waits before it commits; None where it is not Django's."""
    held: dict[str, Any] = connection.__dict__
    if _INSTALLED in held:
        installed: _Places = held[_INSTALLED]
        return installed
    wrapped: list[Any] = [getattr(connection, name, None) for name in _WRAPPED]
    if not all(map(callable, wrapped)) or not isinstance(held.get("run_on_commit"), list):
        return None
    commit, savepoint, savepoint_rollback = wrapped
    places = _Places()

    def commit_with_events() -> None:
        try:
            _write_waiting(connection)
        except DatabaseError:
            raise
        except BaseException:
            # A worker's timeout, a Ctrl-C. Django's atomic rolls back a DatabaseError only: it
            # would turn autocommit on, which commits on MySQL and SQLite.
            _roll_back(connection)
            raise
        places.of_savepoints.clear()
        commit()

    def noted_savepoint() -> Any:
        sid = savepoint()
        if sid is not None:
            places.of_savepoints[sid] = places.rows
        return sid

    def savepoint_rollback_with_events(sid: Any) -> None:
        savepoint_rollback(sid)
        if sid is not None:
            # One that was made before this was installed came before every row.
            _drop_waiting(connection, after=places.of_savepoints.get(sid, 0))

    held.update(
        zip(
            _WRAPPED,
            (commit_with_events, noted_savepoint, savepoint_rollback_with_events),
            strict=True,
        )
    )
    held[_INSTALLED] = places
    return places


def _drop_waiting(connection: BaseDatabaseWrapper, after: int) -> None:
    entries = connection.run_on_commit
    kept = [e for e in entries if not (waiting := _waiting_in(e)) or waiting.place <= after]
    if len(kept) < len(entries):
        connection.run_on_commit = kept


def _roll_back(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.rollback()
    except Error:
        connection.close()


def _write_waiting(connection: BaseDatabaseWrapper) -> None:
    rows = [waiting.row for entry in connection.run_on_commit if (waiting := _waiting_in(entry))]
    if not rows:
        return
    write(connection, [row for row in rows if row is not None])
    # After the write: what fails stays with its transaction.
    connection.run_on_commit = [e for e in connection.run_on_commit if not _waiting_in(e)]


def _waiting_in(entry: Any) -> _Waiting | None:
    try:
        func = entry[1]
    except (TypeError, IndexError, KeyError):  # another shape: its rows were written at once
        return None
    return func if isinstance(func, _Waiting) else None


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
