"""The last hours of a stream, out of the rows that relays add to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Sum, Value
from django.db.models.functions import ExtractMinute, TruncHour

from kinesis_bridge.latency import BUCKETS, percentile
from kinesis_bridge.models import StreamStatistic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

COUNTERS = ("sent", "bytes", "retried", "resent", "throttled", "dead_lettered", *BUCKETS)
SLICE = timedelta(seconds=10)
"""What a row is of: no point has less."""
Sums = dict[str, int]
"""A number for each of COUNTERS."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """How far back, in how large steps."""

    hours: int
    minutes: int
    """Of each point."""

    @property
    def summed(self) -> int:
        """Minutes that the database adds up: a point has one or more of these."""
        return min(self.minutes, 5)

    @property
    def step(self) -> timedelta:
        """The time of each point."""
        return timedelta(minutes=self.minutes)

    def starts(self, now: datetime) -> list[datetime]:
        """Return when each point starts; the last one is not over yet."""
        step = self.step
        last = datetime.fromtimestamp(now.timestamp() // step.total_seconds() * step.seconds, UTC)
        count = self.hours * 60 // self.minutes
        return [last - step * back for back in reversed(range(count))]


WINDOWS = {
    window.hours: window
    for window in (
        Window(hours=1, minutes=1),
        Window(hours=6, minutes=5),
        Window(hours=24, minutes=20),
    )
}
"""By their hours; relays keep the rows of 24."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What happened within one step of a window; rates are per minute."""

    start: datetime
    events: float
    bytes: float
    again: float
    """Records sent again, within their batch or in another."""
    throttled: float
    p50: float | None
    """Seconds from commit to acknowledgement; None where nothing was sent."""
    p95: float | None


def minutes(alias: str, since: datetime, step: int = 1) -> dict[str, dict[datetime, Sums]]:
    """Return the sums of each `step` minutes since then in which something happened, by stream.

    A step divides an hour as every time zone does: 1 or 5 minutes.
    """
    aware = UTC if settings.USE_TZ else None
    minute = ExtractMinute("start", tzinfo=aware)
    rows = (
        StreamStatistic.objects.using(alias)
        .filter(start__gte=since if aware else since.astimezone().replace(tzinfo=None))
        .order_by()
        .annotate(hour=TruncHour("start", tzinfo=aware), minute=minute - minute % Value(step))
        .values("stream", "hour", "minute")
        .annotate(**{f"sum_{name}": Sum(name) for name in COUNTERS})
    )
    found: defaultdict[str, dict[datetime, Sums]] = defaultdict(dict)
    row: dict[str, Any]
    for row in rows:  # type: ignore[assignment]
        start = (row["hour"] + timedelta(minutes=int(row["minute"]))).astimezone(UTC)
        found[row["stream"]][start] = {name: int(row[f"sum_{name}"]) for name in COUNTERS}
    return dict(found)


def points(window: Window, sums: Mapping[datetime, Sums], now: datetime) -> list[Point]:
    """Return the points of a window: rates, also of the last one, which is not over."""
    return list(_points(window, sums, now))


def _points(window: Window, sums: Mapping[datetime, Sums], now: datetime) -> Iterator[Point]:
    starts = window.starts(now)
    steps: defaultdict[int, list[Sums]] = defaultdict(list)
    for minute, each in sums.items():
        steps[(minute - starts[0]) // window.step].append(each)
    for number, start in enumerate(starts):
        of_step = total(steps[number])
        over = min(window.step, max(SLICE, now - start)) / timedelta(minutes=1)
        yield Point(
            start=start,
            events=of_step["sent"] / over,
            bytes=of_step["bytes"] / over,
            again=(of_step["retried"] + of_step["resent"]) / over,
            throttled=of_step["throttled"] / over,
            p50=latency(of_step, 0.5),
            p95=latency(of_step, 0.95),
        )


def total(sums: Iterable[Sums]) -> Sums:
    """Add up."""
    result = dict.fromkeys(COUNTERS, 0)
    for each in sums:
        for name, number in each.items():
            result[name] += number
    return result


def latency(sums: Sums, share: float) -> float | None:
    """Return the percentile of what was counted, in seconds."""
    return percentile([sums[name] for name in BUCKETS], share)
