"""The buffer of ``background``: bounded in bytes, in order, emptied from its front by one thread.

Two rules keep it whole and free whatever happens to a caller:

* A ``KeyboardInterrupt`` may be raised between any two instructions of the main thread. So the lock
  is taken by ``with`` on a lock written in C and never waited upon while it is held, threads are
  woken through ``SimpleQueue`` (written in C, too), and what must be true together is set without a
  call in between. ``threading.Condition`` and ``Event`` are Python code: interrupted at the wrong
  instruction they leave their lock taken for ever.
* The lock may be entered again by the thread that holds it: a signal handler or a finalizer that
  publishes runs on top of whatever that thread was doing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from kinesis_bridge.exceptions import BufferClosed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinesis_bridge.event import Record

    Entry = tuple[int, Record]
    """A record and its number: how many were accepted before it."""

RECORD_BYTES = 176
"""Memory of a waiting record beside its data and key: the record, two object heads, a place in the
queue, and what the allocator rounds up. Measured on 64-bit CPython: 157 to 172 bytes for data of
0 to 4,000 bytes and keys of 1 to 256 characters."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Counters since the delivery was made (in a forked child: since the fork), in events.

    ``accepted == sent + rejected + abandoned + buffered_records`` at any moment.
    """

    accepted: int
    """Taken into the buffer."""
    sent: int
    """Acknowledged by AWS."""
    rejected: int
    """Given up, since this very record can never pass."""
    dropped: int
    """Not taken, because the buffer was full and WHEN_FULL is ``drop``."""
    abandoned: int
    """Given up by ``close``, or by the end of the process, after SHUTDOWN_SECONDS."""
    buffered_records: int
    """Waiting, or under way."""
    buffered_bytes: int
    """Memory that those take: data, key and :data:`RECORD_BYTES` each."""


def memory_of(record: Record) -> int:
    """Return the bytes of memory that `record` takes while it waits.

    A key that is not ASCII may take four bytes a character, and as many for its cached UTF-8.
    """
    key = record.partition_key
    return len(record.data) + (len(key) if key.isascii() else 8 * len(key)) + RECORD_BYTES


class Buffer:
    """Any thread puts and flushes; one thread takes, sends and settles.

    What was taken stays until it is settled: it counts against the limit while it is under way, and
    is still there if the thread that sends it dies.
    """

    def __init__(self, limit: int) -> None:
        """`limit` in bytes of memory; a record larger than that is taken by an empty buffer."""
        self._limit = limit
        self.closed = False
        self.forget()

    def forget(self) -> None:
        """Start afresh, empty, with no lock that another thread could hold: after a fork."""
        self._lock = threading.RLock()
        self._again: list[Entry] = []
        """The front: what was sent in vain, in order."""
        self._fresh: deque[Record] = deque()
        """What was never sent. Their numbers rise by one, from `_first` on."""
        self._first = 0
        self._taken: list[Entry] | None = None
        self._bytes = 0
        self._sent = self._rejected = self._dropped = self._abandoned = 0
        self._idle = False
        """Whether the sender waits, or is about to wait, for something to send."""
        self._new: SimpleQueue[None] = SimpleQueue()
        """Wakes the sender where it waits for records."""
        self._hurry: SimpleQueue[None] = SimpleQueue()
        """Wakes the sender where it rests after a failure."""
        self._turns: set[SimpleQueue[None]] = set()
        """Wakes those who wait for room, or for the end of a flush."""
        self._last_call = float("inf")

    # Any thread

    def put(self, record: Record, seconds: float | None = 0.0) -> bool:
        """Append `record`; wait for room up to `seconds` (None: for ever). False: there was none.

        Raises BufferClosed.
        """
        size = memory_of(record)
        until = _until(seconds)
        while True:
            with self._lock:
                if self.closed:
                    raise BufferClosed(
                        "The background delivery is closed and takes no more events: its settings"
                        " changed, or the process ends. Publish through kinesis_bridge.publish,"
                        " which finds the one in use."
                    )
                if self._bytes + size <= self._limit or not self._count():
                    if self._idle:
                        # First: an interrupt after the append must not leave the sender asleep.
                        self._new.put(None)
                        self._idle = False
                    self._bytes += size
                    self._fresh.append(record)
                    return True
                rest = min(until, self._last_call) - time.monotonic()
                if rest <= 0:
                    return False
                _ring(self._new)  # a sender that lingers has enough by now
                turn = self._turn()
            self._sleep(turn, rest)

    def flush(self, seconds: float | None = None) -> bool:
        """Wait up to `seconds` until all that was accepted by now is settled; False if it is not.

        A sender that lingers, or rests after a failure, goes on at once. False too where what is
        waited for was abandoned.
        """
        until = _until(seconds)
        with self._lock:
            last = self._first + len(self._fresh)
            abandoned = self._abandoned
        self.hurry()
        while True:
            with self._lock:
                if self._abandoned > abandoned:
                    return False
                if self._first >= last and not (self._again and self._again[0][0] < last):
                    return True
                rest = until - time.monotonic()
                if rest <= 0:
                    return False
                turn = self._turn()
            self._sleep(turn, rest)

    def hurry(self) -> None:
        """Have the sender go on at once, where it lingers or rests."""
        _ring(self._new)
        _ring(self._hurry)

    def end_waiting(self, seconds: float) -> None:
        """Let no :meth:`put` wait longer than `seconds` from now on, those that wait included."""
        with self._lock:
            self._last_call = time.monotonic() + seconds
            self._wake()

    def close(self) -> None:
        """Take no more; whoever waits for room gets BufferClosed. Twice is fine."""
        with self._lock:
            self.closed = True
            self._wake()
        self.hurry()

    def abandon(self) -> int:
        """Give up all that is left, what is under way included; return how many that were."""
        with self._lock:
            left = self._count()
            self._first += len(self._fresh)
            self._taken = None
            self._again = []
            self._fresh.clear()
            self._bytes = 0
            self._abandoned += left
            self._wake()
        return left

    def count_dropped(self) -> None:
        """Count an event that was not taken."""
        with self._lock:
            self._dropped += 1

    @property
    def statistics(self) -> Statistics:
        """The counters, all of one moment."""
        with self._lock:
            return Statistics(
                accepted=self._first + len(self._fresh),
                sent=self._sent,
                rejected=self._rejected,
                dropped=self._dropped,
                abandoned=self._abandoned,
                buffered_records=self._count(),
                buffered_bytes=self._bytes,
            )

    # The sender

    @property
    def finished(self) -> bool:
        """Whether nothing is left to send, and nothing will come."""
        return self.closed and not self._count()

    def take(self, records: int, size: int) -> list[Entry]:
        """Return the front, at most `records` of at most `size` bytes of memory, but one at least.

        Empty: there is nothing; :meth:`wait` then. What was sent in vain comes first, all of it.
        """
        with self._lock:
            batch = list(self._again)
            size -= sum(memory_of(record) for _, record in batch)
            for number, record in enumerate(self._fresh, self._first):
                size -= memory_of(record)
                if batch and (size < 0 or len(batch) >= records):
                    break
                batch.append((number, record))
            self._idle = not batch
            self._taken = batch
        return batch

    def settle(self, batch: list[Entry], kept: list[Entry], rejected: int) -> None:
        """Take out what was sent or rejected; put `kept`, in order, back to the front."""
        freed = _memory(batch) - _memory(kept)
        with self._lock:
            if self._taken is not batch:
                return  # abandoned meanwhile
            self._taken = None
            for _ in range(len(batch) - len(self._again)):
                self._fresh.popleft()
                self._first += 1
            self._again = kept
            self._sent += len(batch) - len(kept) - rejected
            self._rejected += rejected
            # Exactly 0 where nothing is left: an append that failed for want of memory was counted.
            self._bytes = self._bytes - freed if self._count() else 0
            self._wake()

    def wait(self, seconds: float | None = None) -> None:
        """Wait up to `seconds` for records where there were none, or until somebody hurries."""
        _get(self._new, seconds)

    def rest(self, seconds: float) -> None:
        """Wait `seconds`, or until somebody hurries."""
        _get(self._hurry, seconds)

    # Within the lock

    def _count(self) -> int:
        return len(self._again) + len(self._fresh)

    def _turn(self) -> SimpleQueue[None]:
        turn: SimpleQueue[None] = SimpleQueue()
        self._turns.add(turn)
        return turn

    def _wake(self) -> None:
        turns, self._turns = self._turns, set()
        for turn in turns:
            turn.put(None)

    # Outside of it

    def _sleep(self, turn: SimpleQueue[None], seconds: float) -> None:
        try:
            _get(turn, None if seconds == float("inf") else seconds)
        finally:
            with self._lock:
                self._turns.discard(turn)


def _until(seconds: float | None) -> float:
    return float("inf") if seconds is None else time.monotonic() + seconds


def _ring(queue: SimpleQueue[None]) -> None:
    if queue.empty():  # one is enough: the sender may be busy for long, and callers many
        queue.put(None)


def _get(queue: SimpleQueue[None], seconds: float | None) -> None:
    with suppress(Empty):
        queue.get(timeout=seconds if seconds is None else min(seconds, threading.TIMEOUT_MAX))


def _memory(entries: Iterable[Entry]) -> int:
    return sum(memory_of(record) for _, record in entries)
