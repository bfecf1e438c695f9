"""Numbers of an interval, and the line that says them.

Source: "Embedded metric format specification", Amazon CloudWatch User Guide: at most 100 metrics in
a directive, at most 100 values of one metric, units as PutMetricData has them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNITS = {
    "RecordsSent": "Count",
    "BytesSent": "Bytes",
    "RecordsRetried": "Count",
    "OrderViolations": "Count",
    "EventsSent": "Count",
    "EventsRetried": "Count",
    "EventsDeadLettered": "Count",
    "DeliverySeconds": "Seconds",
    "BacklogEvents": "Count",
    "BacklogOldestSeconds": "Seconds",
    "DeadLetters": "Count",
}
"""Every metric there is, and its unit."""
MAX_VALUES = 100
KEPT_OF_A_BATCH = 20


class Ages:
    """A distribution in bounded memory: of each batch a few of its quantiles."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, float]] = []
        """Ages, and how many events each stands for."""

    def add(self, ages: Sequence[float]) -> None:
        """Add a batch."""
        kept = _quantiles(sorted(ages), KEPT_OF_A_BATCH)
        weight = len(ages) / len(kept) if kept else 0
        self._kept += [(age, weight) for age in kept]

    def values(self) -> list[float]:
        """Return up to 100 ages of which each stands for as many events; with the oldest."""
        kept = sorted(self._kept)
        if len(kept) <= MAX_VALUES:
            return [round(age, 6) for age, _ in kept]
        step = sum(weight for _, weight in kept) / MAX_VALUES
        found: list[float] = []
        passed = 0.0
        for age, weight in kept:
            passed += weight
            while len(found) < MAX_VALUES and passed >= (len(found) + 0.5) * step:
                found.append(age)
        found[-1] = kept[-1][0]
        return [round(age, 6) for age in found]


def _quantiles(ordered: Sequence[float], most: int) -> Sequence[float]:
    if len(ordered) <= most:
        return ordered
    step = len(ordered) / most
    return [*(ordered[int((n + 0.5) * step)] for n in range(most - 1)), ordered[-1]]


class Numbers:
    """What one set of dimensions has to say of an interval."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.ages = Ages()

    def line(self, namespace: str, dimensions: Mapping[str, str], moment: float) -> str:
        """Return the line; `moment`: seconds since the epoch."""
        # "Dimension", CloudWatch API Reference: ASCII only. An alias may be in any script.
        dimensions = {
            name: value.encode("ascii", "backslashreplace").decode()
            for name, value in dimensions.items()
        }
        values: dict[str, float | list[float]] = dict(self.counts)
        if ages := self.ages.values():
            values["DeliverySeconds"] = ages
        metadata = {
            "Timestamp": int(moment * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": namespace,
                    "Dimensions": [list(dimensions)],
                    "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
                }
            ],
        }
        return orjson.dumps({"_aws": metadata, **dimensions, **values}).decode()
