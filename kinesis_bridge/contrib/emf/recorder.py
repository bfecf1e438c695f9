"""Adds up what the signals tell, and writes it when an interval is over and at the end."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from kinesis_bridge import signals
from kinesis_bridge.contrib.backlog import read_backlog

from .lines import Numbers
from .options import Options, read_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.dispatch import Signal

logger = logging.getLogger("kinesis_bridge.contrib")

_UID = "kinesis_bridge.contrib.emf"
Dimensions = tuple[tuple[str, str], ...]


class Recorder:
    """The numbers of this process; a child that inherits it begins anew."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.begin()

    def begin(self) -> None:
        """Forget what there is: in a child, numbers, lock and thread are the parent's."""
        self._lock = threading.Lock()
        self._numbers: defaultdict[Dimensions, Numbers] = defaultdict(Numbers)
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._databases: set[str] = set()
        """Whose backlog this process tells: those that its relay drains."""

    def add(
        self, dimensions: Dimensions, counts: Mapping[str, int], ages: Sequence[float] = ()
    ) -> None:
        """Add to the numbers of these dimensions."""
        self._run()
        with self._lock:
            numbers = self._numbers[dimensions]
            numbers.counts.update(counts)
            if ages:
                numbers.ages.add(ages)

    def watch(self, databases: Sequence[str]) -> None:
        """Tell the backlog of these databases, too, from now on."""
        self._run()
        with self._lock:
            self._databases.update(databases)

    def flush(self, *, backlog: bool = True) -> None:
        """Write what there is."""
        with self._lock:
            numbers, self._numbers = self._numbers, defaultdict(Numbers)
            databases = set(self._databases)
        if backlog and databases:
            _add_backlog(numbers, databases)
        moment = time.time()
        lines = [
            each.line(self._options.namespace, dict(dimensions), moment)
            for dimensions, each in numbers.items()
        ]
        if not lines:
            return
        if self._options.logger is not None:
            target = logging.getLogger(self._options.logger)
            for line in lines:
                target.info("%s", line)
        elif sys.stdout is not None:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()

    def end(self) -> None:
        """Write the rest; the database may be gone by now, so nothing of it."""
        self._ended.set()
        self._flush_quietly(backlog=False)

    def _run(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name=_UID, daemon=True)
                    self._thread.start()

    def _work(self) -> None:
        while not self._ended.wait(self._options.interval):
            self._flush_quietly()

    def _flush_quietly(self, *, backlog: bool = True) -> None:
        try:
            self.flush(backlog=backlog)
        except Exception:
            logger.exception("Metrics of %g s could not be written", self._options.interval)


def _add_backlog(numbers: defaultdict[Dimensions, Numbers], databases: set[str]) -> None:
    for status in read_backlog():
        if status.database not in databases or status.error is not None:
            continue
        for stream in status.streams:
            counts = numbers[_of_outbox(stream.stream, status.database)].counts
            counts["BacklogEvents"] = stream.pending
            counts["BacklogOldestSeconds"] = round(stream.age_seconds or 0)
            counts["DeadLetters"] = stream.dead_letters


def connect() -> None:
    """Have the signals add to a recorder. Twice is once."""
    if _recorder:
        _recorder[0].end()
        atexit.unregister(_recorder[0].end)
    _recorder[:] = [Recorder(read_options())]
    receivers: dict[Signal, Callable[..., None]] = {
        signals.records_sent: _sent,
        signals.request_failed: _failed,
        signals.batch_settled: _settled,
        signals.relay_started: _started,
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver, dispatch_uid=_UID)
    atexit.register(_recorder[0].end)


_recorder: list[Recorder] = []


def _after_fork_in_child() -> None:
    for recorder in _recorder:
        recorder.begin()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _of_stream(stream: str) -> Dimensions:
    return (("Stream", stream),)


def _of_outbox(stream: str, database: str) -> Dimensions:
    return (("Stream", stream), ("Database", database))


def _sent(
    *,
    stream: str,
    count: int,
    bytes: int,  # noqa: A002 - the signal's name
    refused: Mapping[str, int],
    order_violations: int,
    **_: Any,
) -> None:
    counts = {
        "RecordsSent": count,
        "BytesSent": bytes,
        "RecordsRetried": sum(refused.values()),
        "OrderViolations": order_violations,
    }
    _recorder[0].add(_of_stream(stream), counts)


def _failed(*, stream: str, count: int, **_: Any) -> None:
    _recorder[0].add(_of_stream(stream), {"RecordsRetried": count})


def _settled(
    *,
    stream: str,
    database: str,
    sent: int,
    retried: int,
    dead_lettered: int,
    ages: Sequence[float],
    **_: Any,
) -> None:
    counts = {"EventsSent": sent, "EventsRetried": retried, "EventsDeadLettered": dead_lettered}
    _recorder[0].add(_of_outbox(stream, database), counts, ages)


def _started(*, databases: Sequence[str], **_: Any) -> None:
    _recorder[0].watch(databases)
