"""Starts measured processes, one at a time, and reads what they print. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.events import Events

ROOT = Path(__file__).resolve().parents[1]
REGION = "us-east-1"
STREAM = "orders"
ROLE = "arn:aws:iam::222222222222:role/EventWriter"
MODULE = "benchmarks.process"


class JobError(RuntimeError):
    """A measured process failed, or did not end in time."""


class OutOfTimeError(JobError):
    """It did not end in time and was ended."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measured process is to do."""

    url: str
    how: str
    """See ``variants.Variant`` and ``peers.PEERS``."""
    events: Events
    options: dict[str, Any] = field(default_factory=dict)
    """OPTIONS of our stream."""
    role: str = ""
    """ARN of a role to assume, at the sink's STS."""
    resume: bool = False
    """After an outage, go on with what was not acknowledged."""
    seconds: float = 600.0
    """It is ended after so long."""

    def dumps(self) -> str:
        """As the child's argument."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Job:
        """From the child's argument."""
        document = json.loads(text)
        return cls(**{**document, "events": Events(**document["events"])})


def run(
    job: Job,
    ready: Callable[[], object],
    python: Sequence[str] = (sys.executable, "-m", MODULE),
) -> dict[str, Any]:
    """Run a job in a process of its own; ``ready`` is called before the measured part begins.

    Raises JobError with the end of what the process said on stderr.
    """
    deadline = time.monotonic() + job.seconds
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [*python, job.dumps()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=directory,  # some write files where they stand
            env=_environment(job.url),
        )
        try:
            assert process.stdout is not None
            if not select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
                raise OutOfTimeError(f"not ready within {job.seconds:.0f} s")
            if process.stdout.readline():
                ready()
                rest, _ = process.communicate(b"\n", max(0.1, deadline - time.monotonic()))
                lines = rest.splitlines()
                if lines:
                    answer: dict[str, Any] = json.loads(lines[-1])
                    return answer
            process.wait(5)
        except subprocess.TimeoutExpired:
            raise OutOfTimeError(f"not done within {job.seconds:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
        raise JobError(said[-2000:] or f"exit code {process.returncode}")


def _environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
