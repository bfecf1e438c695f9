"""``console``: prints each event, for a first look without any AWS."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from .base import Delivery

if TYPE_CHECKING:
    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.event import Event


class ConsoleDelivery(Delivery):
    """Writes one line per event to standard output after the commit: stream, key, payload.

    Not for production: the payload goes wherever standard output goes.
    """

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream)
        self._lock = threading.Lock()

    def deliver(self, event: Event, payload: bytes, using: str) -> None:  # noqa: ARG002
        """Print the event."""
        text = payload.decode(errors="replace")
        line = f"[kinesis {self.stream.alias} {event.key}] {text}".replace("\n", "\\n")
        # The transaction is over: a terminal that lacks a letter is no reason to fail the request.
        encoding = sys.stdout.encoding or "utf-8"
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        with self._lock:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
