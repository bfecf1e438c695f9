"""Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table; all columns but the first ``left`` are aligned to the right."""
    marks = [":---" if place < left else "---:" for place in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *rows))


def number(value: float | None, digits: int = 0) -> str:
    """With thousands separated; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(value: float | None) -> str:
    """A ratio, ``4.31x``."""
    return "-" if value is None else f"{value:.2f}x"


def machine() -> str:
    """One line about where and when this ran."""
    names = ("boto3", "botocore", "django", "msgspec")
    return ", ".join(
        [
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            f"load {os.getloadavg()[0]:.1f}",
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in names),
        ]
    )
