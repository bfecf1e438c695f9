"""How much relays log while AWS does not answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: (start, end) in seconds since 1970.
Window = tuple[float, float]
_STAMP = re.compile(r"(\d{9,}\.\d{3}) [A-Z]+ ")
_ORDER = "did not rise"  # as the producer says it of sequence numbers


@dataclass(frozen=True, kw_only=True)
class LogFigures:
    """Of all relays' logs; a line is what begins with a time, not the lines of its traceback."""

    lines: int
    most_in_a_minute: int
    """Of one relay, in any 60 seconds."""
    outage_minutes: float
    """Minutes of AWS failing, times the relays that were there to see it."""
    outage_lines: int
    """Within these."""
    order_violations: int
    """Lines in which the producer says that sequence numbers of a key did not rise."""

    @property
    def a_minute(self) -> float | None:
        """Lines a relay and minute of outage; None where there was no outage."""
        return self.outage_lines / self.outage_minutes if self.outage_minutes else None


def figures(
    logs: Mapping[str, Iterable[str]], lives: Mapping[str, Window], outages: Sequence[Window]
) -> LogFigures:
    """Count; ``logs`` and ``lives`` (from start to end) by relay."""
    joined = merge(outages)
    lines = most = outage_lines = violations = 0
    seconds = 0.0
    for relay, log in logs.items():
        stamps = []
        for line in log:
            violations += _ORDER in line
            if match := _STAMP.match(line):
                stamps.append(float(match[1]))
        lines += len(stamps)
        most = max(most, _most_within(sorted(stamps), 60.0))
        outage_lines += sum(any(a <= at <= b for a, b in joined) for at in stamps)
        born, died = lives[relay]
        seconds += sum(max(0.0, min(b, died) - max(a, born)) for a, b in joined)
    return LogFigures(
        lines=lines,
        most_in_a_minute=most,
        outage_minutes=seconds / 60,
        outage_lines=outage_lines,
        order_violations=violations,
    )


def merge(windows: Iterable[Window]) -> list[Window]:
    """Join the windows that overlap."""
    joined: list[Window] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _most_within(stamps: Sequence[float], seconds: float) -> int:
    most = first = 0
    for last, stamp in enumerate(stamps):
        while stamp - stamps[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
