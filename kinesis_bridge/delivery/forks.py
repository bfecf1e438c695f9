"""A fork waits for what must not be cut in two by it: the first imports of a thread."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

LONGEST_SECONDS = 10.0
"""A fork waits no longer: whoever is inside may itself wait for what the forking thread holds."""


class Undivided:
    """While a thread is within its block, ``os.fork`` in another one waits.

    A child has only the thread that forked: a module that another one imported just then stays
    locked in it for ever, and so does OpenSSL while it is set up. A server that forks by none of
    Python's hooks (uWSGI) does not wait; nothing can be done there.
    """

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(
            before=self._before, after_in_parent=self._after, after_in_child=self._after_in_child
        )

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._forking = threading.local()

    def __enter__(self) -> Self:
        if self._pid != os.getpid():
            self._renew()  # forked without the hooks: the lock may be the parent's
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _before(self) -> None:
        self._forking.holds = self._lock.acquire(timeout=LONGEST_SECONDS)

    def _after(self) -> None:
        if self._forking.holds:
            self._lock.release()

    def _after_in_child(self) -> None:
        if self._forking.holds:
            self._pid = os.getpid()
            self._lock.release()
        else:
            self._renew()


undivided = Undivided()
