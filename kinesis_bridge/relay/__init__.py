"""The relay: a process of its own that sends what is committed, and deletes what was acknowledged.

A thread (or several) for each stream of each database, so that none waits for another. What makes
it safe is in :mod:`.store`: a lane belongs to the transaction that holds the lock of its row.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import connections

from kinesis_bridge import signals
from kinesis_bridge.producer import Producer

from .health import Health
from .listen import Listener
from .outage import StreamState
from .outages import Outages
from .port import HealthPort
from .presence import Presence
from .statistics import Statistics
from .store import Store
from .worker import Rhythm, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinesis_bridge.conf import StreamConfig

__all__ = ["Health", "HealthPort", "Relay", "Rhythm"]

WRITE_SECONDS = 5.0
STOP_SECONDS = 10.0
# The transaction is open while AWS is awaited: shorter than usual limits for idle ones.
LONGEST_ANSWER = 4.0


class Relay:
    """Drains streams of databases with some threads each, until it is stopped."""

    def __init__(
        self,
        streams: Sequence[StreamConfig],
        databases: Sequence[str],
        *,
        threads: int = 1,
        rhythm: Rhythm | None = None,
    ) -> None:
        self.rhythm = rhythm or Rhythm()
        self.statistics = Statistics()
        self._databases = list(databases)
        self.turned = time.monotonic()
        """When the loop that watches the threads came round."""
        self._stopped = threading.Event()
        self._producers = [Producer(_impatient(stream)) for stream in streams]
        states = [StreamState(stream.alias, stream) for stream in streams]
        self._presence = Presence()
        self._outages = Outages(states)
        self._workers = [
            Worker(
                Store(database, stream.alias, blocks=stream.options.get("POISON") == "block"),
                producer,
                state,
                self.statistics,
                self._presence,
                self.rhythm,
            )
            for database in databases
            for stream, producer, state in zip(streams, self._producers, states, strict=True)
            for _ in range(threads)
        ]

    @property
    def workers(self) -> Sequence[Worker]:
        """Its threads' work."""
        return self._workers

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Let every thread end after its batch; may be called from a signal's handler."""
        self._stopped.set()
        for worker in self._workers:
            worker.stop()

    def run(self) -> dict[str, Any]:
        """Work until stopped; return what ``kinesis_relay --json`` prints.

        Raises what ended the first thread that failed, if any did.
        """
        began = time.monotonic()
        threads = [
            threading.Thread(target=worker.run, name=f"kinesis-relay-{number}", daemon=True)
            for number, worker in enumerate(self._workers, 1)
        ]
        listeners = self._listeners()
        signals.relay_started.send_robust(
            Relay,
            streams=[producer.stream.alias for producer in self._producers],
            databases=list(self._databases),
        )
        for thread in [*threads, *listeners]:
            thread.start()
        try:
            self._watch(threads)
        finally:
            for listener in listeners:
                listener.stop()
            self._tell()
            self._presence.end(self._databases)
            for producer in self._producers:
                producer.close()
        for worker in self._workers:
            if worker.failure is not None:
                raise worker.failure
        return {**vars(self.statistics.totals), "seconds": round(time.monotonic() - began, 3)}

    def _tell(self) -> None:
        """Write what others may know, in a few statements for each database."""
        for part in (self._presence, self.statistics, self._outages):
            part.write(self._databases)

    def _watch(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for the threads; write statistics meanwhile."""
        due = time.monotonic()
        deadline: float | None = None
        while any(thread.is_alive() for thread in threads):
            now = self.turned = time.monotonic()
            if any(worker.failure for worker in self._workers) and not self.rhythm.once:
                self.stop()  # whoever supervises starts it anew: no stream is left unsent
            if self._stopped.is_set():
                deadline = deadline or now + STOP_SECONDS
                if now >= deadline:
                    return  # what is under way stays in the outbox, and may arrive twice
            elif now >= due:
                self._tell()
                due = now + WRITE_SECONDS
            for thread in threads:
                if thread.is_alive():
                    thread.join(0.05)
                    break

    def _listeners(self) -> list[Listener]:
        if self.rhythm.once:
            return []
        return [
            Listener(database, self._waker(database))
            for database in self._databases
            if connections[database].vendor == "postgresql"
        ]

    def _waker(self, database: str) -> Callable[[], None]:
        workers = [worker for worker in self._workers if worker.store.database == database]

        def wake() -> None:
            for worker in workers:
                worker.wake.set()

        return wake


def _impatient(stream: StreamConfig) -> StreamConfig:
    """Return `stream` with time-outs that fit into a short transaction."""
    options = dict(stream.options)
    for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT"):
        options[name] = min(options[name], LONGEST_ANSWER)
    return replace(stream, options=options)
