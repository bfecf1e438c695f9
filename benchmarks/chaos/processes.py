"""Writers and relays as child processes. Only what was started here is ever signalled, by pid."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from benchmarks.chaos.logs import Window
from benchmarks.chaos.writer import Plan
from benchmarks.jobs import ROOT

TERM_SECONDS = 15.0
"""A relay that was told to end has ended by then, or it is counted as slow and killed."""


class Child:
    """One process, its output and its log in files."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.born = time.time()
        self.died: float | None = None
        self.stopped = False
        self.asked: float | None = None  #: when a signal of ours told it to end
        self.log = folder / f"{name}.log"
        self.out = folder / f"{name}.out"
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                # Ctrl-C is for us: we end them in our own order.
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __repr__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def alive(self) -> bool:
        """Tell whether it runs, or is stopped."""
        if self._process.poll() is None:
            return True
        if self.died is None:
            self.died = time.time()
        return False

    @property
    def code(self) -> int | None:
        """Its exit code; minus the signal's number where one ended it."""
        return self._process.returncode

    @property
    def life(self) -> Window:
        """When it ran, in seconds since 1970."""
        return self.born, self.died or time.time()

    def kill(self) -> None:
        """SIGKILL; it is gone on return."""
        self.asked = self.asked or time.time()
        self._send(signal.SIGKILL)
        self._process.wait()
        self.alive()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.asked = time.time()
        self.resume()
        self._send(signal.SIGTERM)

    @property
    def ending_for(self) -> float:
        """Seconds from being told to end until it ended, or until now."""
        return 0.0 if self.asked is None else self.life[1] - self.asked

    def join(self, timeout: float) -> bool:
        """Wait for its end; False where it has not ended in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, timeout))
        return not self.alive()

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, where it is stopped."""
        if self.stopped:
            self.stopped = False
            self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        # Popen sends nothing to a process whose end it has seen: its pid may be another's by now.
        self._process.send_signal(number)

    def result(self) -> dict[str, Any] | None:
        """Return the JSON document that it printed; None where there is none."""
        text = self.out.read_text(errors="replace").strip()
        try:
            document = json.loads(text)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    def lines(self) -> list[str]:
        """Return its log."""
        return self.log.read_text(errors="replace").splitlines()


class Family:
    """All children of a run; a context manager that leaves none behind."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], relay: Sequence[str] = ()
    ) -> None:
        self.relays: list[Child] = []
        """All that there ever were."""
        self.writers: list[Child] = []
        self._folder = folder
        self._environment = environment
        self._relay = relay
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in (*self.writers, *self.relays):
            if child.alive():
                child.kill()

    def start_relay(self) -> Child:
        """Start one more."""
        arguments = ["django", "kinesis_relay", "--json", *self._relay]
        relay = Child(f"relay-{next(self._numbers)}", arguments, self._environment, self._folder)
        self.relays.append(relay)
        return relay

    def start_writer(self, plan: Plan) -> Child:
        """Start one more."""
        document = json.dumps(dataclasses.asdict(plan))
        arguments = ["benchmarks.chaos.writer", document]
        writer = Child(f"writer-{plan.index}", arguments, self._environment, self._folder)
        self.writers.append(writer)
        return writer

    def running(self) -> list[Child]:
        """Return the relays that work: alive, not stopped, not asked to end."""
        return [r for r in self.relays if not r.asked and not r.stopped and r.alive()]

    def stopped(self) -> list[Child]:
        """Return the relays that are stopped."""
        return [relay for relay in self.relays if relay.stopped and relay.alive()]

    def ending(self) -> list[Child]:
        """Return the relays that were told to end and have not yet."""
        return [relay for relay in self.relays if relay.asked and relay.alive()]

    def fallen(self) -> list[Child]:
        """Return the relays and writers that ended without being asked to."""
        return [c for c in (*self.relays, *self.writers) if not c.asked and not c.alive()]


def environment(*, sink: str, database: str, settings: str, options: str) -> dict[str, str]:
    """Return the children's environment, whole: nothing of the caller's AWS."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "KINESIS_", "CHAOS_"))
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {
        **kept,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
        "DJANGO_SETTINGS_MODULE": settings,
        "CHAOS_DATABASE_URL": database,
        "CHAOS_OPTIONS": options,
        "AWS_ENDPOINT_URL": sink,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "chaos",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
