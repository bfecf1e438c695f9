"""Lock some rows, read what is published of them, queue their events."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections

from kinesis_bridge.capture.derived import seen_of, with_data
from kinesis_bridge.capture.events import make_event, publish
from kinesis_bridge.capture.related import add_lists
from kinesis_bridge.capture.values import reader_of
from kinesis_bridge.delivery.insert import Row
from kinesis_bridge.delivery.outbox import OutboxDelivery
from kinesis_bridge.delivery.precommit import write
from kinesis_bridge.exceptions import EventError
from kinesis_bridge.models import lane_of
from kinesis_bridge.signals import event_published
from kinesis_bridge.streams import Stream, streams
from kinesis_bridge.words import Text, text_of
from kinesis_bridge.words import marked as _

from .errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kinesis_bridge.capture.values import Values
    from kinesis_bridge.declarations import Kind

    from .scope import Scope

PART = 250  # rows in one SELECT: the most that is read beyond what the others allow
MOST_BYTES = 8 * 1024 * 1024  # of values in one transaction
MOST_SECONDS = 1.0  # that a transaction may be open, and one SELECT more
SNAPSHOT: Kind = "snapshot"
_SIZED = {str, bytes, memoryview}
_NESTED = {dict, list}


class Done(NamedTuple):
    """What became of the first `covered` of the rows asked for."""

    covered: int
    published: int
    skipped: list[str]
    """Of rows that can have no event: why not."""
    missing: list[Any]
    """Primary keys of rows that are locked, or gone."""


class Publisher:
    """Publishes rows of one scope, within the transaction that is open on a database."""

    def __init__(self, scope: Scope, using: str, *, skip_invalid: bool) -> None:
        """`skip_invalid`: pass over rows that can have no event, instead of raising."""
        self._declaration = scope.declaration
        self._reader = reader_of(scope.declaration)
        self._scope = scope
        self._using = using
        self._skip_invalid = skip_invalid
        self._names = ["pk", *self._reader.attnames[1:]]
        self._stream = streams[scope.declaration.stream]
        # What it does is known: all rows at once, without its detour over Django's on_commit.
        self._is_direct = type(self._stream.delivery) is OutboxDelivery

    def publish(self, keys: Sequence[Any], *, in_a_row: bool = False) -> Done:
        """Queue the events of the rows with these primary keys, in that order.

        `in_a_row`: they are all that there are from the first to the last.

        Fewer where their values are large, or take long. Raises SnapshotError for a row that can
        have no event.
        """
        began = time.monotonic()
        covered = published = size = 0
        skipped: list[str] = []
        missing: list[Any] = []
        made: list[Row] = []
        while covered < len(keys) and size < MOST_BYTES:
            if covered and time.monotonic() - began > MOST_SECONDS:
                break
            some = keys[covered : covered + PART]
            rows = self._locked(some, in_a_row=in_a_row)
            moment = datetime.now(UTC)
            held = [self._reader.of_row(row) for row in rows]
            add_lists(self._declaration, held, self._reader.pk, self._using, new=False)
            seen = seen_of(self._declaration, [row[0] for row in rows], self._using, data=True)
            for row, values in zip(rows, held, strict=True):
                size += _size(row)
                key = values[self._reader.pk]
                if self._declaration.when is not None and not seen.holds.get(key, False):
                    continue
                try:
                    if self._declaration.is_derived:
                        with_data(self._declaration, [(values, None)], self._reader.pk, seen, None)
                        size += _size(seen.data.get(key, {}).values())
                    if (one := self._made(values, moment)) is not None:
                        made.append(one)
                    published += 1
                except EventError as error:
                    skipped.append(self._blame(row[0], error))
            # By name: as many may have been added between as are locked.
            found = {row[0] for row in rows}
            missing += [key for key in some if key not in found]
            covered += len(some)
        if made:
            write(connections[self._using], made)
        return Done(covered, published, skipped, missing)

    def existing(self, keys: Iterable[Any]) -> list[Any]:
        """Return those of the primary keys that have a row."""
        rows = self._scope.all_rows(self._using).filter(pk__in=list(keys))
        return [key for (key,) in rows.values_list("pk")]

    def _locked(self, keys: Sequence[Any], *, in_a_row: bool) -> list[tuple[Any, ...]]:
        """Lock those of the rows that nobody else has locked; return their values.

        By primary keys alone: what --where joins is not ours to lock, and PostgreSQL refuses to
        lock the rows of an outer join. SQLite knows no row locks: its one writer are we.
        """
        rows = self._scope.all_rows(self._using)
        if in_a_row:  # much cheaper than to name them
            rows = rows.filter(pk__gte=keys[0], pk__lte=keys[-1])
        else:
            rows = rows.filter(pk__in=keys)
        # PostgreSQL: foreign keys may still point to the row, as when it is updated.
        no_key = connections[self._using].features.has_select_for_no_key_update
        rows = rows.order_by("pk").select_for_update(skip_locked=True, no_key=no_key)
        return list(rows.values_list(*self._names))

    def _made(self, values: Values, moment: datetime) -> Row | None:
        """Return a row of the outbox; None where the delivery takes the event in its own way."""
        declaration, stream = self._declaration, self._stream
        if self._is_direct and values[self._reader.key] is not None:
            try:
                event = make_event(declaration, SNAPSHOT, values, moment)
                payload = stream.payload_of(event)
            except EventError:
                pass  # below, with the field named
            else:
                event_published.send_robust(Stream, event=event, stream=event.stream)
                lane = lane_of(event.stream, event.key)
                return Row(event.stream, lane, event.key, payload, event.id)
        publish(declaration, SNAPSHOT, values, self._using)
        return None

    def _blame(self, key: Any, error: EventError) -> str:
        values = {"key": repr(key), "error": text_of(error)}
        if self._skip_invalid:
            return Text(_("The row {key} cannot be published: {error}"), **values)
        raise SnapshotError(
            Text(
                _(
                    "The row {key} cannot be published: {error} Mend the row and run the same"
                    " command again, which goes on from here; or pass over such rows with"
                    " --skip-invalid."
                ),
                **values,
            )
        ) from error


def _size(row: Iterable[Any]) -> int:
    """Return about how many bytes the values have."""
    size = 0
    for value in row:
        kind = type(value)
        if kind in _SIZED:
            size += len(value)
        elif kind in _NESTED:
            size += len(repr(value))
    return size
