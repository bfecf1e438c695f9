"""Tells of refreshed credentials once this thread holds no lock of theirs.

A receiver may call AWS through the very session that it hears of: from within botocore's refresh
lock, or that of a role assumed with its credentials, it would wait for itself for ever.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kinesis_bridge.signals import credentials_refreshed

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Held(threading.local):
    def __init__(self) -> None:
        self.depth = 0
        self.waiting: list[tuple[type, dict[str, Any]]] = []


_held = _Held()


@contextmanager
def holding() -> Iterator[None]:
    """Keep what is announced on this thread meanwhile."""
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1


def announce(sender: type, **facts: Any) -> None:
    """Have :func:`tell` send ``credentials_refreshed`` with these facts."""
    _held.waiting.append((sender, facts))


def tell() -> None:
    """Send what waits on this thread, unless it still holds a lock."""
    while _held.waiting and not _held.depth:
        sender, facts = _held.waiting.pop(0)
        credentials_refreshed.send_robust(sender, **facts)
