"""Batches, per-key order, partial failures, back-off: from records to acknowledged records.

The order of a key survives whatever fails, because

* one request never holds two records of one key,
* a key whose record is under way or failed is held back until that record is acknowledged,
* two calls of :meth:`Producer.send` at once take turns over the keys that they share.

Only the entries that failed are sent again, after a full-jitter pause ("Exponential Backoff And
Jitter", AWS Architecture Blog).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, OrderedDict, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import signals
from .diagnosis import explain_as, find
from .event import PutResult, RejectedRecord
from .exceptions import AwsError
from .session import renew
from .transport import MAX_RECORDS, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .conf import StreamConfig
    from .event import Record, Result
    from .transport import Transport

logger = logging.getLogger("kinesis_bridge.producer")

BASE_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 5.0
STRIPES = 256
REMEMBERED_KEYS = 10_000


class Producer:
    """Sends to one stream. Safe for several threads; belongs to the process that made it."""

    def __init__(
        self,
        stream: StreamConfig,
        transport: Callable[[StreamConfig], Transport] = open_transport,
    ) -> None:
        self.stream = stream
        self._open = transport
        self._opening = threading.Lock()
        self._transport: Transport | None = None
        self._stripes = [threading.Lock() for _ in range(STRIPES)]
        self._last: OrderedDict[str, PutResult] = OrderedDict()
        self.order_violations = 0
        """Acknowledged records whose sequence number did not rise within key and shard."""

    @property
    def transport(self) -> Transport:
        """The transport, opened at first use; raises AwsError where that fails."""
        if self._transport is None:
            with self._opening:
                if self._transport is None:
                    self._transport = self._open(self.stream)
        return self._transport

    def close(self) -> None:
        """Close the connections; a later send opens new ones."""
        with self._opening:
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def send(self, records: Sequence[Record], *, seconds: float | None = None) -> list[Result]:
        """Send `records`; return for each, in order, where it landed or why it was rejected.

        Retries what may yet pass for `seconds` (default OPTIONS["RETRY_SECONDS"]), then rejects it
        with the last reason. Never raises for what AWS answers: see ``RejectedRecord.error``.
        """
        limit = self.stream.options["RETRY_SECONDS"] if seconds is None else seconds
        deadline = time.monotonic() + limit
        run = _Run(self, records, deadline)
        with self._turn(records):
            run.go()
        rejected = Counter(r.code for r in run.results if isinstance(r, RejectedRecord))
        if rejected:
            signals.records_rejected.send_robust(
                Producer, stream=self.stream.alias, count=rejected.total(), codes=dict(rejected)
            )
        return run.results

    def failure(self, rejected: RejectedRecord) -> AwsError:
        """Return the error that explains why a record was rejected."""
        if rejected.error is not None:
            return rejected.error
        finding = find("stream", rejected.code)
        path = self.transport.path()
        return explain_as(finding, path, code=rejected.code, message=rejected.message)

    @contextmanager
    def _turn(self, records: Sequence[Record]) -> Iterator[None]:
        """Hold the keys of `records` against other threads' sends; always in one order."""
        stripes = sorted({hash(record.partition_key) % STRIPES for record in records})
        held: list[threading.Lock] = []
        try:
            for stripe in stripes:
                self._stripes[stripe].acquire()
                held.append(self._stripes[stripe])
            yield
        finally:
            for lock in held:
                lock.release()

    def put(self, batch: Sequence[Record]) -> list[Result]:
        """Send one request; where it is invalid as a whole, find the records that make it so.

        No two records of `batch` share a key, so its halves may go in any order.
        Raises AwsError for every other failure of the request.
        """
        started = time.monotonic()
        try:
            answers = self.transport.put(batch)
        except AwsError as error:
            if error.name != "record-refused":
                raise
            if len(batch) == 1:
                return [RejectedRecord(error.code, error.message, error, poison=True)]
            middle = len(batch) // 2
            return self.put(batch[:middle]) + self.put(batch[middle:])
        self._account(batch, answers, time.monotonic() - started)
        return answers

    def _account(self, batch: Sequence[Record], answers: list[Result], seconds: float) -> None:
        sent = size = 0
        for record, answer in zip(batch, answers, strict=True):
            if isinstance(answer, PutResult):
                sent += 1
                size += record.size
                self._check_order(record.partition_key, answer)
        signals.records_sent.send_robust(
            Producer, stream=self.stream.alias, count=sent, bytes=size, seconds=seconds
        )

    def _check_order(self, key: str, answer: PutResult) -> None:
        before = self._last.pop(key, None)
        self._last[key] = answer
        if len(self._last) > REMEMBERED_KEYS:
            self._last.popitem(last=False)
        if (
            before is not None
            and before.shard_id == answer.shard_id
            and int(before.sequence_number) >= int(answer.sequence_number)
        ):
            self.order_violations += 1
            logger.error(
                "Stream %s: the sequence number of a key fell within shard %s",
                self.stream.alias,
                answer.shard_id,
            )


class _Run:
    """One call of ``send``: what waits, what is ready, what was answered."""

    def __init__(self, producer: Producer, records: Sequence[Record], deadline: float) -> None:
        self.producer = producer
        self.records = records
        self.deadline = deadline
        waiting = RejectedRecord("NotSent", "the time to send it ran out")
        self.results: list[Result] = [waiting] * len(records)
        self._attempts = 0
        # A key stands in `_behind` while one record of it is ready or under way.
        self._behind: dict[str, deque[int]] = {}
        self._ready: deque[int] = deque()
        for index, record in enumerate(records):
            if (queue := self._behind.get(record.partition_key)) is not None:
                queue.append(index)
            else:
                self._behind[record.partition_key] = deque()
                self._ready.append(index)

    def go(self) -> None:
        """Send until everything is answered or the deadline passes."""
        while self._ready:
            batch = self._next_batch()
            try:
                answers = self.producer.put([self.records[index] for index in batch])
            except AwsError as error:
                if not self._outlive(error, batch):
                    return
                continue
            failed = self._settle(batch, answers)
            self._ready.extendleft(reversed(failed))
            if failed and not self._pause():
                return
            if not failed:
                self._attempts = 0

    def _next_batch(self) -> list[int]:
        options = self.producer.stream.options
        room = options["MAX_REQUEST_BYTES"]
        batch: list[int] = []
        while self._ready and len(batch) < MAX_RECORDS:
            room -= self.records[self._ready[0]].size
            if batch and room < 0:
                break
            batch.append(self._ready.popleft())
        return batch

    def _settle(self, batch: list[int], answers: list[Result]) -> list[int]:
        """Note the answers, free the keys of those that are done, return those to send again."""
        failed = []
        for index, answer in zip(batch, answers, strict=True):
            self.results[index] = answer
            if isinstance(answer, RejectedRecord) and not answer.poison:
                failed.append(index)
                continue
            key = self.records[index].partition_key
            if queue := self._behind[key]:
                self._ready.append(queue.popleft())
            else:
                del self._behind[key]
        return failed

    def _outlive(self, error: AwsError, batch: list[int]) -> bool:
        """Wait for a failure of the whole request to pass; False where it is of no use."""
        self._ready.extendleft(reversed(batch))
        if error.name == "session-expired" and renew(self.producer.stream):
            return True
        if error.retryable and self._pause():
            return True
        self._give_up(error)
        return False

    def _pause(self) -> bool:
        """Sleep a full-jitter pause; False where the deadline comes first."""
        longest = min(MAX_PAUSE_SECONDS, BASE_PAUSE_SECONDS * 2**self._attempts)
        self._attempts += 1
        pause = random.uniform(0, longest)  # noqa: S311 - jitter, no secret
        if time.monotonic() + pause >= self.deadline:
            return False
        time.sleep(pause)
        return True

    def _give_up(self, error: AwsError) -> None:
        """Answer for everything that is still open: the way is broken, not the records."""
        rejected = RejectedRecord(error.code, error.message, error)
        open_ones = [*self._ready, *(index for queue in self._behind.values() for index in queue)]
        for index in open_ones:
            self.results[index] = rejected
