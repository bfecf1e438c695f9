"""How long events take from their commit to their acknowledgement, in a few counters.

Counters of fixed buckets can be added up, over relays and over time, and still tell percentiles.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKETS: dict[str, float] = {
    "within_10ms": 0.01,
    "within_20ms": 0.02,
    "within_50ms": 0.05,
    "within_100ms": 0.1,
    "within_200ms": 0.2,
    "within_500ms": 0.5,
    "within_1s": 1.0,
    "within_2s": 2.0,
    "within_5s": 5.0,
    "within_10s": 10.0,
    "within_30s": 30.0,
    "within_1min": 60.0,
    "within_5min": 300.0,
    "within_30min": 1800.0,
    "slower": float("inf"),
}
"""Field of StreamStatistic -> the longest latency that it counts, in seconds."""
_EDGES = tuple(BUCKETS.values())


def count(ages: Sequence[float]) -> dict[str, int]:
    """Return how many of `ages`, in seconds, fall into each bucket, but for the empty ones."""
    ordered = sorted(ages)
    places = [0, *(bisect_right(ordered, edge) for edge in _EDGES)]
    return {
        name: upper - lower
        for name, (lower, upper) in zip(BUCKETS, pairwise(places), strict=True)
        if upper > lower
    }


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Return the latency in seconds that `share` (0 to 1) of the events did not exceed.

    `counts` are in the order of :data:`BUCKETS`; within a bucket the events are taken to be spread
    evenly. None where there are no events, ``inf`` where it is in the last bucket.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, seen, lower = share * total, 0, 0.0
    for number, upper in zip(counts, _EDGES, strict=True):
        if number and seen + number >= wanted:
            return lower + (upper - lower) * max(0.0, wanted - seen) / number
        seen, lower = seen + number, upper
    return lower
