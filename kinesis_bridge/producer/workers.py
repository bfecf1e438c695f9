"""A few daemon threads that run what they are given: started at need, ended at close."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Workers:
    """At most `most` threads; one is started when work comes and none is idle.

    Daemon threads, unlike those of concurrent.futures: an interpreter that ends does not wait for a
    request that hangs.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads = 0
        self._idle = 0

    def run(self, work: Callable[[], object]) -> None:
        """Have `work` called on one of the threads; it must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                name = f"{self._name}-{self._threads + 1}"
                # Its queue is named now: close() may come before the thread's first step.
                threading.Thread(
                    target=self._serve, args=(self._work,), name=name, daemon=True
                ).start()
                self._threads += 1
            self._work.put(work)

    def close(self) -> None:
        """Let every thread end after what it is doing. Work given later starts new ones."""
        with self._lock:
            for _ in range(self._threads):
                self._work.put(None)
            self._threads = self._idle = 0
            self._work = SimpleQueue()

    def _serve(self, queue: SimpleQueue[Callable[[], object] | None]) -> None:
        while (work := queue.get()) is not None:
            work()
            with self._lock:
                if queue is self._work:
                    self._idle += 1
