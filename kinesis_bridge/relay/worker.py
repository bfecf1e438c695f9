"""One thread of a relay: takes lanes of one stream in one database, sends, deletes, again."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import Error as DatabaseFailure
from django.db import InterfaceError, close_old_connections, connections

from kinesis_bridge.event import PutResult, Record
from kinesis_bridge.exceptions import AwsError, KinesisBridgeError
from kinesis_bridge.models import LANES

from .outage import Quietly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.event import RejectedRecord
    from kinesis_bridge.producer import Producer

    from .outage import StreamState
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
        rhythm: Rhythm,
    ) -> None:
        self.store = store
        self.wake = threading.Event()
        """Set: look now."""
        self._producer = producer
        self._state = state
        self._statistics = statistics
        self._rhythm = rhythm
        self._stop = threading.Event()
        self._quietly = Quietly()
        self._made = False
        self._hint: list[int] = []
        """Lanes that had work when it was looked last, and turns that may go by it."""
        self._hinted_turns = 0
        self.failure: Exception | None = None
        """What ended it before everything was sent."""

    def stop(self) -> None:
        """End after the batch that is under way."""
        self._stop.set()
        self.wake.set()

    def run(self) -> None:
        """Work until it is stopped; with ``once`` until nothing waits."""
        try:
            while not self._stop.is_set():
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
                logger.exception("A relay of stream %s ended", self.store.stream)
        finally:
            connections[self.store.database].close()

    def _look(self) -> bool:
        """Send a batch, or wait for one; False where there will be no more."""
        self.wake.clear()
        try:
            if not self._made:
                self.store.make_lanes()
                self._made = True
            busy = self._turn()
        except AwsError as error:
            self._hinted_turns = 0
            self._state.failed(error)
        except (DatabaseFailure, InterfaceError) as error:
            self._hinted_turns = 0
            self._suffer(error)
        else:
            if self._rhythm.once and busy is None:
                return False
            if not busy:
                self.wake.wait(random.uniform(0.5, 1) * self._rhythm.poll)  # noqa: S311  # nosec B311
        return True

    def _suffer(self, error: Exception) -> None:
        """Connect anew in a moment: the database restarts, or somebody cut the connection."""
        if not self._rhythm.once and self._quietly.may_speak():
            logger.warning(
                "Database %s failed; the relay of stream %s connects again: %s",
                self.store.database,
                self.store.stream,
                str(error).strip(),
            )
        connections[self.store.database].close()
        if self._rhythm.once:
            raise KinesisBridgeError(
                f"Database {self.store.database!r} failed; what was not acknowledged waits in its"
                f" outbox: {str(error).strip()} Fix: mend the database, then run it again."
            ) from error
        self._stop.wait(random.uniform(0.2, RECONNECT_SECONDS))  # noqa: S311  # nosec B311

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
        failure: AwsError | None = None
        with self.store.owning(sorted(lanes)) as owned:
            rows = self.store.read(owned, most) if owned else []
            if rows:
                failure = self._send(rows)
        full = len(rows) == most and failure is None
        self._hinted_turns = self._hinted_turns - 1 if full else 0
        if failure is not None:
            self._state.failed(failure)
        elif rows:
            self._state.worked()
        return bool(rows) or not fresh

    def _send(self, rows: Sequence[Waiting]) -> AwsError | None:
        """Send rows and settle them; return why some of them wait, if any."""
        began = time.monotonic()
        records = [Record(row.partition_key, row.payload) for row in rows]
        answers = self._producer.send(records, seconds=SEND_SECONDS)
        sent: list[int] = []
        size = 0
        dead: list[tuple[Waiting, RejectedRecord]] = []
        left: RejectedRecord | None = None
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, PutResult):
                sent.append(row.id)
                size += len(row.payload)
            elif answer.poison:
                dead.append((row, answer))
            else:
                left = left or answer
        self.store.settle(sent, dead)
        self._statistics.count(
            self.store, sent=len(sent), size=size, dead=len(dead), began=began, rows=len(rows)
        )
        for row, answer in dead:
            logger.error(
                "Event %s of stream %s can never pass and is a dead letter now: %s %s",
                row.event_id,
                self.store.stream,
                answer.code,
                answer.message,
            )
        return None if left is None else self._producer.failure(left)
