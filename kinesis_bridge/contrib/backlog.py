"""What waits in the databases, for observers of any thread: it leaves no connection behind."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from kinesis_bridge.status import read_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.status import DatabaseStatus


def read_backlog() -> list[DatabaseStatus]:
    """Return the state of each database that has an outbox; of none where there is no outbox.

    Takes no lock, not even those of the lanes. A database that cannot be read is in the answer.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _read()
    # Django's connections refuse a thread with an event loop; prometheus_client's ASGI app asks
    # its collectors in that very thread, and waits.
    with ThreadPoolExecutor(1, "kinesis-backlog") as thread:
        return thread.submit(_read).result()


def _read() -> list[DatabaseStatus]:
    with _as_it_was():
        try:
            return read_status(lanes=False)
        except ImproperlyConfigured:
            return []


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Close what is opened meanwhile: threads that come and go would each leave a connection."""
    there = {
        one.alias for one in connections.all(initialized_only=True) if one.connection is not None
    }
    try:
        yield
    finally:
        for one in connections.all(initialized_only=True):
            if one.alias not in there:
                one.close()
