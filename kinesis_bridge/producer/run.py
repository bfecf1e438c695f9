"""One call of ``send``: drives a schedule until everything is answered."""

from __future__ import annotations

import time
from collections import Counter
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from kinesis_bridge import signals
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import AwsError, ThrottledError
from kinesis_bridge.session import renew
from kinesis_bridge.transport import MAX_RECORDS

from .packed import PackedSchedule
from .packing import ByShard
from .plain import PlainSchedule, RelaxedSchedule
from .positions import Positions
from .schedule import Limits, Request, Schedule, jitter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kinesis_bridge.event import Record, Result

    from .link import Done, Link
    from .packing import Item, Packing
    from .schedule import Final

BUFFERED_REQUESTS = 4
# Of a larger request hashing and sending take most of the time, and other threads run meanwhile.
SMALL_BYTES = 256 * 1024
BUFFERED_RECORDS = 20_000


class Run:
    """One call of ``send``: drives a schedule until everything is answered."""

    def __init__(self, link: Link, records: Iterable[Record], seconds: float | None) -> None:
        self._link = link
        self._records = records
        options = link.stream.options
        self._retry_seconds = options["RETRY_SECONDS"] if seconds is None else seconds
        self._concurrency = options["CONCURRENCY"]
        self._answered: SimpleQueue[Done] = SimpleQueue()
        self._attempts = 0
        self._down_since: float | None = None
        self._rest_until = 0.0
        self._packing: Packing | None = None
        self._map_is_old = False
        self._positions = link.positions
        self.outage: AwsError | None = None
        """What ended the run before everything was sent."""
        self.retried = self.throttled = 0
        """Records sent again, and records refused for being too many; once it is over."""

    def go(self) -> Iterator[tuple[Sequence[Item], Iterable[Result]]]:
        """Send; yield records with their final answers, some at a time."""
        schedule = self._open()
        if schedule is None:
            return
        try:
            while not schedule.finished:
                if final := self._dispatch(schedule):
                    yield from self._told(schedule, final)
                done = self._wait(schedule)
                if done is not None and (final := self._take(schedule, done)):
                    yield from self._told(schedule, final)
        finally:
            self.retried, self.throttled = schedule.retried, schedule.throttled
            self._link.note(schedule)

    def _open(self) -> Schedule[Any] | None:
        """Make the schedule, which may ask AWS for the shards; None after an outage."""
        while True:
            try:
                return self._make_schedule()
            except AwsError as error:
                if not self._goes_on(error):
                    self.outage = error
                    return None
                time.sleep(max(0.0, self._rest_until - time.monotonic()))

    def _make_schedule(self) -> Schedule[Any]:
        link = self._link
        options = link.stream.options
        limits = Limits(
            records=MAX_RECORDS,
            bytes=min(options["MAX_REQUEST_BYTES"], link.transport.max_bytes),
            buffered_bytes=BUFFERED_REQUESTS * options["MAX_REQUEST_BYTES"],
            buffered_records=BUFFERED_RECORDS,
        )
        if not link.keeps_order:
            return RelaxedSchedule(self._records, limits, self._retry_seconds)
        shard_of = link.positions.shard_of
        if packing := link.packing():
            self._pack(packing)
            return PackedSchedule(self._records, limits, self._retry_seconds, packing, shard_of)
        return PlainSchedule(self._records, limits, self._retry_seconds, shard_of)

    def _dispatch(self, schedule: Schedule[Any]) -> Final:
        """Send as many requests as may be under way; return what is given up instead."""
        if self._map_is_old:
            # Packed for shards that are no more: wait for what is under way, then pack anew.
            if schedule.in_flight:
                return []
            try:
                self._repack(schedule)
            except AwsError as error:
                return self._suffer(error, schedule)
        while schedule.in_flight < self._concurrency:
            now = time.monotonic()
            if now < self._rest_until or not (request := schedule.next_request(now)):
                break
            request.marks = self._positions.marks()
            alone = self._concurrency == 1 or schedule.is_all(request)
            here = alone or (request.bytes < SMALL_BYTES and self._link.is_quick())
            self._link.submit(request, self._answered.put, here=here)
            if here:  # answered already: its lanes are free for the next
                break
        return []

    def _repack(self, schedule: Schedule[Any]) -> None:
        assert isinstance(schedule, PackedSchedule)  # noqa: S101 - only it has a map  # nosec B101
        assert isinstance(self._packing, ByShard)  # noqa: S101  # nosec B101
        self._link.forget_shards()
        packing = self._link.packing(unlike=self._packing)
        assert packing is not None  # noqa: S101 - AGGREGATE is "shard"  # nosec B101
        schedule.repack(packing)
        self._pack(packing)
        self._map_is_old = False

    def _pack(self, packing: Packing) -> None:
        self._packing = packing
        # Where a lane is a shard, other runs send to it as well.
        by_shard = isinstance(packing, ByShard)
        self._positions = Positions() if by_shard else self._link.positions

    def _wait(self, schedule: Schedule[Any]) -> Done | None:
        """Wait for an answer, or until something may be sent."""
        now = time.monotonic()
        due = [] if schedule.next_due is None else [schedule.next_due]
        if self._rest_until > now:
            due = [self._rest_until]
        pause = max(0.0, min(due) - now) if due else None
        if not schedule.in_flight:
            time.sleep(pause or 0)
            return None
        schedule.look_ahead()
        try:
            return self._answered.get(timeout=pause if self._idle(schedule) else None)
        except Empty:
            return None

    def _idle(self, schedule: Schedule[Any]) -> bool:
        """Tell whether another request could go before the next answer comes."""
        return schedule.in_flight < self._concurrency and not self._map_is_old

    def _take(self, schedule: Schedule[Any], done: Done) -> Final:
        if done.error is not None:
            if not isinstance(done.error, AwsError):
                raise done.error
            schedule.put_back(done.request)
            if isinstance(done.error, ThrottledError):
                schedule.throttled += len(done.request.units)
            self._link.tell_failure(done, done.error)
            return self._suffer(done.error, schedule)
        if self.outage is None:
            self._attempts, self._down_since = 0, None
        self._link.account(done, self._positions)
        request, answers = self._misplaced(schedule, done)
        final = schedule.settle(request, answers, time.monotonic(), whole=done.whole)
        if self.outage is not None:
            final += schedule.abandon(rejection(self.outage))
        return final

    def _misplaced(
        self, schedule: Schedule[Any], done: Done
    ) -> tuple[Request[Any], Sequence[Result]]:
        """Send again what was packed for one shard and landed on another: the KCL would drop it."""
        request, answers = done.request, done.answers
        if not isinstance(self._packing, ByShard):
            return request, answers
        wrong = {
            number
            for number, (lane, answer) in enumerate(zip(request.lanes, answers, strict=True))
            if isinstance(answer, PutResult) and answer.shard_id != lane
        }
        # A lone record goes by its own key: it is right wherever it lands.
        packed = {n for n in wrong if not request.packed[n].is_one}
        if not packed:
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
        if self.outage is None:
            if self._goes_on(error):
                return []
            self.outage = error
        return schedule.abandon(rejection(self.outage))

    def _goes_on(self, error: AwsError) -> bool:
        """Tell whether to send again after `error`, and when."""
        if error.name == "session-expired" and renew(self._link.stream):
            return True
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
        rest = jitter(self._attempts)
        self._attempts += 1
        if not error.retryable or now + rest >= self._down_since + self._retry_seconds:
            return False
        self._rest_until = now + rest
        return True

    def _told(self, schedule: Schedule[Any], final: Final) -> Final:
        if schedule.rejected:
            self.tell(schedule.rejected)
            schedule.rejected.clear()
        return final

    def tell(self, rejected: list[str]) -> None:
        """Send the signal for rejected records: a code for each."""
        codes = Counter(rejected)
        signals.records_rejected.send_robust(
            Run, stream=self._link.stream.alias, count=codes.total(), codes=dict(codes)
        )


def rejection(error: AwsError) -> RejectedRecord:
    """Return the answer for a record that could not be sent because of `error`."""
    return RejectedRecord(error.code, error.message, error)
