"""A stream's state, shared by the threads of a relay: works, or rests after a failure."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from kinesis_bridge import signals

if TYPE_CHECKING:
    from kinesis_bridge.exceptions import AwsError

logger = logging.getLogger("kinesis_bridge.relay")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
SECONDS_BETWEEN_LINES = 60.0


class Quietly:
    """Lets one line a minute through."""

    def __init__(self) -> None:
        self._next = 0.0

    def may_speak(self) -> bool:
        """Tell whether a line is due, and count it."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SECONDS_BETWEEN_LINES
        return True


class StreamState:
    """Whether a stream takes events, as its last sends showed."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.error: AwsError | None = None
        """Why it rests; None while it works."""
        self._lock = threading.Lock()
        self._quietly = Quietly()
        self._since = self._until = 0.0
        self._attempts = 0

    def rest(self) -> float:
        """Return for how many seconds nothing should be sent; 0 while it works."""
        return max(0.0, self._until - time.monotonic()) if self.error else 0.0

    def failed(self, error: AwsError) -> None:
        """Rest, longer each time, with full jitter; say so once a minute."""
        now = time.monotonic()
        with self._lock:
            began = self.error is None
            if began:
                self._since, self._attempts = now, 0
            self.error = error
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._attempts)
            self._until = now + random.uniform(longest / 4, longest)  # noqa: S311  # nosec B311
            self._attempts = min(self._attempts + 1, 16)
            speaks = self._quietly.may_speak()
        if speaks:
            logger.warning(
                "Stream %s takes no events since %.0f s; they wait in the outbox. %s",
                self.alias,
                now - self._since,
                error,
            )
        if began:
            signals.relay_paused.send_robust(StreamState, stream=self.alias, error=error)

    def worked(self) -> None:
        """Note that something was acknowledged."""
        if self.error is None:
            return
        with self._lock:
            self.error = None
            seconds = time.monotonic() - self._since
        logger.info("Stream %s takes events again, after %.0f s.", self.alias, seconds)
