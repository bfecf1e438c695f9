"""One lazily built object per key and process: built under a lock, dropped after a fork.

boto3 sessions, sockets and threads do not survive ``fork``: a child that inherits them shares a
connection with its parent, or waits for ever on a lock that another thread held at that moment.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .conf import on_reset

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")

_all: weakref.WeakSet[PerProcess[Any, Any]] = weakref.WeakSet()


class PerProcess(Generic[K, V]):
    """Maps keys to objects that this process built, and forgets them where they are not its own.

    `build` makes the object of a key; `close` ends one before the settings are read again. After a
    fork the child builds its own and closes nothing: the sockets are its parent's.
    """

    def __init__(self, build: Callable[[K], V], close: Callable[[V], object] | None = None) -> None:
        self._build = build
        self._close = close
        self.forget()
        _all.add(self)
        on_reset(self.reset)

    def __getitem__(self, key: K) -> V:
        try:
            return self._objects[key]
        except KeyError:
            pass
        with self._lock:
            if key not in self._objects:
                self._objects[key] = self._build(key)
            return self._objects[key]

    def forget(self) -> None:
        """Start afresh, closing nothing (also replaces the lock: another thread may hold it)."""
        self._lock = threading.RLock()
        self._objects: dict[K, V] = {}

    def reset(self) -> None:
        """Close what was built here and start afresh."""
        with self._lock:
            objects, self._objects = self._objects, {}
        if self._close is None:
            return
        with ExitStack() as stack:  # closes all of them, whichever raises
            for built in objects.values():
                stack.callback(self._close, built)


def _after_fork_in_child() -> None:
    for registry in _all:
        registry.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
