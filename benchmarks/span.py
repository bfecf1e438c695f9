"""What is measured of a process, and how it talks to the one that started it.

Standard library only: the processes of other producers, in environments of their own, use it too.
The child prints ``{}`` when all is made and warm, waits for a line, runs, and prints its results.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


class Span:
    """The measured part of a process: wall time, CPU time of all threads, peak memory."""

    def __init__(self) -> None:
        self._figures: dict[str, float] = {}

    def begin(self) -> None:
        """Tell that all is ready, wait for the word, begin."""
        gc.collect()
        gc.freeze()  # what is there already is not walked again by the collections to come
        say({})
        sys.stdin.readline()
        self._memory = _memory("VmRSS")
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def end(self) -> None:
        """End the measured part."""
        wall = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu
        peak = _memory("VmHWM")
        self._figures = {
            "seconds": wall,
            "cpu_seconds": cpu,
            "peak_mb": peak,
            "grown_mb": max(0.0, peak - self._memory),
        }

    def report(self, **more: Any) -> None:
        """Print the figures, and ``more``."""
        say({**self._figures, **more})

    def run(self, work: Callable[[], dict[str, Any]]) -> None:
        """Measure a function that returns what else is to be reported."""
        self.begin()
        more = work()
        self.end()
        self.report(**more)

    async def arun(self, work: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """The same with a coroutine function."""
        self.begin()
        more = await work()
        self.end()
        self.report(**more)


def say(document: dict[str, Any]) -> None:
    """One JSON line to the process that waits for it."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _memory(name: str) -> float:
    """Megabytes: resident now (VmRSS) or at most so far (VmHWM).

    From /proc where there is one: on Linux a process inherits getrusage's ``ru_maxrss`` from the
    process that started it.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
