"""Where the time of a trigger goes: one step more with each table, on a PostgreSQL of its own.

``python -m benchmarks.outbox.steps --rounds 21``. Without Django's part of a save, which is most.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.outbox.environment import environment
from tests.support.databases import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 1000
_SAVES = 1000  # 100 a transaction
_EVENT = "convert_to('{}', 'UTF8')".format("x" * 400)
_OUTBOX = "kinesis_bridge_outboxrecord"
_INSERT = (
    "INSERT INTO {outbox} (stream, lane, partition_key, payload, event_id) SELECT 'default', 1,"
    f" '1', {_EVENT}, '01a21c5a-caf5-77fb-a475-6394ab4c3ddb' FROM new_rows"
)
# What is in the outbox of a step beside its columns; its trigger does nothing where it has none.
_STEPS: dict[str, str | None] = {
    "a trigger that does nothing": None,
    "and writes a constant": "INCLUDING DEFAULTS INCLUDING IDENTITY",
    "with the check of the lane": "INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS",
    "with both indexes": "INCLUDING ALL",
}


def main(rounds: int) -> None:
    """Print the table."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0, run_syncdb=True)
    with connection.cursor() as cursor:
        tables = {"bare": "app_bare"}
        for number, (step, including) in enumerate(_STEPS.items()):
            tables[step] = f"step_{number}"
            _make(cursor.execute, f"step_{number}", including)
        tables["ours: made of the row, and NOTIFY"] = "app_triggered"
        emptied = ", ".join([*tables.values(), _OUTBOX])

        def saved(table: str) -> float:
            cursor.execute(f"TRUNCATE {emptied}")
            began = time.perf_counter()
            for first in range(0, _SAVES, 100):
                cursor.execute("BEGIN")
                for number in range(first, first + 100):
                    cursor.execute(_row(table), [number % 100])
                    cursor.fetchone()
                cursor.execute("COMMIT")
            return (time.perf_counter() - began) / _SAVES * 1e6

        def updated(table: str) -> float:
            cursor.execute(f"TRUNCATE {emptied}")
            columns = "customer, status, total, note"
            rows = f"SELECT n % 100, 'new', 9, repeat('x', 60) FROM generate_series(1, {ROWS}) n"
            cursor.execute(f"INSERT INTO {table} ({columns}) {rows}")
            cursor.execute(f"TRUNCATE {_OUTBOX}")
            began = time.perf_counter()
            cursor.execute(f"UPDATE {table} SET status = 'paid'")
            return (time.perf_counter() - began) / ROWS * 1e6

        saves, updates = _measured(saved, tables, rounds), _measured(updated, tables, rounds)
    print("| step | one INSERT, us | | UPDATE, us a row | |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for step in tables:
        cells = [f"{us:.1f} | {ratio:.2f}x" for us, ratio in (saves[step], updates[step])]
        print(f"| {step} | {' | '.join(cells)} |")


def _row(table: str) -> str:
    return (
        f"INSERT INTO {table} (customer, status, total, note)"
        f" VALUES (%s, 'new', 9, '{'x' * 60}') RETURNING id"
    )


def _make(execute: Callable[[str], object], table: str, including: str | None) -> None:
    body = ""
    if including is not None:
        outbox = f"{table}_outbox"
        execute(f"CREATE TABLE {outbox} (LIKE {_OUTBOX} {including})")
        body = f"{_INSERT.format(outbox=outbox)};"
    execute(f"CREATE TABLE {table} (LIKE app_bare INCLUDING ALL)")
    execute(
        f"CREATE FUNCTION {table}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {body} RETURN NULL; END $$"
    )
    for operation in ("INSERT", "UPDATE"):
        execute(
            f"CREATE TRIGGER {table}_{operation} AFTER {operation} ON {table} REFERENCING NEW TABLE"
            f" AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {table}()"
        )


def _measured(
    write: Callable[[str], float], tables: dict[str, str], rounds: int
) -> dict[str, tuple[float, float]]:
    """Return the median time of each, and of its ratio to the first within a round."""
    times: dict[str, list[float]] = {step: [] for step in tables}
    for _ in range(rounds + 1):
        for step, table in tables.items():
            times[step].append(write(table))
    bare = times["bare"][1:]  # the first is warm-up
    return {
        step: (
            median(taken[1:]),
            median(mine / base for mine, base in zip(taken[1:], bare, strict=True)),
        )
        for step, taken in times.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    with Cluster(fsync="on", full_page_writes="on") as cluster:
        os.environ |= environment(cluster.url, "http://127.0.0.1:9")
        main(options.rounds)
