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

from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, Error, transaction
from django.utils import timezone

from kinesis_bridge.exceptions import OutboxError
from kinesis_bridge.models import lane_of

from .insert import Row, inserts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from kinesis_bridge.event import Event

_WRAPPED = ("commit", "savepoint", "savepoint_rollback")
_INSTALLED = "_kinesis_bridge_precommit"


class _Waiting:
    """An event in Django's list of what to call after the commit."""

    __slots__ = ("make", "place", "using")

    def __init__(self, make: Callable[[], tuple[Event, bytes]], using: str, place: int) -> None:
        self.make: Callable[[], tuple[Event, bytes]] | None = make
        self.using = using
        self.place = place

    def row(self) -> Row | None:
        """Return its row; None: it was written before."""
        return None if self.make is None else _row(*self.make())

    def __call__(self) -> None:
        """Write the row now: somebody called what waits without a commit, as test cases do."""
        if (row := self.row()) is not None:
            write(transaction.get_connection(self.using), [row])


class _Places:
    """What came first on a connection: an event, or a savepoint."""

    __slots__ = ("of_savepoints", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.of_savepoints: dict[str, int] = {}


def add(event: Event, payload: bytes, using: str) -> None:
    """Write an event in the transaction that is open on database `using`; at once without one."""
    if not add_late(lambda: (event, payload), using):
        write(transaction.get_connection(using), [_row(event, payload)])


def add_late(make: Callable[[], tuple[Event, bytes]], using: str) -> bool:
    """Have what `make` returns written before the commit; False where there will be none."""
    connection = transaction.get_connection(using)
    # Where the site turned autocommit off, turning it on again may commit without a commit().
    if not (connection.in_atomic_block and connection.commit_on_exit):
        return False
    places: _Places | None = connection.__dict__.get(_INSTALLED) or _install(connection)
    if places is None:
        return False
    places.rows += 1
    waiting = _Waiting(make, using, places.rows)
    connection.on_commit(waiting)
    if _is_last(connection, waiting):
        return True
    waiting.make = None  # Django keeps it elsewhere: the fallback
    return False


def _row(event: Event, payload: bytes) -> Row:
    lane = lane_of(event.stream, event.key)
    return Row(event.stream, lane, event.key, payload, event.id)


def _is_last(connection: BaseDatabaseWrapper, waiting: _Waiting) -> bool:
    entries: Any = getattr(connection, "run_on_commit", ())
    try:
        return _waiting_in(entries[-1]) is waiting
    except (TypeError, IndexError, KeyError):
        return False


def _install(connection: BaseDatabaseWrapper) -> _Places | None:
    """Have `connection` write what waits before it commits; None where it is not Django's."""
    held: dict[str, Any] = connection.__dict__
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
    entries = connection.run_on_commit
    events = list(filter(None, map(_waiting_in, entries)))
    if not events:
        return
    write(connection, [row for waiting in events if (row := waiting.row()) is not None])
    # After the write: what fails stays with its transaction.
    connection.run_on_commit = [entry for entry in entries if not _waiting_in(entry)]


def _waiting_in(entry: Any) -> _Waiting | None:
    try:
        func = entry[1]
    except (TypeError, IndexError, KeyError):  # another shape: its rows were written at once
        return None
    return func if type(func) is _Waiting else None


def write(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> None:
    """INSERT `rows` in their order; wake the relays.

    Raises OutboxError, a DatabaseError, for whatever goes wrong: only for those does Django roll
    back a transaction that fails in its COMMIT.
    """
    try:
        with connection.cursor() as cursor:
            for statement, parameters in inserts(connection, rows, timezone.now()):
                cursor.execute(statement, parameters)
    except Exception as error:
        raise OutboxError(
            f"{len(rows)} events could not be written to the outbox of database"
            f" {connection.alias!r}, so nothing of the transaction was: {str(error).strip()}."
            f" If the table is missing: manage.py migrate --database {connection.alias}"
        ) from error
