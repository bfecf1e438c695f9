"""One stream's connections and threads, and what is remembered between sends."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from kinesis_bridge import signals
from kinesis_bridge.aggregation import ShardMap
from kinesis_bridge.diagnosis import DENIED
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import AwsError, ShardMapError
from kinesis_bridge.logfields import stream_fields

from .packing import ByKey, ByShard
from .positions import Positions
from .schedule import all_acknowledged
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Record, Result
    from kinesis_bridge.transport import Transport

    from .packing import Packing
    from .schedule import Request, Schedule

logger = logging.getLogger("kinesis_bridge.producer")

SHARD_MAP_SECONDS = 60.0
# An answer that comes this fast is awaited where it was sent from: two threads that compete for the
# interpreter lock cost more than the wait. Measured by the sends that were awaited so, which every
# now and then one is.
QUICK_SECONDS = 0.001
PROBE_EVERY = 100


@dataclass
class Statistics:
    """Counters since the producer was made."""

    requests: int = 0
    records: int = 0
    """Acknowledged records of the stream; an aggregated one counts once."""
    bytes: int = 0
    retried: int = 0
    """Records sent again after a failure."""
    throttled: int = 0
    """Records that AWS refused because there were too many."""
    short_requests: int = 0
    """Requests that left short because records waited for their own key: see AGGREGATE."""
    order_violations: int = 0
    """Sequence numbers that did not rise within a lane and a shard."""


class Done(NamedTuple):
    """An answered request: its answers, or why it failed as a whole."""

    request: Request[Any]
    answers: Sequence[Result]
    error: Exception | None
    seconds: float
    whole: bool
    """Whether every record was acknowledged."""


class Link:
    """Sends requests to one stream. Safe for several threads; belongs to its process."""

    def __init__(self, stream: StreamConfig, open_transport: Callable[..., Transport]) -> None:
        self.stream = stream
        self.statistics = Statistics()
        self._open = open_transport
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._workers = Workers(stream.options["CONCURRENCY"], f"kinesis-{stream.alias}")
        self.positions = Positions()
        self._shards: ShardMap | None = None
        self._shards_at = 0.0
        self._denied = False
        self._waits: deque[float] = deque(maxlen=3)
        self._sends = 0

    @property
    def transport(self) -> Transport:
        """The transport, opened at first use; raises AwsError where that fails."""
        if self._transport is None:
            with self._lock:
                if self._transport is None:
                    self._transport = self._open(self.stream)
        return self._transport

    def close(self) -> None:
        """End the threads and close the connections; a later send starts anew. Twice is fine."""
        self._workers.close()
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def note(self, schedule: Schedule[Any]) -> None:
        """Add what a schedule counted."""
        with self._lock:
            self.statistics.retried += schedule.retried
            self.statistics.throttled += schedule.throttled
            self.statistics.short_requests += schedule.short_requests

    def after_fork(self) -> None:
        """Start anew in a child process: threads, locks and sockets are its parent's."""
        self._lock = threading.Lock()
        self.positions = Positions()
        self._transport = None
        self._workers = Workers(self.stream.options["CONCURRENCY"], f"kinesis-{self.stream.alias}")

    def packing(self, unlike: ByShard | None = None) -> Packing | None:
        """Return how records are packed now, by a fresh map of the shards; None: not at all.

        `unlike` is one whose map proved wrong: where the list of shards still says the same, the
        packing is by key, which is right whatever the shards are.
        """
        options = self.stream.options
        if not self.keeps_order or options["AGGREGATE"] == "none":
            return None
        most = min(options["AGGREGATE_BYTES"], options["MAX_RECORD_BYTES"])
        shards = self._shard_map() if options["AGGREGATE"] == "shard" else None
        if shards is None or (unlike is not None and unlike.shards == shards):
            return ByKey(most)
        return ByShard(most, shards)

    @property
    def keeps_order(self) -> bool:
        """Whether records of one key wait for each other."""
        return self.stream.options["ORDERING"] == "per_key" and self.transport.ordered

    def _shard_map(self) -> ShardMap | None:
        with self._lock:
            age = time.monotonic() - self._shards_at
            if self._shards_at and age < SHARD_MAP_SECONDS:
                return self._shards
        try:
            shards: ShardMap | None = ShardMap(self.transport.shards())
        except AwsError as error:
            if error.code not in DENIED:
                raise
            shards = None
            if not self._denied:
                self._denied = True
                logger.warning(
                    "Stream %s: no permission for kinesis:ListShards, so AGGREGATE falls back to"
                    " key",
                    self.stream.alias,
                    extra=stream_fields(self.stream, error),
                )
        except ShardMapError as error:  # listed while they change
            shards = None
            logger.warning(
                "Stream %s: packed by key for now: %s",
                self.stream.alias,
                error,
                extra=stream_fields(self.stream, error),
            )
        with self._lock:
            self._shards, self._shards_at = shards, time.monotonic()
        return shards

    def forget_shards(self) -> None:
        """Have the next packing ask for the shards anew."""
        with self._lock:
            self._shards_at = 0.0

    def put(self, batch: Sequence[Record]) -> Sequence[Result]:
        """Send one request; where it is invalid as a whole, find the records that make it so.

        No two records of `batch` are of one lane, so its halves may go in any order.
        Raises AwsError for every other failure of the request.
        """
        try:
            return self.transport.put(batch)
        except AwsError as error:
            if error.name != "record-refused":
                raise
            if len(batch) == 1:
                return [RejectedRecord(error.code, error.message, error, poison=True)]
            middle = len(batch) // 2
            answers = self.put(batch[:middle])
        try:
            return [*answers, *self.put(batch[middle:])]
        except AwsError as error:
            # Not of the whole any more: what was taken before must not go again.
            failed = RejectedRecord(error.code, error.message, error)
            return [*answers, *[failed] * (len(batch) - middle)]

    def account(self, done: Done, positions: Positions) -> None:
        """Count an answered request, check that sequence numbers rise, tell the signals."""
        violations = _advance(done, positions) if self.keeps_order else 0
        sent, size = len(done.answers), done.request.bytes
        refused: Counter[str] = Counter()
        if not done.whole:
            for record, answer in zip(done.request.records, done.answers, strict=True):
                if isinstance(answer, RejectedRecord):
                    sent -= 1
                    size -= record.size
                    refused[answer.code] += 1
        with self._lock:
            statistics = self.statistics
            statistics.requests += 1
            statistics.records += sent
            statistics.bytes += size
            statistics.order_violations += violations
        if violations:
            logger.error(
                "Stream %s: %d sequence numbers of a key did not rise",
                self.stream.alias,
                violations,
                extra=stream_fields(self.stream, count=violations),
            )
        signals.records_sent.send_robust(
            Link,
            stream=self.stream.alias,
            count=sent,
            bytes=size,
            seconds=done.seconds,
            refused=dict(refused),
            order_violations=violations,
        )

    def tell_failure(self, done: Done, error: AwsError) -> None:
        """Tell the signal that a request failed as a whole."""
        signals.request_failed.send_robust(
            Link,
            stream=self.stream.alias,
            count=len(done.request.units),
            seconds=done.seconds,
            error=error,
        )

    def is_quick(self) -> bool:
        """Tell whether the next answer is better awaited than left to another thread."""
        self._sends += 1
        return (
            len(self._waits) < 2
            or min(self._waits) < QUICK_SECONDS
            or not self._sends % PROBE_EVERY
        )

    def submit(
        self, request: Request[Any], answered: Callable[[Done], object], *, here: bool
    ) -> None:
        """Send a request, `here` or on one of the threads, and have `answered` called with it."""

        def work() -> None:
            started, busy = time.monotonic(), time.thread_time()
            answers: Sequence[Result] = ()
            failure: Exception | None = None
            try:
                answers = self.put(request.prepare())
            except Exception as error:  # noqa: BLE001 - a thread that died would be awaited for ever
                failure = error
            seconds = time.monotonic() - started
            if here:
                self._waits.append(seconds - (time.thread_time() - busy))
            answered(Done(request, answers, failure, seconds, all_acknowledged(answers)))

        if here:
            work()
        else:
            self._workers.run(work)


def _advance(done: Done, positions: Positions) -> int:
    """Remember where each lane stands; return how many sequence numbers did not rise."""
    lanes, answers = done.request.lanes, done.answers
    if not done.whole:
        taken = [isinstance(answer, PutResult) for answer in answers]
        lanes, answers = list(compress(lanes, taken)), list(compress(answers, taken))
    return positions.advance(lanes, cast("Sequence[PutResult]", answers), done.request.marks)
