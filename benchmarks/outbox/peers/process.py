"""One measured process, in a package's own environment.

``python -m benchmarks.outbox.peers.process saves ROUNDS``, ``fill COUNT`` or ``relay COUNT``; the
last line it prints is JSON. ``OUTBOX_PEER`` names the package.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from statistics import median
from typing import Any, Protocol, cast

from benchmarks.outbox.saves import SECONDS
from benchmarks.span import Span

SIZES = (1, 100)


class Use(Protocol):
    """What a package's module has."""

    def save(self, number: int) -> None:
        """Save one row, captured."""

    def warm(self) -> None:
        """Connect what the relay would connect once, before the clock starts."""

    def drain(self, count: int) -> int | None:
        """Run its relay until all is sent; what arrived, where only this process knows."""

    def left(self) -> int:
        """How many events were not sent."""


def saves(use: Use, rounds: int) -> dict[str, Any]:
    """Microseconds a save, and ratios to a bare one within a round, by size and variant."""
    from benchmarks.outbox.peers.models import Bare, row

    def bare(number: int) -> None:
        Bare(**row(number)).save()

    figures: dict[str, Any] = {}
    for size in SIZES:
        pairs = [(_measure(bare, size), _measure(use.save, size)) for _ in range(rounds + 1)][1:]
        figures[str(size)] = {
            "bare": median(base for base, _ in pairs),
            "captured": median(mine for _, mine in pairs),
            "ratio": median(mine / base for base, mine in pairs),
        }
    return figures


def _measure(save: Callable[[int], None], size: int) -> float:
    from django.db import transaction

    _execute("TRUNCATE")
    number = 0
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        with transaction.atomic():
            for _ in range(size):
                save(number)
                number += 1
    return (time.perf_counter() - began) / number * 1e6


def fill(use: Use, count: int) -> dict[str, Any]:
    """Make a backlog, as the package itself does, in transactions of 100."""
    from django.db import transaction

    _execute("TRUNCATE")
    for first in range(0, count, 100):
        with transaction.atomic():
            for number in range(first, min(first + 100, count)):
                use.save(number)
    _execute("VACUUM ANALYZE")
    return {"waiting": use.left()}


def relay(use: Use, count: int) -> None:
    """Drain the backlog; the figures are printed by the span."""
    from django.db import connection

    connection.ensure_connection()
    use.warm()
    span = Span()
    span.begin()
    arrived = use.drain(count)
    span.end()
    span.report(arrived=arrived, left=use.left())


def _execute(statement: str) -> None:
    from django.apps import apps
    from django.db import connection

    tables = [
        model._meta.db_table
        for model in apps.get_models()
        if model._meta.app_label not in {"auth", "contenttypes"} and model._meta.managed
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} {', '.join(tables)}")


def main(what: str, number: int) -> None:
    """Set Django up, do it, print."""
    import django
    from django.conf import settings

    logging.disable(logging.INFO)
    django.setup()
    use = cast("Use", import_module(f"benchmarks.outbox.peers.{settings.PEER.module}"))
    if what == "relay":
        relay(use, number)
        return
    figures = saves(use, number) if what == "saves" else fill(use, number)
    with_ = {"django": django.get_version(), "psycopg": version("psycopg")}
    print(json.dumps({**figures, "with": with_}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
