"""The cost of a save in a transaction of 1, 10 and 100, beside a bare one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

SIZES = (1, 10, 100)
SECONDS = 0.25  # for one variant in one round


def main(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds a save, and ratios to a bare one within a round, by size and variant."""
    from benchmarks.outbox.app.models import Bare, Declared, Floor, Triggered
    from benchmarks.outbox.floor import install
    from kinesis_bridge.models import OutboxRecord, lane_of

    def row(number: int) -> dict[str, object]:
        return {"customer": number % 100, "status": "new", "total": 9, "note": "x" * 60}

    def bare(number: int) -> None:
        Bare(**row(number)).save()

    def with_insert(number: int) -> None:
        order = Bare(**row(number))
        order.save()
        key = str(order.customer)
        OutboxRecord.objects.create(
            stream="default",
            lane=lane_of("default", key),
            partition_key=key,
            payload=json.dumps({"id": order.pk, **row(number)}).encode(),
            event_id=str(number),
        )

    def declared(number: int) -> None:
        Declared(**row(number)).save()

    def triggered(number: int) -> None:
        Triggered(**row(number)).save()

    def constant(number: int) -> None:
        Floor(**row(number)).save()

    install()
    ways: dict[str, Callable[[int], None]] = {
        "bare": bare,
        "bare + ORM insert": with_insert,
        "signals": declared,
        "triggers": triggered,
        "floor": constant,
    }
    figures: dict[str, dict[str, float]] = {}
    for size in SIZES:
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds + 1):
            for name, save in ways.items():
                times[name].append(_measure(save, size))
        for name, values in times.items():
            pairs = list(zip(values, times["bare"], strict=True))[1:]  # the first is warm-up
            figures[f"{size} {name}"] = {
                "us": median(mine for mine, _ in pairs),
                "ratio": median(mine / base for mine, base in pairs),
            }
    return figures


def _measure(save: Callable[[int], None], size: int) -> float:
    from django.db import connection, transaction

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE kinesis_bridge_outboxrecord, app_bare, app_declared, app_triggered, app_floor"
        )
    number = 0
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        with transaction.atomic():
            for _ in range(size):
                save(number)
                number += 1
    return (time.perf_counter() - began) / number * 1e6


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(main(int(sys.argv[1]))))
