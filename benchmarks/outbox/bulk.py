"""The cost of ``bulk_create`` and ``update()`` of 1,000 rows, beside bare ones."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

ROWS = 1000


def main(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds a row, and ratios to the bare one within a round."""
    from django.db.models import F

    from benchmarks.outbox.app.models import Bare, Declared, Floor, Triggered
    from benchmarks.outbox.floor import install

    install()

    def rows(model: Any) -> list[Any]:
        return [
            model(customer=number % 100, status="new", total=9, note="x" * 60)
            for number in range(ROWS)
        ]

    ways: dict[str, Callable[[Any], None]] = {
        "bulk_create": lambda model: model.objects.bulk_create(rows(model)),
        "update() to a value": lambda model: model.objects.update(status="paid"),
        "update() by an expression": lambda model: model.objects.update(total=F("total") + 1),
        "bulk_update": _bulk_update,
    }
    figures: dict[str, dict[str, float]] = {}
    for name, write in ways.items():
        times: dict[Any, list[float]] = {model: [] for model in (Bare, Declared, Triggered, Floor)}
        for _ in range(rounds + 1):
            for model, taken in times.items():
                _empty()
                if name != "bulk_create":
                    _fill(model, rows(model))
                began = time.perf_counter()
                write(model)
                taken.append((time.perf_counter() - began) / ROWS * 1e6)
        bare = times[Bare][1:]  # the first is warm-up
        figures[name] = {"bare": median(bare)}
        for way, model in (
            ("signals", Declared),
            ("triggers", Triggered),
            ("floor", Floor),
        ):
            pairs = zip(times[model][1:], bare, strict=True)
            figures[name][way] = median(mine / base for mine, base in pairs)
    return figures


def _fill(model: Any, rows: list[Any]) -> None:
    """Make the rows, and forget their events."""
    from kinesis_bridge.models import OutboxRecord

    model.objects.bulk_create(rows)
    OutboxRecord.objects.all().delete()


def _bulk_update(model: Any) -> None:
    held = list(model.objects.all())
    for row in held:
        row.status = "sent"
    model.objects.bulk_update(held, ["status"])


def _empty() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE kinesis_bridge_outboxrecord, app_bare, app_declared, app_triggered, app_floor"
        )


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(main(int(sys.argv[1]))))
