"""Counters and a histogram that the signals move."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from kinesis_bridge import signals
from kinesis_bridge.exceptions import ThrottledError
from kinesis_bridge.findings import FINDINGS

from . import exposition, is_multiprocess
from .backlog import BacklogCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.dispatch import Signal

    from kinesis_bridge.event import Event
    from kinesis_bridge.exceptions import AwsError

_STREAM = ("stream",)
_OUTBOX = ("stream", "database")
_THROTTLED = {code for one in FINDINGS if one.error is ThrottledError for code in one.codes}
# From a relay that is woken at once to an outage of half an hour.
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

PUBLISHED = Counter(
    "kinesis_bridge_events_published",
    "Events handed to their delivery, rolled back or not.",
    _STREAM,
)
SENT = Counter(
    "kinesis_bridge_records_sent", "Records that a stream acknowledged, by any delivery.", _STREAM
)
BYTES = Counter("kinesis_bridge_bytes_sent", "Bytes of those records, keys included.", _STREAM)
REJECTED = Counter(
    "kinesis_bridge_records_rejected", "Records given up by a send.", ("stream", "code")
)
RETRIED = Counter(
    "kinesis_bridge_records_retried", "Records that a request did not get through.", _STREAM
)
THROTTLED = Counter(
    "kinesis_bridge_records_throttled", "Those of them that AWS throttled.", _STREAM
)
FAILED = Counter(
    "kinesis_bridge_requests_failed", "Requests that failed as a whole.", ("stream", "error")
)
VIOLATIONS = Counter(
    "kinesis_bridge_order_violations", "Sequence numbers of a key that did not rise.", _STREAM
)
DEAD = Counter(
    "kinesis_bridge_events_dead_lettered", "Events that became dead letters.", (*_OUTBOX, "code")
)
WAITING = Counter(
    "kinesis_bridge_events_retried", "Events that stayed in the outbox for another batch.", _OUTBOX
)
DELIVERY = Histogram(
    "kinesis_bridge_delivery_seconds",
    "Seconds from an event's commit until the stream acknowledged it.",
    _OUTBOX,
    buckets=SECONDS,
)
DOWN = Gauge(
    "kinesis_bridge_stream_down",
    "1 while a relay of the stream rests after a failure.",
    _STREAM,
    multiprocess_mode="livemax",
)
REFRESHED = Counter(
    "kinesis_bridge_credentials_refreshed", "Credentials that STS gave for a role.", ("role",)
)


def connect() -> None:
    """Have the signals move the metrics, and a relay's port serve them. Twice is once."""
    receivers: dict[Signal, Callable[..., object]] = {
        signals.event_published: _published,
        signals.records_sent: _sent,
        signals.request_failed: _failed,
        signals.records_rejected: _rejected,
        signals.batch_settled: _settled,
        signals.relay_started: _started,
        signals.relay_paused: _paused,
        signals.relay_resumed: _resumed,
        signals.credentials_refreshed: _refreshed,
        signals.metrics_asked: _asked,
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver, dispatch_uid="kinesis_bridge.contrib.prometheus")
    if not (is_multiprocess() or _backlog):
        _backlog.append(BacklogCollector())
        REGISTRY.register(_backlog[0])


_backlog: list[BacklogCollector] = []


def _published(*, stream: str, event: Event, **_: Any) -> None:  # noqa: ARG001 - the signal's
    PUBLISHED.labels(stream).inc()


def _sent(
    *,
    stream: str,
    count: int,
    bytes: int,  # noqa: A002 - the signal's name
    refused: Mapping[str, int],
    order_violations: int,
    **_: Any,
) -> None:
    SENT.labels(stream).inc(count)
    BYTES.labels(stream).inc(bytes)
    VIOLATIONS.labels(stream).inc(order_violations)
    for code, records in refused.items():
        RETRIED.labels(stream).inc(records)
        if code in _THROTTLED:
            THROTTLED.labels(stream).inc(records)


def _failed(*, stream: str, count: int, error: AwsError, **_: Any) -> None:
    FAILED.labels(stream, error.name).inc()
    RETRIED.labels(stream).inc(count)
    if error.code in _THROTTLED:
        THROTTLED.labels(stream).inc(count)


def _rejected(*, stream: str, codes: Mapping[str, int], **_: Any) -> None:
    for code, count in codes.items():
        REJECTED.labels(stream, code).inc(count)


def _settled(
    *,
    stream: str,
    database: str,
    retried: int,
    codes: Mapping[str, int],
    ages: Sequence[float],
    **_: Any,
) -> None:
    WAITING.labels(stream, database).inc(retried)
    for code, count in codes.items():
        DEAD.labels(stream, database, code).inc(count)
    observe = DELIVERY.labels(stream, database).observe
    for age in ages:
        observe(age)


def _started(*, streams: Sequence[str], databases: Sequence[str], **_: Any) -> None:
    if is_multiprocess():
        _forget_the_dead()
        atexit.register(mark_process_dead, os.getpid())
    # From 0 on: a counter that appears with its first dead letter shows no increase.
    for stream in streams:
        DOWN.labels(stream).set(0)
        for counter in (SENT, BYTES, RETRIED, THROTTLED, VIOLATIONS):
            counter.labels(stream)
        for database in databases:
            WAITING.labels(stream, database)
            DELIVERY.labels(stream, database)


def _forget_the_dead() -> None:
    """Remove the live gauges of processes that are gone.

    A server tells of its workers' ends; of a relay that is killed amid an outage nobody does, and
    its stream would be down for good.
    """
    for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _lives(int(pid)):
            mark_process_dead(int(pid))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _paused(*, stream: str, **_: Any) -> None:
    DOWN.labels(stream).set(1)


def _resumed(*, stream: str, **_: Any) -> None:
    DOWN.labels(stream).set(0)


def _refreshed(*, role: str, **_: Any) -> None:
    REFRESHED.labels(role).inc()


def _asked(*, accept: str, **_: Any) -> tuple[str, bytes]:
    return exposition(accept)
