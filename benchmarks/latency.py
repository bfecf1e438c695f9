"""What CONCURRENCY does where a round trip takes its time."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks import jobs
from benchmarks.compare import say
from benchmarks.events import Events
from benchmarks.jobs import Job, JobError
from benchmarks.sink import Sink
from benchmarks.tables import machine, number, table
from benchmarks.variants import BASELINE, VARIANTS

CONCURRENCY = (1, 4, 16)
_OURS = ("fast-none", "fast-key", "fast-shard")


def measure(
    *, latency_ms: float, events: int, rounds: int, shards: int, seed: int
) -> dict[str, Any]:
    """Events/s by variant and CONCURRENCY; every reply of the sink comes ``latency_ms`` late."""
    sent = Events(count=events, seed=seed, distinct=False)
    cells: dict[tuple[str, int], list[float]] = {}
    with Sink(fast=True, latency_ms=latency_ms, shards=shards, route=shards > 1) as sink:
        for turn in range(rounds):
            for name, concurrency in [(BASELINE, 1)] + [(n, c) for n in _OURS for c in CONCURRENCY]:
                say(f"round {turn + 1} of {rounds}: {name}, {concurrency} at once")
                variant = VARIANTS[name]
                options = {**variant.options, "CONCURRENCY": concurrency}
                job = Job(url=sink.url, how=variant.how, events=sent, options=options)
                result = jobs.run(job, ready=sink.reset)
                if result["acknowledged"] != events or result["records"] != sink.stats()["records"]:
                    raise JobError(f"{name}: {result['acknowledged']} of {events} acknowledged")
                cells.setdefault((name, concurrency), []).append(events / result["seconds"])
    return {
        "machine": machine(),
        "latency_ms": latency_ms,
        "shards": shards,
        "rounds": rounds,
        "results": [
            {"variant": name, "concurrency": at_once, "rounds": cell, "median": median(cell)}
            for (name, at_once), cell in cells.items()
        ],
    }


def markdown(document: dict[str, Any]) -> str:
    """The table of a run."""
    found = {(r["variant"], r["concurrency"]): r["median"] for r in document["results"]}
    rows = [
        (VARIANTS[name].label, *(number(found.get((name, at_once))) for at_once in CONCURRENCY))
        for name in dict.fromkeys(name for name, _ in found)
    ]
    head = (
        f"200 B, events/s at {document['latency_ms']:g} ms, {document['shards']} shard(s)",
        *(f"{at_once} at once" for at_once in CONCURRENCY),
    )
    return f"{document['machine']}; medians of {document['rounds']}\n\n{table(head, rows)}"
