"""A stream as the page shows it: its figures, and its charts with their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from kinesis_bridge.dashboard import charts
from kinesis_bridge.templatetags.kinesis_bridge import number, seconds, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinesis_bridge.dashboard import StreamView
    from kinesis_bridge.dashboard.charts import Chart


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart."""

    label: str
    column: str
    """Its column in the table of the figures, from 0."""
    path: str
    area: str
    """Empty: only a line is drawn."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A chart with its words."""

    title: str
    series: tuple[Series, ...]
    ticks: tuple[str, ...]
    """From top to bottom."""
    rules: tuple[str, ...]
    """Where they are, from the top, in percent."""


def panels(view: StreamView) -> list[Panel]:
    """Return the charts of a stream."""
    points = view.points
    events = charts.linear([point.events for point in points])
    volume = charts.linear([point.bytes for point in points], binary=True)
    delay = charts.logarithmic([p.p50 for p in points], [p.p95 for p in points])
    again = charts.linear([p.again for p in points], [p.throttled for p in points])
    return [
        _panel(_("Events per minute"), events, number, {_("events"): 1}),
        _panel(_("Bytes per minute"), volume, size, {_("bytes"): 2}),
        _panel(
            _("Latency, commit to acknowledged"),
            delay,
            seconds,
            {_("half within"): 3, _("95 % within"): 4},
        ),
        _panel(
            _("Records sent again, per minute"),
            again,
            number,
            {_("sent again"): 5, _("throttled"): 6},
        ),
    ]


def _panel(
    title: str, chart: Chart, words: Callable[[float], str], columns: dict[str, int]
) -> Panel:
    alone = len(chart.lines) == 1
    return Panel(
        title=title,
        series=tuple(
            Series(label=label, column=str(column), path=line.path, area=line.area if alone else "")
            for (label, column), line in zip(columns.items(), chart.lines, strict=True)
        ),
        ticks=tuple(words(tick) for tick in chart.ticks),
        rules=chart.rules,
    )
