"""``memory``: keeps events in a list, for tests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .base import Delivery

if TYPE_CHECKING:
    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Event


class MemoryDelivery(Delivery):
    """Appends to :attr:`events` after the commit; sends nothing."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream)
        self.events: list[Event] = []
        """What was delivered, in order."""
        self.payloads: list[bytes] = []
        """The bytes of each."""
        self._lock = threading.Lock()

    def deliver(self, event: Event, payload: bytes, using: str) -> None:  # noqa: ARG002
        """Remember the event."""
        with self._lock:
            self.events.append(event)
            self.payloads.append(payload)
