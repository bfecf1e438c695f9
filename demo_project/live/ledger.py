"""What was committed against what arrived: the proof that nothing is lost or reordered.

Fed with ids only. It trusts neither the outbox nor the relay: the shop says what it committed, the
reader what the stream holds.
"""

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kinesis_bridge import Event
from kinesis_bridge.signals import event_published

LOST_AFTER = 10.0
"""Seconds after which an event that left the outbox and did not arrive is called lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Counts since the site started; of events, each once."""

    committed: int
    arrived: int
    lost: int
    """Of those committed: not in the outbox, and not on the stream either."""
    reordered: int
    """Arrived after an event of the same key that was committed later."""
    repeated: int
    """Arrivals of an event that had arrived before: at least once means that they may be."""


class Ledger:
    """Each method may be called from any thread."""

    def __init__(self) -> None:
        self._committing = threading.Lock()
        self._lock = threading.Lock()
        self._published = threading.local()
        self._place: dict[str, tuple[str, int]] = {}
        """Event id -> its key, and its place among all that was committed."""
        self._on_way: dict[str, float | None] = {}
        """What did not arrive -> since when it is in the outbox no more; None: it is."""
        self._last: dict[str, int] = {}
        """Key -> place of the latest event that arrived."""
        self._arrived: set[str] = set()
        self._reordered = self._repeated = 0

    def listen(self) -> None:
        """Hear from now on what this process publishes."""
        event_published.connect(self._note, weak=False)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Wrap one transaction: what it published is committed if the block ends well.

        One at a time, so that the order here is the order of the commits.
        """
        with self._committing:
            events: list[Event] = []
            self._published.events = events
            try:
                yield
            finally:
                del self._published.events
            with self._lock:
                for event in events:
                    self._place[event.id] = event.key, len(self._place)
                    if event.id not in self._arrived:
                        self._on_way[event.id] = None
                    else:  # the relay and the reader were faster than this line
                        self._judge(event.id)

    def _note(self, *, event: Event, **_: Any) -> None:
        events: list[Event] | None = getattr(self._published, "events", None)
        if events is not None:
            events.append(event)

    def arrived(self, event_id: str) -> bool:
        """Note an arrival; False: it is a repeat."""
        with self._lock:
            if event_id in self._arrived:
                self._repeated += 1
                return False
            self._arrived.add(event_id)
            self._on_way.pop(event_id, None)
            if event_id in self._place:
                self._judge(event_id)
            return True

    def _judge(self, event_id: str) -> None:
        key, place = self._place[event_id]
        self._reordered += place < self._last.get(key, -1)
        self._last[key] = max(place, self._last.get(key, -1))

    def verdict(self, waiting: Collection[str]) -> Verdict:
        """Return the counts, given the ids that the outbox holds now."""
        now = time.monotonic()
        with self._lock:
            lost = 0
            for event_id, since in self._on_way.items():
                if event_id in waiting:
                    self._on_way[event_id] = None
                elif since is None:
                    self._on_way[event_id] = now
                else:
                    lost += now - since > LOST_AFTER
            return Verdict(
                committed=len(self._place),
                arrived=len(self._place) - len(self._on_way),
                lost=lost,
                reordered=self._reordered,
                repeated=self._repeated,
            )


ledger = Ledger()
