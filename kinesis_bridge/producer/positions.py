"""Where each lane stands in its shard, and whether its sequence numbers rise."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from kinesis_bridge.event import PutResult

REMEMBERED_LANES = 100_000
REMEMBERED_RECORDS = 20_000
"""Of the last requests: where lanes have to be compared, an older one's place is forgotten."""
_Marks = dict[str, tuple[int, str]]
"""Sequence numbers by shard: digits before the text, so that they compare as the integers."""


class Positions:
    """What was acknowledged last, by lane and by shard. Safe for several threads.

    A number above all that its shard had acknowledged when the request left is above its lane's
    last one too, so lanes are compared one by one only where that does not hold: AWS promises a
    rise for the key alone (PutRecords, Kinesis Data Streams API Reference).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._highest: _Marks = {}
        self._last: dict[Hashable, PutResult] = {}
        self._recent: deque[tuple[Sequence[Hashable], Sequence[PutResult]]] = deque()
        """The last that were acknowledged, and are not yet in `_last`."""
        self._recent_records = 0

    def marks(self) -> Mapping[str, tuple[int, str]]:
        """Return how far each shard has come: what the numbers of the next request must exceed."""
        with self._lock:
            return self._highest.copy()

    def advance(
        self,
        lanes: Sequence[Hashable],
        answers: Sequence[PutResult],
        marks: Mapping[str, tuple[int, str]],
    ) -> int:
        """Take the answers to a request that left at `marks`; return how many did not rise."""
        lows, highs = _range(answers)
        with self._lock:
            known = self._highest
            for shard, high in highs.items():
                if shard not in known or high > known[shard]:
                    known[shard] = high
            if all(shard not in marks or low > marks[shard] for shard, low in lows.items()):
                self._keep(lanes, answers)
                return 0
            self._fold()
            before = list(map(self._last.get, lanes))
            self._keep(lanes, answers)
        return sum(map(_fell, before, answers))

    def shard_of(self, lane: Hashable) -> str | None:
        """Return the shard that a lane was last seen in."""
        with self._lock:
            self._fold()
            last = self._last.get(lane)
        return None if last is None else last.shard_id

    def _keep(self, lanes: Sequence[Hashable], answers: Sequence[PutResult]) -> None:
        self._recent.append((lanes, answers))
        self._recent_records += len(lanes)
        while self._recent_records > REMEMBERED_RECORDS:
            self._recent_records -= len(self._recent.popleft()[0])

    def _fold(self) -> None:
        for lanes, answers in self._recent:
            self._last.update(zip(lanes, answers, strict=True))
        self._recent.clear()
        self._recent_records = 0
        if len(self._last) > REMEMBERED_LANES:
            self._last.clear()


def _range(answers: Sequence[PutResult]) -> tuple[_Marks, _Marks]:
    """Return the lowest and the highest number of each shard."""
    numbers = [answer.sequence_number for answer in answers]
    by_shard: Mapping[str, list[str]]
    if len(shards := {answer.shard_id for answer in answers}) == 1:
        by_shard = dict.fromkeys(shards, numbers)
    else:
        by_shard = defaultdict(list)
        for answer, number in zip(answers, numbers, strict=True):
            by_shard[answer.shard_id].append(number)
    lows: _Marks = {}
    highs: _Marks = {}
    for shard, some in by_shard.items():
        digits = set(map(len, some))
        fewest, most = min(digits), max(digits)
        if fewest == most:
            lows[shard], highs[shard] = (fewest, min(some)), (most, max(some))
        else:
            marks = [(len(number), number) for number in some]
            lows[shard], highs[shard] = min(marks), max(marks)
    return lows, highs


def _fell(before: PutResult | None, after: PutResult) -> bool:
    """Tell whether the sequence number of a lane fell or stood still within one shard."""
    return (
        before is not None
        and before.shard_id == after.shard_id
        and int(before.sequence_number) >= int(after.sequence_number)
    )
