"""When the next chunk may go: by --rate, and by what waits in the outbox."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kinesis_bridge.models import OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = 0.9  # of the limit: a pause ends when less is in the outbox


class Rate:
    """At most `rows` a second, 0: no limit. What was not used is not made up for."""

    def __init__(self, rows: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self._clock = clock
        self._next = clock()

    def used(self, rows: int) -> None:
        """Note that `rows` were published."""
        if self._rows:
            self._next = max(self._next, self._clock()) + rows / self._rows

    def wait(self) -> float:
        """Return the seconds until the next rows may go."""
        return max(0.0, self._next - self._clock())


class Backlog:
    """Whether the outbox has room for more rows of a stream; `most` 0: always.

    Counting takes long where there are many, so it is done again only after a quarter of the room
    there was may be used up.
    """

    def __init__(self, most: int, stream: str, using: str) -> None:
        self._most = most
        self._rows = OutboxRecord.objects.using(using).filter(stream=stream)
        self._left = 0
        self.waiting = 0
        """How many there were when they were last counted."""

    def used(self, rows: int) -> None:
        """Note that `rows` were written."""
        self._left -= rows

    def has_room(self) -> bool:
        """Count, if need be."""
        if not self._most or self._left > 0:
            return True
        self.waiting = self._rows.count()
        if self.waiting > self._most * ROOM:
            return False
        self._left = max(1, (self._most - self.waiting) // 4)
        return True
