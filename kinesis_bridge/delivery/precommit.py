"""Rows that are written just before COMMIT: one INSERT for all events of a transaction.

They wait in callbacks of ``transaction.on_commit``, so that Django itself drops those of a
savepoint that is rolled back. When the connection commits they are taken out of Django's list and
written first; the site's own callbacks stay where they are, in their order.

Where updates of a row become one event (``publishes(coalesce=True)``) it is then, too, also for the
events of other deliveries, which wait in Django's list one by one.

Savepoints made by hand, with ``transaction.savepoint()`` or, from Django 6.1 on,
``savepoint_create()``, are unknown to Django's list: what they roll back is dropped here.

It leans on names inside Django: ``connection.run_on_commit``, ``commit``, ``savepoint``,
``savepoint_rollback``, ``savepoint_ids``, ``commit_on_exit`` and ``atomic_blocks``. Where they are
not what they were, and where the site turned autocommit off, each row is written at once, in the
same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, Error, connections
from django.utils import timezone

from kinesis_bridge.exceptions import OutboxError
from kinesis_bridge.models import lane_of
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .coalesce import LateRow, RowEvent, coalesced
from .insert import Row, inserts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from kinesis_bridge.event import Event

_WRAPPED = ("commit", "savepoint", "savepoint_rollback")
_INSTALLED = "_kinesis_bridge_precommit"


Made = tuple["Event", bytes]
Make = Callable[[], Made]


class _Waiting:
    """Events in Django's list of what to call after the commit: all that came one after another."""

    __slots__ = ("first", "makes", "savepoints", "using")

    def __init__(self, using: str, savepoints: list[str], first: int) -> None:
        self.using = using
        self.savepoints = savepoints
        """Within which they came."""
        self.first = first
        """Place of the first event on the connection."""
        self.makes: list[Make | Made] = []

    def rows(self) -> list[Row]:
        """Return their rows: none if they were written before."""
        return [_row(*(made if isinstance(made, tuple) else made())) for made in self.makes]

    def drop(self, after: int) -> None:
        """Forget the events after that place."""
        del self.makes[max(0, after + 1 - self.first) :]

    def __call__(self) -> None:
        """Write the rows now: somebody called what waits without a commit, as test cases do."""
        if rows := self.rows():
            write(connections[self.using], rows)


class _Places:
    """What came first on a connection: an event, or a savepoint."""

    __slots__ = ("coalesces", "of_savepoints", "open", "rows")

    def __init__(self) -> None:
        self.coalesces = False
        """Whether any may become one with another."""
        self.rows = 0
        self.of_savepoints: dict[str, int] = {}
        self.open: _Waiting | None = None
        """Where the next event may go, too."""


def add(events: Sequence[Made], using: str) -> None:
    """Write events in the transaction that is open on database `using`; at once without one."""
    opened = _open(using)
    if opened is None:
        write(connections[using], [_row(*made) for made in events])
        return
    waiting, places = opened
    waiting.makes.extend(events)
    places.rows += len(events)


def add_late(make: Make, using: str) -> bool:
    """Have what `make` returns written before the commit; False where there will be none."""
    opened = _open(using)
    if opened is None:
        return False
    waiting, places = opened
    waiting.makes.append(make)
    places.rows += 1
    return True


def add_rows(rows: Sequence[LateRow], using: str) -> None:
    """:func:`add` events of rows, whose updates become one; as they are where there is no wait."""
    opened = _open(using)
    if opened is None:
        write(connections[using], [_row(*row()) for row in rows])
        return
    waiting, places = opened
    waiting.makes.extend(rows)
    places.rows += len(rows)
    places.coalesces = True


def watch(using: str) -> int:
    """Let what was just put into Django's own list become one with others before the commit.

    Returns its place on the connection; 0 where it does not wait.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        return 0
    places: _Places | None = connection.__dict__.get(_INSTALLED) or _install(connection)
    if places is None:
        return 0
    places.rows += 1
    places.coalesces = True
    return places.rows


def _open(using: str) -> tuple[_Waiting, _Places] | None:
    """Return where the next event may wait for the commit; None where there will be none."""
    connection = connections[using]
    # Where the site turned autocommit off, turning it on again may commit without a commit().
    if not (connection.in_atomic_block and connection.commit_on_exit):
        return None
    places: _Places | None = connection.__dict__.get(_INSTALLED) or _install(connection)
    if places is None:
        return None
    waiting = places.open
    if (
        waiting is None
        or waiting.savepoints != connection.savepoint_ids
        or not _is_last(connection, waiting)
    ):
        waiting = _Waiting(using, connection.savepoint_ids.copy(), places.rows + 1)
        connection.on_commit(waiting)
        if not _is_last(connection, waiting):
            return None  # Django keeps it elsewhere: the fallback
        places.open = None if _is_in_test_case(connection) else waiting
    return waiting, places


def write_waiting_now(using: str) -> bool:
    """Write what waits, if a roll-back would take that back exactly as it would drop it.

    For who writes events at once, behind those. False, and nothing is written, where a savepoint
    was made since the first of them (it may be rolled back, and they are not within it), and where
    some of them may become one with others.
    """
    connection = connections[using]
    entries = [waiting for waiting in map(_waiting_in, connection.run_on_commit) if waiting]
    first = min((waiting.first for waiting in entries if waiting.makes), default=None)
    if first is None:
        return True
    places: _Places | None = connection.__dict__.get(_INSTALLED)
    if places is None or places.coalesces or _is_in_test_case(connection):
        return False
    if any(place >= first for place in places.of_savepoints.values()):
        return False
    write(connection, [row for waiting in entries for row in waiting.rows()])
    _forget_waiting(connection)
    places.open = None
    return True


def _row(event: Event, payload: bytes) -> Row:
    lane = lane_of(event.stream, event.key)
    return Row(event.stream, lane, event.key, payload, event.id)


def _is_last(connection: BaseDatabaseWrapper, waiting: _Waiting) -> bool:
    entries: Any = getattr(connection, "run_on_commit", ())
    try:
        return _waiting_in(entries[-1]) is waiting
    except (TypeError, IndexError, KeyError):
        return False


def _is_in_test_case(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether callbacks may be taken out one by one, as captureOnCommitCallbacks does."""
    blocks: Any = getattr(connection, "atomic_blocks", ())
    return not blocks or getattr(blocks[0], "_from_testcase", True)


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
            if places.coalesces:
                _coalesce(connection)
            _write_waiting(connection)
        except DatabaseError:
            raise
        except BaseException:
            # A worker's timeout, a Ctrl-C. Django's atomic rolls back a DatabaseError only: it
            # would turn autocommit on, which commits on MySQL and SQLite.
            _roll_back(connection)
            raise
        places.of_savepoints.clear()
        places.coalesces = False
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
    for waiting in map(_waiting_in, connection.run_on_commit):
        if waiting is not None:
            waiting.drop(after)
    if any(map(_row_in, connection.run_on_commit)):
        connection.run_on_commit = [
            entry
            for entry in connection.run_on_commit
            if getattr(_row_in(entry), "place", 0) <= after
        ]


def _coalesce(connection: BaseDatabaseWrapper) -> None:
    """Leave of the events that wait those that are sent; raises CoalesceError."""
    entries: list[Any] = connection.run_on_commit
    waiting = list(filter(None, map(_waiting_in, entries)))
    sent = [make for one in waiting for make in one.makes if isinstance(make, LateRow)]
    left = iter(coalesced(sent))
    for one in waiting:
        makes = [next(left) if isinstance(make, LateRow) else make for make in one.makes]
        one.makes = [make for make in makes if make is not None]
    pending = iter(coalesced([row for entry in entries if (row := _row_in(entry)) is not None]))
    kept: list[Any] = []
    for entry in entries:
        if _row_in(entry) is None:
            kept.append(entry)
        elif (row := next(pending)) is not None:
            kept.append((entry[0], row, *entry[2:]))
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
    if rows := [row for waiting in events for row in waiting.rows()]:
        write(connection, rows, commit=_takes_commit(connection))
    _forget_waiting(connection)  # after the write: what fails stays with its transaction


def _forget_waiting(connection: BaseDatabaseWrapper) -> None:
    entries = connection.run_on_commit
    connection.run_on_commit = [entry for entry in entries if not _waiting_in(entry)]


def _waiting_in(entry: Any) -> _Waiting | None:
    try:
        func = entry[1]
    except (TypeError, IndexError, KeyError):  # another shape: its rows were written at once
        return None
    return func if type(func) is _Waiting else None


def _row_in(entry: Any) -> RowEvent | None:
    func = entry[1] if isinstance(entry, tuple) else None
    return func if isinstance(func, RowEvent) else None


def write(connection: BaseDatabaseWrapper, rows: Sequence[Row], *, commit: bool = False) -> None:
    """INSERT `rows` in their order; wake the relays. With `commit` COMMIT in the same round trip.

    Raises OutboxError, a DatabaseError, for whatever goes wrong: only for those does Django roll
    back a transaction that fails in its COMMIT. And what the database says of the COMMIT itself.
    """
    try:
        with connection.cursor() as cursor:
            for statement, parameters in inserts(connection, rows, timezone.now(), commit=commit):
                cursor.execute(statement, parameters)
    except Exception as error:
        if commit and isinstance(error, DatabaseError) and not _is_open(connection):
            raise  # a constraint that waited for COMMIT, or a connection that broke: who knows when
        raise OutboxError(
            Text(
                _(
                    "{count} events could not be written to the outbox of database {database}, so"
                    " nothing of the transaction was: {error}. If the table is missing: manage.py"
                    " migrate --database {alias}"
                ),
                count=len(rows),
                database=repr(connection.alias),
                error=str(error).strip(),
                alias=connection.alias,
            )
        ) from error


def _takes_commit(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether COMMIT may go with the last statement: its own commit() is then no round trip.

    With psycopg 3, where the parameters are put in by the client: after a statement that fails the
    rest is skipped ("Multiple Statements in a Simple Query", PostgreSQL's manual).
    """
    return (
        connection.vendor == "postgresql"
        and getattr(getattr(connection, "Database", None), "__name__", "") == "psycopg"
        and not getattr(connection.features, "uses_server_side_binding", True)
    )


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the transaction is still there, failed or not."""
    info = connection.connection.info if connection.connection is not None else None
    return info is not None and info.transaction_status.name in {"INTRANS", "INERROR", "ACTIVE"}
