"""Gauges of what waits: asked of the databases when they are scraped, so that none is stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kinesis_bridge.contrib.backlog import read_backlog

if TYPE_CHECKING:
    from collections.abc import Iterator

_OUTBOX = ("stream", "database")


class BacklogCollector(Collector):
    """What waits, by stream and database. A database that cannot be read breaks no scrape."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics without values: to be registered asks no database."""
        yield from _families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Ask the databases."""
        up, relays, pending, oldest, dead, paused = families = _families()
        for status in read_backlog():
            up.add_metric([status.database], int(status.error is None))
            if status.error is not None:
                continue
            relays.add_metric([status.database], len(status.relays))
            for stream in status.streams:
                labels = [stream.stream, status.database]
                pending.add_metric(labels, stream.pending)
                oldest.add_metric(labels, stream.age_seconds or 0.0)
                dead.add_metric(labels, stream.dead_letters)
                paused.add_metric(labels, int(stream.paused is not None))
        yield from families


def _families() -> tuple[GaugeMetricFamily, ...]:
    return (
        GaugeMetricFamily(
            "kinesis_bridge_database_up",
            "1 where the outbox could be read just now.",
            labels=["database"],
        ),
        GaugeMetricFamily(
            "kinesis_bridge_relays", "Relays that say that they run.", labels=["database"]
        ),
        GaugeMetricFamily(
            "kinesis_bridge_backlog_events", "Events that wait in the outbox.", labels=_OUTBOX
        ),
        GaugeMetricFamily(
            "kinesis_bridge_backlog_oldest_seconds",
            "Age of the oldest event that waits; 0 where none does.",
            labels=_OUTBOX,
        ),
        GaugeMetricFamily("kinesis_bridge_dead_letters", "Dead letters there are.", labels=_OUTBOX),
        GaugeMetricFamily(
            "kinesis_bridge_stream_paused",
            "1 while somebody has paused the stream.",
            labels=_OUTBOX,
        ),
    )
