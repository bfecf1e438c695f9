"""``background``: append to a buffer in memory; one thread sends it to the stream.

For events that may be lost if the process is killed: nothing is written anywhere before AWS has it.
What an outage keeps from being sent waits at the front of the buffer and is tried again for as long
as the process lives; only what can never pass is given up.
How the process ends, :mod:`.ending` says.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first request imports it in the thread: see _start
import logging
import os
import ssl
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from kinesis_bridge.client import producers
from kinesis_bridge.conf.options import KIB, MIB, Option
from kinesis_bridge.event import PutResult, Record, RejectedRecord
from kinesis_bridge.exceptions import BufferFull, KinesisBridgeError
from kinesis_bridge.logfields import stream_fields
from kinesis_bridge.producer.schedule import jitter

from .base import Delivery
from .buffer import Buffer, Statistics
from .ending import hold
from .forks import undivided

if TYPE_CHECKING:
    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Event

    from .buffer import Entry

__all__ = ["BackgroundDelivery", "Statistics"]

logger = logging.getLogger("kinesis_bridge.delivery")

# One call of the producer: enough to keep CONCURRENCY requests under way and to pack well.
BATCH_RECORDS = 5000
BATCH_BYTES = 2 * MIB
MIN_BATCH_BYTES = 64 * KIB
# A batch under way takes up to six times its memory again: bodies in base64, their copies, and what
# the allocator keeps of them. Measured: 12 MiB for one of 2 MiB. So a batch is at most 1/32 of
# BUFFER_BYTES, and 6/32 are not filled with waiting events.
BATCH_SHARE = 32
SENDING_SHARES = 6
TOLD_SECONDS = 60.0
_ALL_ACKNOWLEDGED = {PutResult}


class BackgroundDelivery(Delivery):
    """An append per event; a thread, started at the first one, does the rest.

    The order of each key is that in which its events were taken. After a fork the child starts with
    an empty buffer: what waited is still the parent's to send.
    """

    options = (
        Option(
            name="BUFFER_BYTES",
            default=64 * MIB,
            minimum=1 * KIB,
            help="The most memory that events take: 13/16 while they wait (data, key and 176 bytes"
            " each), the rest for the requests that carry them.",
        ),
        Option(
            name="WHEN_FULL",
            default="block",
            choices=("block", "drop", "raise"),
            help="What publish does while the buffer is full: wait, drop and count, or raise.",
        ),
        Option(
            name="BLOCK_SECONDS",
            default=0.0,
            minimum=0,
            maximum=3600,
            help="How long WHEN_FULL=block waits before it raises; 0: for as long as it takes.",
        ),
        Option(
            name="LINGER_MS",
            default=20,
            minimum=0,
            maximum=10_000,
            help="How long the first event of a quiet time waits for others to go with it.",
        ),
        Option(
            name="SHUTDOWN_SECONDS",
            default=5.0,
            minimum=0,
            maximum=300,
            help="How long close, and the end of the process, wait for what is not sent yet.",
        ),
    )

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream)
        size = stream.options["BUFFER_BYTES"]
        self._batch_bytes = min(BATCH_BYTES, max(MIN_BATCH_BYTES, size // BATCH_SHARE))
        self._buffer = Buffer(size - size // BATCH_SHARE * SENDING_SHARES)
        self.shutdown_seconds: float = stream.options["SHUTDOWN_SECONDS"]
        self.forget()
        hold(self)

    def forget(self) -> None:
        """Begin as if nothing had happened: a fork has left threads and events with the parent."""
        self._pid = os.getpid()
        self._buffer.forget()
        self._sender: threading.Thread | None = None
        self._claiming = threading.Lock()
        self._troubles = Troubles()
        self._failures = 0
        self._reported = 0

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self.forget()  # forked by a server that runs none of Python's hooks: uWSGI

    @property
    def statistics(self) -> Statistics:
        """Counters since it was made, or since the fork."""
        self._check_process()
        return self._buffer.statistics

    def deliver(self, event: Event, payload: bytes, using: str) -> None:  # noqa: ARG002
        """Append one event; wait, drop or raise where the buffer is full.

        Raises BufferFull, BufferClosed, or KinesisBridgeError where no thread can be started: the
        event was not taken then.
        """
        self._check_process()
        self._begin()
        record = Record(event.key, payload)
        if self._buffer.put(record):
            return
        when_full = self.stream.options["WHEN_FULL"]
        if when_full == "drop":
            self._drop()
            return
        # A receiver of a signal, or a handler of logs, may publish in a thread that empties this
        # very buffer: there nobody would ever make room.
        if (
            when_full == "block"
            and not self._in_own_thread()
            and self._buffer.put(record, self.stream.options["BLOCK_SECONDS"] or None)
        ):
            return
        waiting = self.statistics
        raise BufferFull(
            f"Stream {self.stream.alias!r}: {waiting.buffered_records} events wait in"
            f" {waiting.buffered_bytes} bytes of memory, and there is no room for another:"
            " AWS takes them slower than they come, or not at all (the log says why)."
            ' Fix: mend the way to AWS, or raise OPTIONS["BUFFER_BYTES"].'
        )

    def offer(self, event: Event, payload: bytes) -> bool:
        """:meth:`deliver`, but never wait: False where there is no room, whatever WHEN_FULL says.

        What finds no room is counted as dropped. Raises as :meth:`deliver`, except BufferFull.
        """
        self._check_process()
        self._begin()
        taken = self._buffer.put(Record(event.key, payload))
        if not taken:
            self._drop()
        return taken

    def _drop(self) -> None:
        self._buffer.count_dropped()
        if total := self._troubles.due("full", 1):
            logger.error(
                "Stream %s: %d events dropped, the buffer is full",
                self.stream.alias,
                total,
                extra=stream_fields(self.stream, count=total),
            )

    def flush(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until what was taken by now is acknowledged or rejected."""
        if not self.statistics.buffered_records:
            return True
        if self._in_own_thread():
            return False  # it would wait for itself
        try:
            self._begin()
        except KinesisBridgeError:
            return False
        return self._buffer.flush(timeout)

    def close(self) -> None:
        """Take no more, flush for up to SHUTDOWN_SECONDS, and give up what is left, in the log.

        Any thread may call it, again and at once with others.
        """
        self._check_process()
        self._buffer.close()
        if not self.flush(self.shutdown_seconds):
            self._tell_left(self._buffer.abandon())

    # The sender

    def _begin(self) -> None:
        """Start the thread where there is none and will be need of it."""
        if self._sender is None and not self._buffer.finished:
            self._start()

    def _start(self) -> None:
        # What is imported, and the first context of OpenSSL, which sets it up, would stay locked in
        # a child that is forked meanwhile. So here, where a fork can wait, and not by the thread.
        with undivided:
            import kinesis_bridge.transport.aws  # noqa: PLC0415 - imports boto3
            import kinesis_bridge.transport.fast  # noqa: F401, PLC0415

            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

        name = f"{self._prefix}background"
        try:
            # Not kept before it claims its place: an interrupt here may leave two of them, or none.
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        except RuntimeError as error:
            raise KinesisBridgeError(
                f"Stream {self.stream.alias!r}: no thread can be started to send its events"
                f" ({error})."
            ) from error

    def _serve(self) -> None:
        with self._claiming:
            if self._sender is not None:
                return
            self._sender = threading.current_thread()
        try:
            while not self._buffer.finished:
                self._work()
        finally:
            self._sender = None

    def _work(self) -> None:
        """Send one batch, or wait for one."""
        batch = self._buffer.take(BATCH_RECORDS, self._batch_bytes)
        if not batch:
            self._buffer.wait()
            if linger := self.stream.options["LINGER_MS"]:
                self._buffer.wait(linger / 1000)
            return
        try:
            kept, rejected = self._send(batch)
        except BaseException as error:  # nobody else could go on for this thread
            # What of it arrived is unknown. Sent again from its start, it keeps its order.
            kept, rejected = batch, 0
            if self._troubles.due(f"exception {type(error).__name__}", 1):
                ours = isinstance(error, KinesisBridgeError)
                logger.error(  # noqa: TRY400 - a trace of what explains itself helps nobody
                    "Stream %s: events waiting to be tried again: %d%s",
                    self.stream.alias, len(batch), f". {error}" if ours else "", exc_info=not ours,
                    extra=stream_fields(self.stream, error, count=len(batch)),
                )  # fmt: skip
        self._buffer.settle(batch, kept, rejected)
        if len(kept) < len(batch):
            self._failures = 0
        if kept:
            self._buffer.rest(jitter(self._failures))
            self._failures += 1

    def _send(self, batch: list[Entry]) -> tuple[list[Entry], int]:
        """Return what must be sent again, in order, and how many can never pass."""
        producer = producers[self.stream.alias]
        answers = producer.send([record for _, record in batch])
        if set(map(type, answers)) == _ALL_ACKNOWLEDGED:
            return [], 0
        kept: list[Entry] = []
        poison: list[RejectedRecord] = []
        failed: list[RejectedRecord] = []
        for entry, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RejectedRecord):
                if answer.poison:
                    poison.append(answer)
                else:
                    kept.append(entry)
                    failed.append(answer)
        for code, count in Counter(answer.code for answer in poison).items():
            if total := self._troubles.due(f"poison {code}", count):
                # Not AWS's message: it may quote the record.
                logger.error(
                    "Stream %s: events given up, since AWS can never take them: %d (%s)",
                    self.stream.alias, total, code,
                    extra=stream_fields(self.stream, count=total, code=code),
                )  # fmt: skip
        if failed and self._troubles.due(f"outage {failed[0].code}", 1):
            reason = producer.failure(failed[0])
            logger.warning(
                "Stream %s: events waiting to be tried again: %d. %s",
                self.stream.alias, len(failed), reason,
                extra=stream_fields(self.stream, reason, count=len(failed)),
            )  # fmt: skip
        return kept, len(poison)

    @property
    def _prefix(self) -> str:
        """How the names of the threads begin that empty the buffer, the producer's included."""
        return f"kinesis-{self.stream.alias}-"

    def _in_own_thread(self) -> bool:
        return threading.current_thread().name.startswith(self._prefix)

    # The end of the process

    def let_go(self, seconds: float) -> None:
        """Begin to end: whoever waits for room waits `seconds` more at most."""
        self._buffer.end_waiting(seconds)
        self._buffer.hurry()

    def refuse(self) -> None:
        """Take no more events."""
        self._buffer.close()

    def report(self) -> None:
        """Say what was not sent by now."""
        self._tell_left(self.statistics.buffered_records)

    def give_up(self) -> None:
        """Drop what was not sent."""
        self._buffer.abandon()

    def _tell_left(self, left: int) -> None:
        """Say what was not sent, once for each number of events."""
        if not left or left == self._reported:
            return
        self._reported = left
        message = (
            f"Stream {self.stream.alias}: {left} events were not delivered within"
            f" SHUTDOWN_SECONDS ({self.shutdown_seconds:g} s)"
        )
        if logger.isEnabledFor(logging.ERROR):
            logger.error(message, extra=stream_fields(self.stream, count=left))
        elif sys.stderr is not None:  # the site's LOGGING disabled the logger: a loss is told still
            sys.stderr.write(f"{message}\n")


class Troubles:
    """Counts each kind of trouble, and tells it once a minute."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kinds: dict[str, tuple[float, int]] = {}

    def due(self, kind: str, count: int) -> int:
        """Add `count`; return how many there were since `kind` was last told, or 0: not now."""
        with self._lock:
            quiet_until, untold = self._kinds.get(kind, (0.0, 0))
            now = time.monotonic()
            if now < quiet_until:
                self._kinds[kind] = quiet_until, untold + count
                return 0
            self._kinds[kind] = now + TOLD_SECONDS, 0
            return untold + count
