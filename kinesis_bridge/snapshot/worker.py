"""One run from where it is to its end, or to a signal: chunk by chunk."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connections, transaction
from django.utils import timezone

from kinesis_bridge.exceptions import OutboxError
from kinesis_bridge.logfields import fields
from kinesis_bridge.models import SnapshotRun
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .errors import SnapshotError
from .pace import Backlog, Rate
from .rows import Publisher
from .runs import left

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rows import Done
    from .scope import Scope

logger = logging.getLogger(__name__)
MOST_LOCKED = 500  # passed over and not yet published
LOCKED_SECONDS = 0.5  # between two looks at them
FULL_SECONDS = 1.0  # between two looks at an outbox that is full
RETRY_SECONDS = 30.0  # for which a database that fails is tried again
MOST_PAUSE = 2.0
SHOWN = 5  # primary keys in a message


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much at once, and how fast."""

    batch: int = 1000
    """Rows in one transaction, at most."""
    rate: float = 0.0
    """Rows a second; 0: no limit."""
    max_backlog: int = 1_000_000
    """Rows of the stream in the outbox, about; 0: no limit."""
    lock_timeout: float = 60.0
    """Seconds to wait for rows that others keep locked, when only those are left."""
    skip_invalid: bool = False
    """Whether rows that can have no event are passed over."""


class _Step(NamedTuple):
    """What one transaction did."""

    went_on: bool
    done: Done | None = None
    through: int = 0
    """Rows that it came past."""


class Worker:
    """Publishes the rows of one run. :meth:`stop` may be called from a signal's handler."""

    def __init__(
        self,
        run: SnapshotRun,
        scope: Scope,
        using: str,
        limits: Limits | None = None,
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """`on_progress` is told how many rows each chunk went through."""
        self.run = run
        self.limits = limits or Limits()
        self.published = 0
        """By this worker."""
        self._scope = scope
        self._using = using
        self._on_progress = on_progress
        self._runs = SnapshotRun.objects.using(using).filter(pk=run.pk, scope__isnull=False)
        self._publisher = Publisher(scope, using, skip_invalid=self.limits.skip_invalid)
        self._rate = Rate(self.limits.rate)
        self._backlog = Backlog(self.limits.max_backlog, scope.declaration.stream, using)
        self._owner = str(uuid.uuid4())
        self._stopping = threading.Event()
        # At a low rate a chunk would be minutes apart.
        self._batch = min(self.limits.batch, max(1, int(self.limits.rate or self.limits.batch)))

    def stop(self) -> None:
        """Finish the chunk under way, then end."""
        self._stopping.set()

    def work(self) -> bool:
        """Publish what is left; return whether all of it is done, False where it was stopped.

        Raises SnapshotError: a row that can have no event, rows that stay locked, another process
        that took the run over; OutboxError or another database error.
        """
        try:
            if not self._runs.update(owner=self._owner, updated=timezone.now()):
                said = _("Snapshot {run} has ended meanwhile.")
                raise SnapshotError(Text(said, run=self.run.pk))
            return self._work()
        except OutboxError:
            raise
        except Error as error:
            raise SnapshotError(
                Text(
                    _(
                        "Database {database} failed: {error}. All that was committed is kept; go on"
                        " with: manage.py kinesis_snapshot --resume {run}"
                    ),
                    database=repr(self._using),
                    error=str(error).strip(),
                    run=self.run.pk,
                )
            ) from error

    def _work(self) -> bool:
        looked = time.monotonic()
        while not self._stopping.is_set():
            if len(self.run.locked) >= MOST_LOCKED:
                self._wait_for_locked(MOST_LOCKED // 2)
            elif self.run.locked and time.monotonic() - looked > LOCKED_SECONDS:
                self._do(self._publish_locked)
                looked = time.monotonic()
            elif self._may_go() and not self._do(self._publish_next):
                self._wait_for_locked(0)
                if not self.run.locked:
                    self._do(self._finish)
                    return True
        return False

    # -- one transaction each

    def _publish_next(self, run: SnapshotRun) -> _Step:
        """Publish the next chunk, if there is one."""
        rows = left(run, self._scope, self._using)
        keys = [key for (key,) in rows.values_list("pk")[: self._batch]]
        if not keys:
            return _Step(went_on=False)
        done = self._publisher.publish(keys, in_a_row=self._scope.is_whole)
        run.after = self._scope.keys.dump(keys[done.covered - 1])
        run.locked = [*run.locked, *map(self._scope.keys.dump, done.missing)]
        return _Step(went_on=True, done=done, through=done.covered)

    def _publish_locked(self, run: SnapshotRun) -> _Step:
        """Publish those of the rows passed over that are free now, if there are any."""
        keys = list(map(self._scope.keys.load, run.locked))
        done = self._publisher.publish(keys)
        locked = self._publisher.existing(done.missing) if done.missing else []
        still = [*locked, *keys[done.covered :]]
        run.locked = list(map(self._scope.keys.dump, still))
        return _Step(went_on=len(still) < len(keys), done=done)

    def _finish(self, run: SnapshotRun) -> _Step:
        run.finished = timezone.now()
        run.scope = None
        return _Step(went_on=True)

    def _do(self, work: Callable[[SnapshotRun], _Step]) -> bool:
        """Do `work` on the run in one transaction; again where the database only failed for now."""
        connection = connections[self._using]
        began = time.monotonic()
        pause = 0.05
        while True:
            try:
                with transaction.atomic(using=self._using, durable=True):
                    run = self._taken()
                    step = work(run)
                    if step.done is not None:
                        run.rows += step.done.published
                        run.skipped += len(step.done.skipped)
                    run.save(using=self._using)
            except Error as error:
                connection.close_if_unusable_or_obsolete()
                gone = time.monotonic() - began
                if not _passes(error) or gone > RETRY_SECONDS or self._stopping.is_set():
                    raise
                if gone > 1:
                    logger.warning(
                        "Snapshot %s tries again: %s",
                        self.run.pk,
                        str(error).strip(),
                        extra=self._fields(error),
                    )
                self._stopping.wait(pause)
                pause = min(2 * pause, MOST_PAUSE)
                continue
            self._committed(run, step)
            return step.went_on

    def _taken(self) -> SnapshotRun:
        """Lock the run and read it: what a lost COMMIT did is in it.

        A write comes first: so SQLite, which has one writer, lets nobody change a row from here on.
        """
        if not self._runs.filter(owner=self._owner).update(updated=timezone.now()):
            raise SnapshotError(
                Text(
                    _(
                        "Snapshot {run} was taken over by another process, or begun anew: one"
                        " process works on it at a time. Nothing is lost; see kinesis_snapshot"
                        " --list."
                    ),
                    run=self.run.pk,
                )
            )
        return self._runs.get()

    def _committed(self, run: SnapshotRun, step: _Step) -> None:
        self.run = run
        if settings.DEBUG and not connections[self._using].force_debug_cursor:
            connections[self._using].queries_log.clear()  # a chunk's statements are long
        if step.done is None:
            return
        for message in step.done.skipped:
            logger.warning("%s", message, extra=self._fields())
        self.published += step.done.published
        self._rate.used(step.done.published)
        self._backlog.used(step.done.published)
        self._on_progress(step.through)

    def _fields(self, error: Exception | None = None, **given: Any) -> dict[str, Any]:
        declaration = self._scope.declaration
        return fields(
            error,
            snapshot=self.run.pk,
            model=declaration.label,
            stream=declaration.stream,
            database=self._using,
            **given,
        )

    # -- waiting

    def _may_go(self) -> bool:
        """Wait until the next chunk may go; False where it was stopped before."""
        told = False
        while not self._stopping.wait(self._rate.wait()):
            if self._backlog.has_room():
                return True
            if not told:
                told = True
                logger.warning(
                    "Snapshot %s pauses: %s events of stream %r wait in the outbox, and"
                    " --max-backlog is %s. Does kinesis_relay run?",
                    self.run.pk,
                    f"{self._backlog.waiting:,}",
                    self._scope.declaration.stream,
                    f"{self.limits.max_backlog:,}",
                    extra=self._fields(count=self._backlog.waiting),
                )
            self._stopping.wait(FULL_SECONDS)
        return False

    def _wait_for_locked(self, most: int) -> None:
        """Publish rows that were locked, as they become free, until `most` are left."""
        began, pause = time.monotonic(), 0.02
        while len(self.run.locked) > most and not self._stopping.is_set():
            if self._do(self._publish_locked):
                began, pause = time.monotonic(), 0.02
                continue
            if time.monotonic() - began > self.limits.lock_timeout:
                raise SnapshotError(self._still_locked())
            self._stopping.wait(pause)
            pause = min(2 * pause, LOCKED_SECONDS)

    def _still_locked(self) -> Text:
        keys = ", ".join(map(str, self.run.locked[:SHOWN]))
        more = ", ..." if len(self.run.locked) > SHOWN else ""
        return Text(
            _(
                "{count} rows of {model} (primary keys {keys}) were locked by another transaction"
                " for {seconds} s. All that was done is kept: end that transaction, then run:"
                " manage.py kinesis_snapshot --resume {run}"
            ),
            count=len(self.run.locked),
            model=self.run.model,
            keys=f"{keys}{more}",
            seconds=f"{self.limits.lock_timeout:g}",
            run=self.run.pk,
        )


def _passes(error: BaseException | None) -> bool:
    """Tell whether the same may work later: a deadlock, a lock, a connection that broke."""
    if isinstance(error, OutboxError):
        return _passes(error.__cause__)
    return isinstance(error, (OperationalError, InterfaceError))


def described(run: SnapshotRun) -> dict[str, Any]:
    """Return a run as ``--list --json`` shows it."""
    return {
        "run": run.pk,
        "model": run.model,
        "type": run.type,
        "stream": run.stream,
        "part": f"{run.part}/{run.parts}",
        **run.asked,
        "state": run.state,
        "rows": run.rows,
        "skipped": run.skipped,
        "locked": len(run.locked),
        "after": run.after,
        "last": run.last,
        "created": run.created.isoformat(),
        "updated": run.updated.isoformat(),
    }
