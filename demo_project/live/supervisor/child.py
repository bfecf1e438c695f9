"""One process of the demo: started away from the terminal's Ctrl-C, and ended in order."""

import json
import os
import signal
import subprocess  # nosec B404
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from demo_project.live import lifeline

ROOT = Path(__file__).resolve().parents[3]


class Child:
    """A command of ``manage.py`` as a process. What it writes to stderr goes to the terminal."""

    def __init__(self, name: str, *arguments: str, env: dict[str, str], stdin: int) -> None:
        """`stdin`: the reading end of a :mod:`~demo_project.live.lifeline`."""
        self.name = name
        # In a session of its own: the terminal's Ctrl-C is the supervisor's, who ends all in order.
        self._process = subprocess.Popen(  # noqa: S603 - our own commands  # nosec B603
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            cwd=ROOT,
            env={**env, "PYTHONUNBUFFERED": "1"},
            stdin=stdin,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended, a signal as its negative number; None while it runs."""
        return self._process.poll()

    def documents(self, take: Callable[[dict[str, Any]], None]) -> None:
        """Give each JSON document that it prints to `take`, one a line, in a thread."""

        def read() -> None:
            assert self._process.stdout is not None  # noqa: S101 - asked for above  # nosec B101
            for line in self._process.stdout:
                with suppress(ValueError):
                    take(json.loads(line))

        threading.Thread(target=read, daemon=True).start()

    def first(self) -> dict[str, Any] | None:
        """Wait for the JSON object that it prints first; None where it ended before."""
        assert self._process.stdout is not None  # noqa: S101 - asked for above  # nosec B101
        text = ""
        for line in self._process.stdout:
            text += line
            with suppress(ValueError):
                document: dict[str, Any] = json.loads(text)
                return document
        return None

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """SIGTERM, and SIGKILL for what does not heed it; return when it is gone."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(lifeline.END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
