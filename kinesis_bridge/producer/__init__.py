"""Batches, per-key order, partial failures, back-off: from records to acknowledged records.

:mod:`.schedule` decides what may go next; :mod:`.run` sends it, several requests at once, over a
:mod:`.link`, and tells apart what comes back: a record's own failure, and the stream's state.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING

from kinesis_bridge.diagnosis import explain_as, find
from kinesis_bridge.event import RejectedRecord
from kinesis_bridge.transport import open_transport

from .link import Link, Statistics
from .run import Run, rejection

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Record, Result
    from kinesis_bridge.exceptions import AwsError
    from kinesis_bridge.transport import Transport

__all__ = ["Producer", "Statistics"]

STRIPES = 256
_RECORD = itemgetter(1)
_UNANSWERED = RejectedRecord("NotSent", "")
_producers: weakref.WeakSet[Producer] = weakref.WeakSet()


class Producer:
    """Sends to one stream. Safe for several threads; a child process that inherits one starts anew.

    What the parent had under way at the fork stays the parent's.
    """

    def __init__(
        self,
        stream: StreamConfig,
        transport: Callable[[StreamConfig], Transport] = open_transport,
    ) -> None:
        """Open nothing yet: `transport` is called at the first send."""
        self.stream = stream
        self._link = Link(stream, transport)
        self._stripes = _stripes()
        _producers.add(self)

    def __repr__(self) -> str:
        return f"<Producer of stream {self.stream.alias!r}>"

    @property
    def statistics(self) -> Statistics:
        """Counters since the producer was made."""
        return self._link.statistics

    def close(self) -> None:
        """End the threads and close the connections; a later send starts anew. Twice is fine."""
        self._link.close()

    def send(
        self,
        records: Sequence[Record],
        *,
        seconds: float | None = None,
        tally: Counter[str] | None = None,
    ) -> list[Result]:
        """Send `records`; return for each, in order, where it landed or why it was rejected.

        What may yet pass is tried for `seconds` from its first failure on (default
        OPTIONS["RETRY_SECONDS"]). A record that is given up takes those of its key that wait
        behind it along. Never raises for what AWS answers: see ``RejectedRecord.error``. `tally`
        is told how many records of this call were ``resent`` and ``throttled``.
        """
        results: list[Result] = [_UNANSWERED] * len(records)
        run = Run(self._link, records, seconds)
        with self._turn(records):
            for items, answers in run.go():
                for (index, _), answer in zip(items, answers, strict=True):
                    results[index] = answer
        if tally is not None:
            tally.update(resent=run.retried, throttled=run.throttled)
        if run.outage is not None:
            unread = rejection(run.outage)
            if missing := sum(answer is _UNANSWERED for answer in results):
                run.tell([unread.code] * missing)
            results = [unread if answer is _UNANSWERED else answer for answer in results]
        return results

    def stream_records(
        self, records: Iterable[Record], *, seconds: float | None = None
    ) -> Iterator[tuple[Record, Result]]:
        """Send records as they are read, in bounded memory; yield each with its answer.

        Answers come as they arrive, those of one key in order. `records` should not block: the
        answers wait meanwhile. Raises the AwsError of an outage that outlasts `seconds`, after an
        answer for every record that was read.
        """
        run = Run(self._link, records, seconds)
        for items, answers in run.go():
            yield from zip(map(_RECORD, items), answers, strict=True)
        if run.outage is not None:
            raise run.outage

    def failure(self, rejected: RejectedRecord) -> AwsError:
        """Return the error that explains why a record was rejected."""
        if rejected.error is not None:
            return rejected.error
        finding = find("stream", rejected.code)
        path = self._link.transport.path()
        return explain_as(finding, path, code=rejected.code, message=rejected.message)

    def after_fork(self) -> None:
        """Start anew in a child process."""
        self._stripes = _stripes()
        self._link.after_fork()

    @contextmanager
    def _turn(self, records: Sequence[Record]) -> Iterator[None]:
        """Hold the keys of `records` against other threads' sends; always in one order."""
        stripes = sorted({hash(record.partition_key) % STRIPES for record in records})
        held: list[threading.RLock] = []
        try:
            for stripe in stripes:
                self._stripes[stripe].acquire()
                held.append(self._stripes[stripe])
            yield
        finally:
            for lock in held:
                lock.release()


def _stripes() -> list[threading.RLock]:
    # A receiver of our signals may send on the same stream, in the same thread.
    return [threading.RLock() for _ in range(STRIPES)]


def _after_fork_in_child() -> None:
    for producer in _producers:
        producer.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
