"""``python -m benchmarks.outbox``: runs the parts, prints the tables."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.outbox.environment import environment
from benchmarks.outbox.saves import SIZES
from benchmarks.sink import Sink
from tests.support.databases import Cluster


def main() -> None:
    """Start PostgreSQL and the sink; measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="of the saves")
    parser.add_argument("--events", type=int, default=200_000, help="of the backlog")
    parser.add_argument("--large", type=int, default=1_000_000, help="of the large backlog")
    parser.add_argument("--rate", type=int, default=200, help="events a second, for the latency")
    parser.add_argument("--seconds", type=int, default=15, help="of the latency")
    parser.add_argument("--writes", action="store_true", help="the first two tables alone")
    options = parser.parse_args()
    with Cluster(fsync="on", full_page_writes="on") as cluster, Sink(fast=True) as sink:
        cluster.create_database("bench")
        os.environ.update(environment(cluster.url_of("bench"), sink.url))
        _run("django", "migrate", "--run-syncdb", "--verbosity", "0")
        saves = _ask("benchmarks.outbox.saves", options.rounds)
        print(
            "| saves a transaction | bare, us | + ORM insert | ours, signals | ours, triggers"
            " | the floor |"
        )
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        ways = ("bare + ORM insert", "signals", "triggers", "floor")
        for size in SIZES:
            ratios = [f"{saves[f'{size} {name}']['ratio']:.2f}x" for name in ways]
            bare = saves[f"{size} bare"]["us"]
            print(f"| {size} | {bare:.0f} | {' | '.join(ratios)} |", flush=True)
        print(
            "\n| 1,000 rows at once | bare, us a row | ours, signals | ours, triggers | the floor |"
        )
        print("| :--- | ---: | ---: | ---: | ---: |")
        for name, figures in _ask("benchmarks.outbox.bulk", options.rounds).items():
            ratios = [f"{figures[name]:.2f}x" for name in ("signals", "triggers", "floor")]
            print(f"| {name} | {figures['bare']:.1f} | {' | '.join(ratios)} |", flush=True)
        if options.writes:
            return
        print("\n| relay | events | events/s | peak MB |\n| :--- | ---: | ---: | ---: |")
        for label, count, processes, threads in (
            ("1 process", options.events, 1, 1),
            ("1 process, `--threads 3`", options.events, 1, 3),
            ("2 processes", options.events, 2, 1),
            ("1 process", options.large, 1, 1),
        ):
            figures = _ask("benchmarks.outbox.relays", count, processes, threads)
            print(
                f"| {label} | {count:,} |"
                f" {figures['events_a_second']:,.0f} | {figures['peak_mb']:.0f} |",
                flush=True,
            )
        figures = _ask("benchmarks.outbox.latency", options.rate, options.seconds)
        print(
            f"\nCommit to acknowledged at {options.rate} events/s: p50 {figures['p50']:.1f} ms,"
            f" p99 {figures['p99']:.1f} ms, longest {figures['longest']:.1f} ms"
            f" ({figures['events']:,} events)."
        )


def _run(*arguments: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", *arguments], check=True, stdout=subprocess.PIPE
    ).stdout


def _ask(module: str, *arguments: int) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_run(module, *map(str, arguments)))
    return answer


main()
