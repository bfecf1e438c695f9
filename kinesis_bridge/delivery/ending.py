"""The end of a process that holds events in memory: what can still be sent, is.

In two steps: the first runs before the interpreter waits for its other threads, which may wait for
room in a buffer; the second after them. Both flush, and together they take SHUTDOWN_SECONDS at
most. The threads that send are daemons, which run until the second step is done, and a request of
theirs that hangs holds up nothing.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - so that its own hook at the exit runs after ours
import os
import threading
import time
import weakref
from contextlib import suppress
from typing import Protocol


class Holder(Protocol):
    """What holds events of this process, and can be told of its end."""

    shutdown_seconds: float
    """How long its end may take."""

    def let_go(self, seconds: float) -> None:
        """Begin to end: whoever waits for room waits `seconds` more at most."""

    def flush(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until nothing is left; False where something is."""

    def refuse(self) -> None:
        """Take no more events."""

    def report(self) -> None:
        """Say what was not sent."""

    def give_up(self) -> None:
        """Drop what was not sent."""

    def forget(self) -> None:
        """Begin as if nothing had happened: after a fork, in the child."""


def hold(holder: Holder) -> None:
    """Tell `holder` of this process's end, and of a fork, for as long as it lives."""
    _living.add(holder)


class _End:
    """The two steps, for all holders that live."""

    def __init__(self) -> None:
        self.spent = 0.0
        """Seconds that the first step took."""
        self.at = 0.0
        """When it was over."""

    def of_main_thread(self) -> None:
        """Flush, before the interpreter waits for threads that may wait for room here."""
        started = time.monotonic()
        try:
            self._flush(list(_living), 0.0)
        finally:
            self.at = time.monotonic()
            self.spent = self.at - started

    def of_process(self) -> None:
        """Flush what the other threads still published; give up what is left."""
        holders = list(_living)
        for holder in holders:
            holder.refuse()
        # While other threads kept the process alive, nobody waited for this.
        self._flush(holders, max(0.0, self.spent - (time.monotonic() - self.at)))
        for holder in holders:
            holder.give_up()

    @staticmethod
    def _flush(holders: list[Holder], spent: float) -> None:
        started = time.monotonic() - spent
        for holder in holders:
            holder.let_go(max(0.0, holder.shutdown_seconds - spent))
        late = list(holders)
        try:
            for holder in holders:
                rest = holder.shutdown_seconds - (time.monotonic() - started)
                if holder.flush(max(0.0, rest)):
                    late.remove(holder)
        finally:  # interrupted: told all the same
            for holder in late:
                holder.report()


_living: weakref.WeakSet[Holder] = weakref.WeakSet()
_end = _End()


def _after_fork_in_child() -> None:
    _end.spent = _end.at = 0.0
    for holder in list(_living):
        holder.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_end.of_process)
# Not public, and what concurrent.futures itself relies upon. Without it a thread that waits for
# room while AWS hangs keeps a process from ending. RuntimeError: the process is ending already.
with suppress(AttributeError, RuntimeError):
    threading._register_atexit(_end.of_main_thread)  # type: ignore[attr-defined]  # noqa: SLF001
