"""A stream's state, shared by the threads of a relay: works, or rests after a failure."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from kinesis_bridge import signals
from kinesis_bridge.logfields import fields, stream_fields

if TYPE_CHECKING:
    from datetime import datetime

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.exceptions import AwsError

logger = logging.getLogger("kinesis_bridge.relay")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
SECONDS_BETWEEN_LINES = 60.0
IDLE_SECONDS = 30.0
"""After its last failure: a stream for which nothing waits any more is no longer said to be down.
Longer than a pause, or a relay that alone cannot send would come and go beside one that can."""


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


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A time in which a stream took no events."""

    error: AwsError
    """Why, as it was said last."""
    began: datetime
    ended: datetime | None = None
    """None: it lasts."""


class StreamState:
    """Whether a stream takes events, as its last sends showed."""

    def __init__(self, alias: str, config: StreamConfig | None = None) -> None:
        """`config`: the stream's, for what its log lines say of role and account."""
        self.alias = alias
        self._config = config
        self.error: AwsError | None = None
        """Why it rests; None while it works."""
        self.last: Outage | None = None
        """The outage that lasts, or the one before."""
        self._worked = False
        self._lock = threading.Lock()
        self._quietly = Quietly()
        self._since = self._until = self._failed = 0.0
        self._attempts = 0
        self._refused: set[str] = set()
        """Databases whose events were refused since it worked, as far as some may wait there."""

    def rest(self) -> float:
        """Return for how many seconds nothing should be sent; 0 while it works."""
        return max(0.0, self._until - time.monotonic()) if self.error else 0.0

    def failed(self, error: AwsError, database: str = "") -> None:
        """Rest, longer each time, with full jitter; say so once a minute."""
        now = time.monotonic()
        with self._lock:
            self._failed = now
            self._refused.add(database)
            began = self.error is None
            if began:
                self._since, self._attempts = now, 0
            lasts = self.last if self.last and not self.last.ended else None
            self.last = Outage(error=error, began=lasts.began if lasts else timezone.now())
            self._worked = False
            self.error = error
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._attempts)
            self._until = now + random.uniform(longest / 4, longest)  # noqa: S311  # nosec B311
            self._attempts = min(self._attempts + 1, 16)
            speaks = self._quietly.may_speak()
        if speaks:
            seconds = now - self._since
            logger.warning(
                "Stream %s takes no events%s; they wait in the outbox. %s",
                self.alias,
                f", for {seconds:.0f} s now" if seconds >= 1 else "",
                error,
                extra=self._fields(seconds, error),
            )
        if began:
            signals.relay_paused.send_robust(StreamState, stream=self.alias, error=error)

    def worked(self) -> None:
        """Note that something was acknowledged."""
        self._worked = True
        if self.error is not None:
            self._resume("Stream %s takes events again, after %.0f s.")

    def idle(self, database: str = "") -> None:
        """Note that nothing waits there: another relay sent it, or somebody discarded it.

        Without this an outage would last until this very relay has something to send again.
        """
        if self.error is None:
            return
        with self._lock:
            self._refused.discard(database)
            if self._refused or time.monotonic() - self._failed < IDLE_SECONDS:
                return
        self._resume("Nothing waits for stream %s any more; it took no events for %.0f s.")

    def _resume(self, words: str) -> None:
        """End the outage and tell so; `words` get the alias and the seconds."""
        if (seconds := self._end()) is None:
            return
        logger.info(words, self.alias, seconds, extra=self._fields(seconds))
        signals.relay_resumed.send_robust(StreamState, stream=self.alias, seconds=seconds)

    def _fields(self, seconds: float, error: AwsError | None = None) -> dict[str, Any]:
        given = {"seconds": round(seconds, 3)}
        if self._config is None:
            return fields(error, stream=self.alias, **given)
        return stream_fields(self._config, error, **given)

    def _end(self) -> float | None:
        """End the rest; return how long it was, None where another thread was first."""
        with self._lock:
            error, self.error = self.error, None
            self._refused.clear()
            if error is not None and self.last is not None:
                self.last = replace(self.last, ended=timezone.now())
            return None if error is None else time.monotonic() - self._since

    def has_worked(self) -> bool:
        """Tell whether anything was acknowledged since the last question, and not refused since."""
        worked, self._worked = self._worked, False
        return worked
