"""Batches, per-key order, partial failures, back-off: from records to acknowledged records.

What may go next is decided in :mod:`kinesis_bridge.scheduling`; here it goes, several requests at
once, and what comes back is told apart: a record's own failure, and the stream's state (an outage).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from . import signals
from .aggregation import ShardMap
from .diagnosis import DENIED, explain_as, find
from .event import PutResult, RejectedRecord
from .exceptions import AwsError
from .packing import ByKey, ByShard
from .scheduling import (
    Limits,
    PackedSchedule,
    PlainSchedule,
    RelaxedSchedule,
    Request,
    Schedule,
    jitter,
)
from .session import renew
from .transport import MAX_RECORDS, open_transport
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from .conf import StreamConfig
    from .event import Record, Result
    from .packing import Packing
    from .scheduling import Final
    from .transport import Transport

logger = logging.getLogger("kinesis_bridge.producer")

_ALL_ACKNOWLEDGED = {PutResult}
_UNANSWERED = RejectedRecord("NotSent", "")
STRIPES = 256
REMEMBERED_LANES = 100_000
BUFFERED_REQUESTS = 4
BUFFERED_RECORDS = 20_000
SHARD_MAP_SECONDS = 60.0


@dataclass
class Statistics:
    """Counters since the producer was made."""

    requests: int = 0
    records: int = 0
    """Acknowledged records of the stream; an aggregated one counts once."""
    bytes: int = 0
    retried: int = 0
    """Records sent again after a failure."""
    short_requests: int = 0
    """Requests that left short because records waited for their own key: see AGGREGATE."""
    order_violations: int = 0
    """Sequence numbers that did not rise within a lane and a shard."""


class _Done(NamedTuple):
    request: Request[Any]
    answers: Sequence[Result]
    error: AwsError | None
    seconds: float


class Producer:
    """Sends to one stream. Safe for several threads; belongs to the process that made it."""

    def __init__(
        self,
        stream: StreamConfig,
        transport: Callable[[StreamConfig], Transport] = open_transport,
    ) -> None:
        self.stream = stream
        self.statistics = Statistics()
        self._open = transport
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._workers = Workers(stream.options["CONCURRENCY"], f"kinesis-{stream.alias}")
        self._stripes = [threading.Lock() for _ in range(STRIPES)]
        self._last: dict[Hashable, Result] = {}
        self._shards: ShardMap | None = None
        self._shards_at = 0.0

    def __repr__(self) -> str:
        return f"<Producer of stream {self.stream.alias!r}>"

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

    def send(self, records: Sequence[Record], *, seconds: float | None = None) -> list[Result]:
        """Send `records`; return for each, in order, where it landed or why it was rejected.

        What may yet pass is tried for `seconds` from its first failure on (default
        OPTIONS["RETRY_SECONDS"]). A record that is given up takes those of its key that wait
        behind it along. Never raises for what AWS answers: see ``RejectedRecord.error``.
        """
        results: list[Result] = [_UNANSWERED] * len(records)
        run = _Run(self, records, seconds)
        with self._turn(records):
            for final in run.go():
                for (index, _), answer in final:
                    results[index] = answer
        if run.outage is not None:
            unread = _rejection(run.outage)
            results = [unread if answer is _UNANSWERED else answer for answer in results]
        return results

    def stream_records(
        self, records: Iterable[Record], *, seconds: float | None = None
    ) -> Iterator[tuple[Record, Result]]:
        """Send records as they are read, in bounded memory; yield each with its answer.

        Answers come as they arrive, those of one key in order. `records` should not block: the
        answers wait meanwhile. Raises the AwsError of an outage that outlasts `seconds`, after an
        answer for every record that was read.
        """
        run = _Run(self, records, seconds)
        for final in run.go():
            for (_, record), answer in final:
                yield record, answer
        if run.outage is not None:
            raise run.outage

    def failure(self, rejected: RejectedRecord) -> AwsError:
        """Return the error that explains why a record was rejected."""
        if rejected.error is not None:
            return rejected.error
        finding = find("stream", rejected.code)
        path = self.transport.path()
        return explain_as(finding, path, code=rejected.code, message=rejected.message)

    @contextmanager
    def _turn(self, records: Sequence[Record]) -> Iterator[None]:
        """Hold the keys of `records` against other threads' sends; always in one order."""
        stripes = sorted({hash(record.partition_key) % STRIPES for record in records})
        held: list[threading.Lock] = []
        try:
            for stripe in stripes:
                self._stripes[stripe].acquire()
                held.append(self._stripes[stripe])
            yield
        finally:
            for lock in held:
                lock.release()

    # What a run asks for

    def packing(self) -> Packing | None:
        """Return how records are packed now, by a fresh map of the shards; None: not at all."""
        options = self.stream.options
        if not self.keeps_order or options["AGGREGATE"] == "none":
            return None
        most = min(options["AGGREGATE_BYTES"], options["MAX_RECORD_BYTES"])
        shards = self._shard_map() if options["AGGREGATE"] == "shard" else None
        return ByKey(most) if shards is None else ByShard(most, shards)

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
            logger.warning(
                "Stream %s: no permission for kinesis:ListShards, so AGGREGATE falls back to key",
                self.stream.alias,
            )
        with self._lock:
            self._shards, self._shards_at = shards, time.monotonic()
        return shards

    def forget_shards(self) -> None:
        """Have the next packing ask for the shards anew."""
        with self._lock:
            self._shards_at = 0.0

    def shard_of(self, lane: Hashable) -> str | None:
        """Return the shard that a lane was last seen in."""
        last = self._last.get(lane)
        return last.shard_id if isinstance(last, PutResult) else None

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
            return [*self.put(batch[:middle]), *self.put(batch[middle:])]

    def account(self, done: _Done) -> None:
        """Count an answered request, check that sequence numbers rise, tell the signals."""
        violations = self._fallen(done) if self.keeps_order else 0
        sent, size = len(done.answers), done.request.bytes
        if set(map(type, done.answers)) != _ALL_ACKNOWLEDGED:
            for record, answer in zip(done.request.records, done.answers, strict=True):
                if isinstance(answer, RejectedRecord):
                    sent -= 1
                    size -= record.size
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
            )
        signals.records_sent.send_robust(
            Producer, stream=self.stream.alias, count=sent, bytes=size, seconds=done.seconds
        )

    def _fallen(self, done: _Done) -> int:
        """Remember where each lane stands; return how many sequence numbers did not rise."""
        lanes, answers = done.request.lanes, done.answers
        before = list(map(self._last.get, lanes))
        self._last.update(zip(lanes, answers, strict=True))
        if len(self._last) > REMEMBERED_LANES:
            self._last.clear()
        return sum(
            _fell(old, new)
            for old, new in zip(before, answers, strict=True)
            if old is not None and not _clearly_rose(old, new)
        )

    def submit(
        self, request: Request[Any], answered: Callable[[_Done], object], *, here: bool
    ) -> None:
        """Send a request, `here` or on one of the threads, and have `answered` called with it."""

        def work() -> None:
            started = time.monotonic()
            answers: Sequence[Result] = []
            failure: AwsError | None = None
            try:
                answers = self.put(request.records)
            except AwsError as error:
                failure = error
            answered(_Done(request, answers, failure, time.monotonic() - started))

        if here:
            work()
        else:
            self._workers.run(work)


def _clearly_rose(before: Result, after: Result) -> bool:
    """Compare cheaply: texts of one length compare as the integers that they are."""
    if isinstance(before, PutResult) and isinstance(after, PutResult):
        old, new = before.sequence_number, after.sequence_number
        return len(old) == len(new) and old < new
    return False


def _fell(before: Result, after: Result) -> bool:
    """Tell whether the sequence number of a lane fell or stood still within one shard."""
    return (
        isinstance(before, PutResult)
        and isinstance(after, PutResult)
        and before.shard_id == after.shard_id
        and int(before.sequence_number) >= int(after.sequence_number)
    )


class _Run:
    """One call of ``send``: drives a schedule until everything is answered."""

    def __init__(
        self, producer: Producer, records: Iterable[Record], seconds: float | None
    ) -> None:
        self._producer = producer
        self._records = records
        options = producer.stream.options
        self._retry_seconds = options["RETRY_SECONDS"] if seconds is None else seconds
        self._concurrency = options["CONCURRENCY"]
        self._answered: SimpleQueue[_Done] = SimpleQueue()
        self._attempts = 0
        self._down_since: float | None = None
        self._rest_until = 0.0
        self._map_is_old = False
        self.outage: AwsError | None = None
        """What ended the run before everything was sent."""

    def go(self) -> Iterator[Final]:
        """Send; yield final answers by the request."""
        try:
            schedule = self._schedule = self._make_schedule()
        except AwsError as error:
            self.outage = error
            return
        while not schedule.finished:
            self._dispatch(schedule)
            done = self._wait(schedule)
            if done is not None and (final := self._take(schedule, done)):
                yield self._told(final)
        with self._producer._lock:  # noqa: SLF001 - its other half
            self._producer.statistics.retried += schedule.retried
            self._producer.statistics.short_requests += schedule.short_requests

    def _make_schedule(self) -> Schedule[Any]:
        producer = self._producer
        options = producer.stream.options
        limits = Limits(
            records=MAX_RECORDS,
            bytes=options["MAX_REQUEST_BYTES"],
            buffered_bytes=BUFFERED_REQUESTS * options["MAX_REQUEST_BYTES"],
            buffered_records=BUFFERED_RECORDS,
        )
        if not producer.keeps_order:
            return RelaxedSchedule(self._records, limits, self._retry_seconds)
        shard_of = producer.shard_of
        if packing := producer.packing():
            return PackedSchedule(self._records, limits, self._retry_seconds, packing, shard_of)
        return PlainSchedule(self._records, limits, self._retry_seconds, shard_of)

    def _dispatch(self, schedule: Schedule[Any]) -> None:
        """Send as many requests as may be under way."""
        if self._map_is_old:
            # Packed for shards that are no more: wait for what is under way, then pack anew.
            if schedule.in_flight:
                return
            self._producer.forget_shards()
            assert isinstance(schedule, PackedSchedule)  # noqa: S101 - only it has a map
            try:
                packing = self._producer.packing()
                assert packing is not None  # noqa: S101 - AGGREGATE is "shard"
                schedule.repack(packing)
            except AwsError as error:
                self._suffer(error, schedule)
                return
            self._map_is_old = False
        while schedule.in_flight < self._concurrency:
            now = time.monotonic()
            if now < self._rest_until or not (request := schedule.next_request(now)):
                return
            here = self._concurrency == 1 or schedule.is_all(request)
            self._producer.submit(request, self._answered.put, here=here)

    def _wait(self, schedule: Schedule[Any]) -> _Done | None:
        """Wait for an answer, or until something may be sent."""
        now = time.monotonic()
        due = [] if schedule.next_due is None else [schedule.next_due]
        if self._rest_until > now:
            due = [self._rest_until]
        pause = max(0.0, min(due) - now) if due else None
        if not schedule.in_flight:
            time.sleep(pause or 0)
            return None
        try:
            return self._answered.get(timeout=pause if self._idle(schedule) else None)
        except Empty:
            return None

    def _idle(self, schedule: Schedule[Any]) -> bool:
        """Tell whether another request could go before the next answer comes."""
        return schedule.in_flight < self._concurrency and not self._map_is_old

    def _take(self, schedule: Schedule[Any], done: _Done) -> Final:
        if done.error is not None:
            schedule.put_back(done.request)
            return self._suffer(done.error, schedule)
        if self.outage is None:
            self._attempts, self._down_since = 0, None
        self._producer.account(done)
        request, answers = self._misplaced(schedule, done)
        final = schedule.settle(request, answers, time.monotonic())
        if self.outage is not None:
            final += schedule.abandon(_rejection(self.outage))
        return final

    def _misplaced(
        self, schedule: Schedule[Any], done: _Done
    ) -> tuple[Request[Any], Sequence[Result]]:
        """Send again what was packed for one shard and landed on another: the KCL would drop it."""
        request, answers = done.request, done.answers
        if self._producer.stream.options["AGGREGATE"] != "shard":
            return request, answers
        wrong = {
            number
            for number, (lane, answer) in enumerate(zip(request.lanes, answers, strict=True))
            if isinstance(answer, PutResult) and answer.shard_id != lane
        }
        # Without a map (no permission) lanes are keys, and a lone record may land anywhere.
        packed = {
            n for n in wrong if request.records[n] is not schedule.items(request.units[n])[0][1]
        }
        if not packed or not isinstance(self._producer.packing(), ByShard):
            return request, answers
        self._map_is_old = True
        schedule.send_again([request.units[n] for n in sorted(packed)])
        kept = [n for n in range(len(answers)) if n not in packed]
        rest: Request[Any] = Request(
            [request.units[n] for n in kept], lanes=[request.lanes[n] for n in kept]
        )
        return rest, [answers[n] for n in kept]

    def _suffer(self, error: AwsError, schedule: Schedule[Any]) -> Final:
        """Rest after a failure that was no record's own; give up where that is of no use."""
        now = time.monotonic()
        if self.outage is None:
            if error.name == "session-expired" and renew(self._producer.stream):
                return []
            if self._down_since is None:
                self._down_since = now
            rest = jitter(self._attempts)
            self._attempts += 1
            if error.retryable and now + rest < self._down_since + self._retry_seconds:
                self._rest_until = now + rest
                return []
            self.outage = error
        return schedule.abandon(_rejection(self.outage))

    def _told(self, final: Final) -> Final:
        if self._schedule.rejected:
            codes = Counter(self._schedule.rejected)
            self._schedule.rejected.clear()
            signals.records_rejected.send_robust(
                Producer,
                stream=self._producer.stream.alias,
                count=codes.total(),
                codes=dict(codes),
            )
        return final


def _rejection(error: AwsError) -> RejectedRecord:
    return RejectedRecord(error.code, error.message, error)
