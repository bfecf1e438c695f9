"""The wheel and the sdist, as ``make dist`` builds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.aws import ROOT


def build(folder: Path, *what: str) -> Path:
    """Build into `folder`: ``--wheel``, or both, the wheel from the sdist; return the wheel."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *what],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel
