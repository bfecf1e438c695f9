"""Points -> the paths of a chart, in a square of 100 by 100 that is stretched to its place.

Only lines are drawn: words stay with the page, so that they neither stretch nor shrink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZE = 100.0
SHORTEST, LONGEST = -2, 4
"""Powers of ten: latencies are drawn from 10 ms to 10,000 s."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    path: str
    """SVG path data; empty where there is nothing to draw."""
    area: str
    """The same, closed along the bottom."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines on one scale."""

    lines: tuple[Line, ...]
    ticks: tuple[float, ...]
    """Values of the scale from top to bottom, evenly apart on the paper."""

    @property
    def rules(self) -> tuple[str, ...]:
        """Where the ticks are on the paper, from the top; text, as no locale may change it."""
        return tuple(str(_round(SIZE * n / (len(self.ticks) - 1))) for n in range(len(self.ticks)))


def linear(*series: Sequence[float | None], binary: bool = False) -> Chart:
    """Draw from 0 to a round number; `binary`: one that is round in KiB, MiB ..."""
    most = max((value for line in series for value in line if value), default=0.0)
    top = _round_up(most, 1024.0 if binary else 1000.0)
    return Chart(
        lines=tuple(_line(line, lambda value: value / top) for line in series),
        ticks=(top, top / 2, 0.0),
    )


def logarithmic(*series: Sequence[float | None]) -> Chart:
    """Draw seconds by their powers of ten: what is usual and what is bad are both seen."""
    most = max((value for line in series for value in line if value), default=0.0)
    top = SHORTEST + 1
    while top < LONGEST and most > 10.0**top:
        top += 1

    def height(value: float) -> float:
        power = math.log10(max(value, 10.0**SHORTEST)) if math.isfinite(value) else top
        return (min(power, top) - SHORTEST) / (top - SHORTEST)

    return Chart(
        lines=tuple(_line(line, height) for line in series),
        ticks=tuple(10.0**power for power in range(top, SHORTEST - 1, -1)),
    )


def _line(values: Sequence[float | None], height: Callable[[float], float]) -> Line:
    step = SIZE / max(1, len(values) - 1)
    runs: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_round(number * step)} {_round(SIZE * (1 - height(value)))}")
    runs = [run for run in runs if run]
    return Line(
        # A run of one point is a dot: its line goes nowhere and has round ends.
        path=" ".join(f"M{' L'.join(run if run[1:] else run * 2)}" for run in runs),
        area=" ".join(
            f"M{run[0].split()[0]} {SIZE:g} L{' L'.join(run)} L{run[-1].split()[0]} {SIZE:g} Z"
            for run in runs
        ),
    )


def _round(number: float) -> float | int:
    rounded = round(number, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _round_up(most: float, base: float) -> float:
    """Return 1, 2, 5, 10 ... 500 times a power of `base` that is not below `most`."""
    unit = 1.0
    while unit * base < most:
        unit *= base
    rounds = (unit * step * ten for ten in (1, 10, 100) for step in (1, 2, 5))
    return next((each for each in rounds if each >= most), unit * base)
