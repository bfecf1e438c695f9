"""One thread of a relay: takes lanes of one stream in one database, sends, deletes, again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseFailure
from django.db import InterfaceError, close_old_connections, connections

from kinesis_bridge import latency, signals
from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.exceptions import AwsError, KinesisBridgeError
from kinesis_bridge.logfields import fields
from kinesis_bridge.models import LANES
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .outage import Quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.event import RejectedRecord
    from kinesis_bridge.producer import Producer

    from .outage import StreamState
    from .presence import Presence
    from .statistics import Statistics
    from .store import Store, Waiting

logger = logging.getLogger("kinesis_bridge.relay")

LANES_AT_ONCE = LANES // 2
"""So that two relays find work at the same time."""
TURNS_BY_A_HINT = 8
"""While batches are full: to look which lanes have work walks over the rows that were deleted."""
PROBE_ROWS = 10
"""Rows of the first batch after an outage: what hangs again is little."""
SEND_SECONDS = 3.0
"""How long a send retries within the transaction; then what is left waits in the outbox."""
RECONNECT_SECONDS = 1.0
LOCKED_SECONDS = 5.0
"""How long a run with ``once`` asks again where SQLite says that a table is locked. Django has
SQLite itself wait as long; but it does not where threads share a database in memory, as a site's
tests do ("SQLITE_LOCKED", SQLite's manual)."""
PAUSED_SECONDS = 1.0
"""Between two looks whether the stream is paused: a pause is honoured after that at the latest."""


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often and how much."""

    batch: int = 1000
    """Rows a transaction, at most."""
    poll: float = 0.5
    """Seconds between two looks where nothing wakes it."""
    once: bool = False
    """End when nothing waits, or when the stream takes nothing."""


class Worker:
    """Drains one stream of one database."""

    def __init__(
        self,
        store: Store,
        producer: Producer,
        state: StreamState,
        statistics: Statistics,
        presence: Presence,
        rhythm: Rhythm,
    ) -> None:
        self.store = store
        self.wake = threading.Event()
        """Set: look now."""
        self._producer = producer
        self._state = state
        self._statistics = statistics
        self._presence = presence
        self._rhythm = rhythm
        self._stop = threading.Event()
        self._quietly = Quietly()
        self._made = False
        self._paused = False
        self._looks_at = 0.0
        self._hint: list[int] = []
        """Lanes that had work when it was looked last, and turns that may go by it."""
        self._hinted_turns = 0
        self.failure: Exception | None = None
        """What ended it before everything was sent."""
        self.turned = time.monotonic()
        """When its loop came round."""
        self.has_turned = False
        """Whether it has looked for events, with success."""
        self.has_ended = False
        """Whether its loop is over."""
        self._database_error: Exception | None = None
        self._locked_since: float | None = None

    @property
    def name(self) -> str:
        """What it drains, as others call it."""
        return f"{self.store.stream} of {self.store.database}"

    @property
    def trouble(self) -> Exception | None:
        """Why its events wait: an AwsError, or the database's own; None while they go."""
        return self._database_error or self._state.error

    @property
    def is_paused(self) -> bool:
        """Whether the stream was paused in this database when it was looked last."""
        return self._paused

    def _fields(self, error: Exception | None = None, **given: Any) -> dict[str, Any]:
        return fields(error, stream=self.store.stream, database=self.store.database, **given)

    def stop(self) -> None:
        """End after the batch that is under way."""
        self._stop.set()
        self.wake.set()

    def run(self) -> None:
        """Work until it is stopped; with ``once`` until nothing waits."""
        try:
            while not self._stop.is_set():
                self.turned = time.monotonic()
                if pause := self._state.rest():
                    if self._rhythm.once:
                        self.failure = self._state.error
                        return
                    self._stop.wait(pause)
                elif not self._look():
                    return
        except Exception as error:
            self.failure = error
            if not isinstance(error, KinesisBridgeError):
                logger.exception(
                    "A relay of stream %s ended", self.store.stream, extra=self._fields(error)
                )
        finally:
            self.has_ended = True
            connections[self.store.database].close()

    def _look(self) -> bool:
        """Send a batch, or wait for one; False where there will be no more."""
        self.wake.clear()
        try:
            if not self._made:
                self.store.make_lanes()
                self._made = True
            if self._look_for_pause():
                self._database_error, self.has_turned = None, True
                return self._wait_paused()
            busy = self._turn()
        except AwsError as error:
            self._hinted_turns = 0
            self._state.failed(error, self.store.database)
        except (DatabaseFailure, InterfaceError) as error:
            self._hinted_turns = 0
            self._suffer(error)
        else:
            self._database_error, self.has_turned, self._locked_since = None, True, None
            if busy is None:
                self._state.idle(self.store.database)
                if self._rhythm.once:
                    return False
            if not busy:
                self.wake.wait(random.uniform(0.5, 1) * self._rhythm.poll)  # noqa: S311  # nosec B311
        return True

    def _look_for_pause(self) -> bool:
        """Tell whether the stream is paused, as its row said within the last second."""
        now = time.monotonic()
        if now >= self._looks_at:
            close_old_connections()
            paused = self.store.is_paused()
            if paused != self._paused:
                does = "is paused: its events wait" if paused else "is resumed"
                logger.info("Stream %s %s.", self.store.stream, does, extra=self._fields())
            self._paused, self._looks_at = paused, now + PAUSED_SECONDS
        return self._paused

    def _wait_paused(self) -> bool:
        """Hold nothing until it is time to look again; False for ``once``, which does not wait."""
        self._hinted_turns = 0
        if self._rhythm.once:
            logger.warning(
                "Stream %s is paused in database %s: nothing was sent. Resume it in the admin, on"
                " the page Streams.",
                self.store.stream,
                self.store.database,
                extra=self._fields(),
            )
            return False
        self._stop.wait(PAUSED_SECONDS)
        return True

    def _suffer(self, error: Exception) -> None:
        """Connect anew in a moment: the database restarts, or somebody cut the connection."""
        self._database_error = error
        if not self._rhythm.once and self._quietly.may_speak():
            logger.warning(
                "Database %s failed; the relay of stream %s connects again: %s",
                self.store.database,
                self.store.stream,
                str(error).strip(),
                extra=self._fields(error),
            )
        connections[self.store.database].close()
        if self._rhythm.once and self._may_ask_again(error):
            self._stop.wait(random.uniform(0.005, 0.02))  # noqa: S311  # nosec B311
            return
        if self._rhythm.once:
            raise KinesisBridgeError(
                Text(
                    _(
                        "Database {database} failed; what was not acknowledged waits in its outbox:"
                        " {error} Fix: mend the database, then run it again."
                    ),
                    database=repr(self.store.database),
                    error=str(error).strip(),
                )
            ) from error
        self._stop.wait(random.uniform(0.2, RECONNECT_SECONDS))  # noqa: S311  # nosec B311

    def _may_ask_again(self, error: Exception) -> bool:
        if connections[self.store.database].vendor != "sqlite" or "locked" not in str(error):
            return False
        if self._locked_since is None:
            self._locked_since = time.monotonic()
        return time.monotonic() - self._locked_since < LOCKED_SECONDS

    def _turn(self) -> bool | None:
        """Send one batch. False: all lanes with work are taken. None: nothing waits."""
        close_old_connections()
        if fresh := not self._hinted_turns:
            self._hint = self.store.lanes_with_work(self._rhythm.batch)
            self._hinted_turns = TURNS_BY_A_HINT
        lanes = self._hint
        if not lanes:
            self._hinted_turns = 0
            return None
        if len(lanes) > LANES_AT_ONCE:
            lanes = random.sample(lanes, LANES_AT_ONCE)  # nosec B311
        most = self._rhythm.batch if self._state.error is None else PROBE_ROWS
        batch: dict[str, Any] | None = None
        with self.store.owning(sorted(lanes)) as owned:
            asked = time.monotonic()
            rows = self.store.read(owned, most) if owned else []
            if rows:
                self._presence.held(self.store.database, self.store.stream, owned)
                batch = self._send(rows, asked)
        if batch is not None:  # no receiver holds up the lanes
            signals.batch_settled.send_robust(Worker, **batch)
        failure: AwsError | None = batch["error"] if batch else None
        full = len(rows) == most and failure is None
        self._hinted_turns = self._hinted_turns - 1 if full else 0
        if failure is not None:
            self._state.failed(failure, self.store.database)
        elif rows:
            self._state.worked()
        return bool(rows) or not fresh

    def _send(self, rows: Sequence[Waiting], asked: float) -> dict[str, Any]:
        """Send rows that were asked for at `asked`, settle them; return what the signal tells."""
        began = time.monotonic()
        records = [Record(row.partition_key, row.payload) for row in rows]
        tally: Counter[str] = Counter()
        answers = self._producer.send(records, seconds=SEND_SECONDS, tally=tally)
        since = time.monotonic() - asked
        sent: list[int] = []
        ages: list[float] = []
        size = 0
        dead: list[tuple[Waiting, RejectedRecord]] = []
        left: RejectedRecord | None = None
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, PutResult):
                sent.append(row.id)
                age = row.age + since
                ages.append(age if age > 0 else 0.0)
                size += len(row.payload)
            elif answer.poison:
                dead.append((row, answer))
            else:
                left = left or answer
        letters = self.store.settle(sent, dead)
        self._statistics.count(
            self.store,
            sent=len(sent),
            size=size,
            dead=len(dead),
            began=began,
            rows=len(rows),
            more={**tally, **latency.count(ages)},
        )
        for letter in letters:
            logger.error(
                "Event %s of stream %s can never pass and is a dead letter now: %s %s",
                letter.event_id,
                letter.stream,
                letter.code,
                letter.message,
                extra=self._fields(event_id=letter.event_id, lane=letter.lane, code=letter.code),
            )
        failure = None if left is None else self._producer.failure(left)
        return {
            "stream": self.store.stream,
            "database": self.store.database,
            "sent": len(sent),
            "bytes": size,
            "dead_lettered": len(dead),
            "retried": len(rows) - len(sent) - len(dead),
            "codes": dict(Counter(answer.code for _, answer in dead)),
            "seconds": time.monotonic() - began,
            "ages": ages,
            "records": records,
            "error": failure,
        }
