"""What is dear is asked for seldom: a page that refreshes itself must not be a load."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Answer = TypeVar("Answer")

CHEAP_SECONDS = 0.2
SHARE = 10
"""Asking takes a tenth of the time at most, however many pages are open in this process."""


class _Kept(NamedTuple, Generic[Answer]):
    answer: Answer
    until: float


class Seldom(Generic[Answer]):
    """Keeps an answer that took long for ten times as long as it took; others not at all.

    A backlog of millions is counted row by row, for seconds, when people look most. One that
    `is_failure` is kept only as long as it took: what is mended is soon to be seen.
    """

    def __init__(
        self,
        ask: Callable[[Any], Answer],
        *,
        is_failure: Callable[[Answer], bool] = lambda _: False,
    ) -> None:
        self._ask = ask
        self._is_failure = is_failure
        self._asking = threading.Lock()
        self._kept: dict[Hashable, _Kept[Answer]] = {}

    def __call__(self, about: Hashable = "") -> Answer:
        """Return what `ask` answers, a fresh answer unless that would cost too much.

        While somebody waits for a dear one, the others have the one before. Raises what it raises.
        """
        kept = self._kept.get(about)
        if kept is not None and time.monotonic() < kept.until:
            return kept.answer
        if not self._asking.acquire(blocking=kept is None):
            assert kept is not None  # noqa: S101 - it would have waited otherwise  # nosec B101
            return kept.answer
        try:
            began = time.monotonic()
            answer = self._ask(about)
            now = time.monotonic()
        finally:
            self._asking.release()
        if now - began > CHEAP_SECONDS:
            times = 1 if self._is_failure(answer) else SHARE
            self._kept[about] = _Kept(answer, now + times * (now - began))
        else:
            self._kept.pop(about, None)
        return answer
