"""Which record may go next: pure bookkeeping, no I/O, one thread.

The order of a lane survives whatever fails, because a lane has at most one unit under way, and none
behind one that failed until that is acknowledged or given up. Times are seconds of a monotonic
clock, passed in by the caller.

:mod:`.plain` sends one event a record, :mod:`.packed` many.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, repeat
from typing import TYPE_CHECKING, Generic, TypeVar

from kinesis_bridge.event import PutResult, RejectedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from kinesis_bridge.event import Record, Result

    from .packing import Item, Packed

    Final = list[tuple[Sequence[Item], Iterable[Result]]]
    """Records that are answered for good: some of them, and as many answers."""

BASE_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 5.0
THROTTLED = "ProvisionedThroughputExceededException"
_ACKNOWLEDGED = {PutResult}
U = TypeVar("U")


def jitter(attempts: int) -> float:
    """Return a full-jitter pause in seconds, before attempt number `attempts` + 1.

    "Exponential Backoff And Jitter", AWS Architecture Blog.
    """
    return random.uniform(0, min(MAX_PAUSE_SECONDS, BASE_PAUSE_SECONDS * 2 ** min(attempts, 20)))  # noqa: S311  # nosec B311


def all_acknowledged(answers: Iterable[Result]) -> bool:
    """Tell, fast, whether every record was acknowledged; False where there is none."""
    return set(map(type, answers)) == _ACKNOWLEDGED


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and the memory between, may hold."""

    records: int
    """Records a request."""
    bytes: int
    """Bytes a request, keys included."""
    buffered_bytes: int
    """Bytes taken from the source that wait for their lane."""
    buffered_records: int
    """The same in records."""


@dataclass(slots=True)
class Request(Generic[U]):
    """What goes at once: no two units of one lane."""

    units: list[U]
    """What is answered one by one."""
    bytes: int = 0
    """Size of the records, keys included."""
    records: list[Record] = field(default_factory=list)
    """What is sent, one for each unit; where there are `packed` ones, once they are prepared."""
    packed: list[Packed] = field(default_factory=list)
    """What is still to be put together."""
    lanes: list[Hashable] = field(default_factory=list)
    """The lane of each unit."""
    marks: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """How far each shard had come when it left."""

    def prepare(self) -> list[Record]:
        """Return the records, put together."""
        if self.packed:
            self.records = [packed.record() for packed in self.packed]
        return self.records


@dataclass(slots=True)
class _Trouble:
    """A lane whose last unit failed."""

    attempts: int
    since: float


class Schedule(ABC, Generic[U]):
    """Feeds on records, hands out requests, takes their answers."""

    def __init__(
        self,
        records: Iterable[Record],
        limits: Limits,
        retry_seconds: float,
        shard_of: Callable[[Hashable], str | None] = lambda _: None,
    ) -> None:
        """`shard_of` tells in which shard a lane was last seen, where that is known."""
        self._source: Iterator[Item] | None = enumerate(records)
        self._limits = limits
        self._retry_seconds = retry_seconds
        self._shard_of = shard_of
        self._due: deque[U] = deque()
        """Units that may go at once: retries, leftovers, successors of acknowledged ones."""
        self._delayed: list[tuple[float, int, U]] = []
        self._delayed_bytes = 0
        self._order = count()
        self._troubles: dict[Hashable, _Trouble] = {}
        self._paused: dict[str, float] = {}
        """Throttled shards, and until when."""
        self._throttled: dict[str, int] = {}
        """How often in a row a shard throttled."""
        self._failing_since = self._failed_at = float("-inf")
        """When records began to fail with none acknowledged since, and when the last one did."""
        self._open = 0
        """Records taken from the source and not answered."""
        self._waiting = 0
        """Those of them that wait behind another one of their lane."""
        self._waiting_bytes = 0
        self.rejected: list[str] = []
        """Codes of the records rejected since somebody looked, one for each."""
        self.in_flight = 0
        """Requests under way."""
        self.throttled = 0
        """Records that were refused because there were too many."""
        self.retried = 0
        """Units sent again."""
        self.short_requests = 0
        """Requests that left with room while records waited for their own lane."""

    @property
    def finished(self) -> bool:
        """Whether everything was answered."""
        return self._source is None and not self._open

    @property
    def next_due(self) -> float | None:
        """When a delayed unit is due; None where none waits."""
        return self._delayed[0][0] if self._delayed else None

    def is_all(self, request: Request[U]) -> bool:
        """Tell whether `request` is all there is left to send."""
        return self._source is None and self._open == sum(map(len, map(self.items, request.units)))

    def next_request(self, now: float) -> Request[U] | None:
        """Return the next request; None where nothing may go now."""
        while self._delayed and self._delayed[0][0] <= now:
            unit = heappop(self._delayed)[2]
            self._delayed_bytes -= self._size(unit)
            self._due.append(unit)
        if self._paused:
            self._hold_back(now)
        request: Request[U] = Request([])
        self._fill(request)
        if not request.units:
            return None
        self.in_flight += 1
        if len(request.units) < self._limits.records // 2 < self._waiting:
            self.short_requests += 1
        return request

    def look_ahead(self) -> None:
        """Do now, while answers are awaited, what the next request will need."""

    @abstractmethod
    def items(self, unit: U) -> list[Item]:
        """Return the records of a unit, with their numbers."""

    @abstractmethod
    def _fill(self, request: Request[U]) -> None:
        """Add the units that may go, within the limits."""

    @abstractmethod
    def _free(self, lane: Hashable) -> None:
        """Let the next unit of `lane` go."""

    @abstractmethod
    def _behind_of(self, lane: Hashable) -> list[Item]:
        """Remove a lane; return what waited in it."""

    def _hold_back(self, now: float) -> None:
        """Put off the units whose shard asks for a rest."""
        self._paused = {shard: until for shard, until in self._paused.items() if until > now}
        for _ in range(len(self._due)):
            unit = self._due.popleft()
            until = self._paused.get(self._shard_of(self._lane(unit)) or "")
            if until is None:
                self._due.append(unit)
            else:
                self._delay(unit, until)

    def _delay(self, unit: U, until: float) -> None:
        self._delayed_bytes += self._size(unit)
        heappush(self._delayed, (until, next(self._order), unit))

    @abstractmethod
    def _lane(self, unit: U) -> Hashable:
        """Return the lane of a unit."""

    @abstractmethod
    def _size(self, unit: U) -> int:
        """Return the bytes of a unit's record."""

    def _full(self) -> bool:
        """Tell whether to read no more: what failed takes up memory as what waits does."""
        limits = self._limits
        return (
            self._waiting + len(self._delayed) >= limits.buffered_records
            or self._waiting_bytes + self._delayed_bytes >= limits.buffered_bytes
        )

    # Answers

    def settle(
        self, request: Request[U], answers: Sequence[Result], now: float, *, whole: bool
    ) -> Final:
        """Take a request's answers; return the records that are answered for good.

        `whole` says that every record was acknowledged.
        """
        self.in_flight -= 1
        if whole and not self._troubles:
            self._failed_at = float("-inf")
            return self._acknowledge(request, answers)
        final: Final = []
        rests: dict[str | int, float] = {}
        for unit, lane, answer in zip(request.units, request.lanes, answers, strict=True):
            if isinstance(answer, RejectedRecord):
                if not answer.poison:
                    final += self._fail(unit, lane, answer, now, rests)
                    continue
                if self._split(unit):
                    continue
            items = self.items(unit)
            final.append((items, repeat(answer, len(items))))
            self._open -= len(items)
            if isinstance(answer, RejectedRecord):
                self.rejected += [answer.code] * len(items)
            self._troubles.pop(lane, None)
            self._free(lane)
            if isinstance(answer, PutResult):
                self._throttled.pop(answer.shard_id, None)
                self._failed_at = float("-inf")
        return final

    def _acknowledge(self, request: Request[U], answers: Sequence[Result]) -> Final:
        final: Final = []
        for unit, lane, answer in zip(request.units, request.lanes, answers, strict=True):
            items = self.items(unit)
            final.append((items, repeat(answer, len(items))))
            self._open -= len(items)
            self._free(lane)
        return final

    def _split(self, unit: U) -> bool:  # noqa: ARG002 - for what is packed
        """Send a poisonous unit in smaller ones; False where it is one record."""
        return False

    def _fail(
        self,
        unit: U,
        lane: Hashable,
        answer: RejectedRecord,
        now: float,
        rests: dict[str | int, float],
    ) -> Final:
        trouble = self._troubles.get(lane)
        if trouble is None:
            trouble = self._troubles[lane] = _Trouble(0, self._since(now))
        # One pause for all of a request that failed as often: they go again together.
        due = rests.setdefault(trouble.attempts, now + jitter(trouble.attempts))
        if answer.code == THROTTLED:
            self.throttled += 1
        if answer.code == THROTTLED and (shard := self._shard_of(lane)):
            # The shard is over its rate, not the key: all its lanes rest, once for this request.
            if shard not in rests:
                often = self._throttled.get(shard, 0)
                rests[shard] = self._paused[shard] = now + jitter(often)
                self._throttled[shard] = often + 1
            due = rests[shard]
        trouble.attempts += 1
        if due >= trouble.since + self._retry_seconds:
            # What waits behind it goes too: sent now, it would overtake.
            del self._troubles[lane]
            return self._reject([*self.items(unit), *self._behind_of(lane)], answer)
        self.retried += 1
        self._delay(unit, due)
        return []

    def _since(self, now: float) -> float:
        """Return when the trouble began: where nothing passes at all, one deadline is for all."""
        if now > self._failed_at + 2 * MAX_PAUSE_SECONDS:
            self._failing_since = now
        self._failed_at = now
        return self._failing_since

    def _reject(self, items: list[Item], answer: RejectedRecord) -> Final:
        self._open -= len(items)
        self.rejected += [answer.code] * len(items)
        return [(items, repeat(answer, len(items)))] if items else []

    def put_back(self, request: Request[U]) -> None:
        """Take back a request that failed as a whole: it goes first when sending goes on."""
        self.in_flight -= 1
        self.send_again(request.units)

    def send_again(self, units: Sequence[U]) -> None:
        """Take back units that went in vain; their lanes are still theirs."""
        self.retried += len(units)
        self._due.extendleft(reversed(units))

    def abandon(self, answer: RejectedRecord) -> Final:
        """Reject everything that is not under way, and read no more."""
        self._source = None
        return self._reject(self.recall(), answer)

    def recall(self) -> list[Item]:
        """Remove everything that is not under way; return it in the order given."""
        units = [*self._due, *(entry[2] for entry in self._delayed)]
        self._due.clear()
        self._delayed.clear()
        self._delayed_bytes = 0
        items = [item for unit in units for item in self.items(unit)]
        for unit in units:
            items += self._behind_of(self._lane(unit))
        return sorted(items + self._recall_waiting())

    @abstractmethod
    def _recall_waiting(self) -> list[Item]:
        """Remove and return what waits in the lanes that are left."""
