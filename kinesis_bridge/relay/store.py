"""What a relay asks of one database: lanes, rows, their end. A few statements, written out."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, transaction
from django.utils import timezone

from kinesis_bridge.exceptions import KinesisBridgeError
from kinesis_bridge.models import LANES, DeadLetter, Lane, OutboxRecord, Stream
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from kinesis_bridge.event import RejectedRecord

# Subtracted by the database: a datetime made of each row's costs more.
_AGES = {
    "postgresql": "date_part('epoch', %s::timestamptz - o.created)",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, o.created, %s) / 1e6",
    "sqlite": "(julianday(%s) - julianday(o.created)) * 86400.0",
}


class Waiting(NamedTuple):
    """One row of the outbox, as far as sending it takes."""

    id: int
    partition_key: str
    payload: bytes
    age: float
    """Seconds since it was published, when it was read: by this machine's clock, so that it may be
    below 0 where the site's is ahead."""


class Store:
    """The outbox of one stream in one database. Each thread uses its own connection."""

    def __init__(self, database: str, stream: str, *, blocks: bool) -> None:
        """`blocks`: whether a dead letter holds up its key."""
        self.database = database
        self.stream = stream
        self.blocks = blocks
        quote = connections[database].ops.quote_name
        self._outbox = quote(OutboxRecord._meta.db_table)
        self._lane = quote(Lane._meta.db_table)
        self._dead = quote(DeadLetter._meta.db_table)
        self._streams = quote(Stream._meta.db_table)
        self._age = _AGES.get(connections[database].vendor, _AGES["postgresql"])

    def make_lanes(self) -> None:
        """Make the rows whose locks are the lanes, where they are missing."""
        connection = connections[self.database]
        if connection.vendor != "sqlite" and not _skips_locked(connection):
            raise KinesisBridgeError(
                Text(
                    _(
                        "Database {database} knows no SKIP LOCKED, so two relays would send the"
                        " same rows: the relay needs PostgreSQL, MySQL 8, MariaDB 10.6 or SQLite."
                    ),
                    database=repr(self.database),
                )
            )
        lanes = Lane.objects.using(self.database)
        if lanes.filter(stream=self.stream).count() < LANES:
            lanes.bulk_create(
                [Lane(stream=self.stream, number=number) for number in range(LANES)],
                ignore_conflicts=True,
            )

    def is_paused(self) -> bool:
        """Tell whether somebody paused the stream in this database."""
        statement = f"SELECT 1 FROM {self._streams} WHERE alias = %s AND paused IS NOT NULL"  # nosec B608
        return bool(self._all(statement, [self.stream]))

    def lanes_with_work(self, most: int) -> list[int]:
        """Return the lanes of the first `most` rows: a hint, taken without a lock."""
        first = f"SELECT o.lane FROM {self._unblocked()} ORDER BY o.id LIMIT {most:d}"  # nosec B608
        found = self._all(f"SELECT DISTINCT lane FROM ({first}) AS first", [self.stream])  # nosec B608
        return [lane for (lane,) in found]

    @contextmanager
    def owning(self, lanes: Sequence[int]) -> Iterator[list[int]]:
        """Own those of `lanes` that are free, within the block; then commit.

        The lock of a lane's row is the ownership: it ends with the transaction, or with the
        connection of a relay that is killed.
        """
        if not _skips_locked(connections[self.database]):
            with _file_lock(self.database, self.stream) as held:
                yield list(lanes) if held else []
            return
        with transaction.atomic(using=self.database, durable=True):
            # By stream and number: on another condition MariaDB locks more rows than it returns.
            found = self._all(
                f"SELECT number FROM {self._lane}"  # nosec B608
                f" WHERE stream = %s AND number IN ({_places(lanes)}) FOR UPDATE SKIP LOCKED",
                [self.stream, *lanes],
            )
            yield [number for (number,) in found]

    def read(self, lanes: Sequence[int], most: int) -> list[Waiting]:
        """Return the first `most` rows of `lanes`, in the order of their ids.

        From the very first row on, each time: one with a lower id may be committed later.
        """
        # In the form that `created` has: the site wrote it by a clock such as ours.
        now = connections[self.database].ops.adapt_datetimefield_value(timezone.now())
        rows = self._all(
            f"SELECT o.id, o.partition_key, o.payload, {self._age}"  # nosec B608
            f" FROM {self._unblocked()} AND o.lane IN ({_places(lanes)})"
            f" ORDER BY o.id LIMIT {most:d}",
            [now, self.stream, *lanes],
        )
        found = [Waiting(r[0], r[1], bytes(r[2]), r[3]) for r in rows]
        if not self.blocks:
            return found
        # One of each key: those behind it wait until it is known to be no dead letter.
        first: dict[str, Waiting] = {}
        for row in found:
            first.setdefault(row.partition_key, row)
        return list(first.values())

    def settle(
        self, sent: Sequence[int], dead: Sequence[tuple[Waiting, RejectedRecord]]
    ) -> list[DeadLetter]:
        """Delete what was acknowledged; put aside what can never pass, and return it."""
        if not dead:
            self._delete(sent)
            return []
        with transaction.atomic(using=self.database):
            ids = [row.id for row, _ in dead]
            records = OutboxRecord.objects.using(self.database).in_bulk(ids)
            letters = [self._letter(records[row.id], answer) for row, answer in dead]
            DeadLetter.objects.using(self.database).bulk_create(letters)
            self._delete([*sent, *ids])
        return letters

    def _letter(self, record: OutboxRecord, answer: RejectedRecord) -> DeadLetter:
        return DeadLetter(
            outbox_id=record.pk,
            stream=record.stream,
            lane=record.lane,
            partition_key=record.partition_key,
            payload=record.payload,
            event_id=record.event_id,
            created=record.created,
            code=answer.code[:128],
            message=str(answer.message),
            blocks=self.blocks,
        )

    def _delete(self, ids: Sequence[int]) -> None:
        connection = connections[self.database]
        if not ids:
            return
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                # An array in its text form: psycopg takes long over lists.
                array = f"{{{','.join(map(str, ids))}}}"
                cursor.execute(f"DELETE FROM {self._outbox} WHERE id = ANY(%s::bigint[])", [array])  # nosec B608
                return
            most = connection.features.max_query_params or len(ids)
            for start in range(0, len(ids), most):
                some = ids[start : start + most]
                cursor.execute(f"DELETE FROM {self._outbox} WHERE id IN ({_places(some)})", some)  # nosec B608

    def _unblocked(self) -> str:
        """Name the stream's rows, without those whose key a dead letter holds up."""
        if not self.blocks:
            return f"{self._outbox} o WHERE o.stream = %s"
        same = "d.partition_key = o.partition_key"
        if connections[self.database].vendor == "mysql":
            # By its usual collations "key" and "Key" are equal: one would hold up the other.
            same = "CAST(d.partition_key AS BINARY) = CAST(o.partition_key AS BINARY)"
        # Joined, not NOT EXISTS: MariaDB caches a subquery's answers, by equal keys as well.
        return (
            f"{self._outbox} o LEFT JOIN {self._dead} d"
            f" ON d.stream = o.stream AND d.blocks AND {same}"
            " WHERE o.stream = %s AND d.id IS NULL"
        )

    def _all(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with connections[self.database].cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows


def _skips_locked(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.features.has_select_for_update_skip_locked)


def _places(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))


@contextmanager
def _file_lock(database: str, stream: str) -> Iterator[bool]:
    """Hold the lock that one relay of an SQLite database has; False where another holds it.

    A lock of the operating system on a file beside the database: it ends with its process, and the
    database's own write lock stays with the site.
    """
    name = str(connections[database].settings_dict["NAME"])
    if not Path(name).is_file():  # in memory: nobody else has it
        yield True
        return
    handle = os.open(f"{name}.{stream}.relay-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
