"""Other producers of PyPI against the same sink: ``python -m benchmarks.peers``.

Each gets a virtual environment of its own under ``.venv-peers``: they need other releases of
botocore than this project. See ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import jobs
from benchmarks.compare import say
from benchmarks.events import Events
from benchmarks.jobs import ROOT, Job, JobError
from benchmarks.sink import Sink
from benchmarks.tables import machine, number, ratio, table
from benchmarks.variants import BASELINE, VARIANTS

_FOLDER = ROOT / ".venv-peers"
_OURS = (BASELINE, "fast-none", "fast-key", "fast-shard")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another producer."""

    name: str
    requirement: str
    note: str
    """What is set otherwise than by default, and what its name does not say."""

    @property
    def label(self) -> str:
        """As the table shows it."""
        return self.requirement + (", aggregated" if self.name.endswith("-aggregated") else "")


_NO_RATES = "its own rate limits lifted"
PEERS = (
    Peer(
        name="kiner",
        requirement="kiner==0.8.0",
        note="10 threads over boto3, unbounded queue, no order; `batch_time=0.2`, so that close() "
        "does not wait 5 s",
    ),
    Peer(
        name="async-kinesis",
        requirement="async-kinesis==3.0.1",
        note=f"aiobotocore, one request at a time; {_NO_RATES}",
    ),
    Peer(
        name="aiokpl", requirement="aiokpl==0.2.0", note=f"aiobotocore; {_NO_RATES}, unaggregated"
    ),
    Peer(
        name="aiokpl-aggregated",
        requirement="aiokpl==0.2.0",
        note=f"aiobotocore; {_NO_RATES}, KPL records of its default, 50 KiB",
    ),
)


def install(requirement: str, *others: str) -> str:
    """The environment's Python, made at first use; raises JobError with what pip said.

    `others` are what else it shall have.
    """
    folder = _FOLDER / requirement.replace("==", "-")
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if not done.exists():
        say(f"installing {requirement}")
        _call(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = (str(python), "-m", "pip", "--disable-pip-version-check", "--quiet")
        _call(*pip, "install", requirement, *others)
        done.touch()
    return str(python)


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        raise JobError("it could not be installed within 600 s") from error
    if done.returncode:
        raise JobError(f"it could not be installed: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason given"


def _installed(requirement: str) -> str:
    """The release of botocore it got."""
    name = next((_FOLDER / requirement.replace("==", "-")).glob("lib/*/site-packages/botocore-*"))
    return Path(name).name.removeprefix("botocore-").removesuffix(".dist-info")


def measure(
    names: Sequence[str], *, events: int, size: int, rounds: int, limit: float, seed: int
) -> dict[str, Any]:
    """Every peer, and ours and boto3 for comparison, in turns."""
    peers = [peer for peer in PEERS if peer.name in names]
    results: dict[str, dict[str, Any]] = {
        name: {"label": VARIANTS[name].label, "note": "", "rounds": []} for name in _OURS
    }
    pythons: dict[str, str] = {}
    for peer in peers:
        results[peer.name] = {"label": peer.label, "note": peer.note, "rounds": []}
        try:
            pythons[peer.name] = install(peer.requirement)
            results[peer.name]["note"] += f"; botocore {_installed(peer.requirement)}"
        except JobError as error:
            results[peer.name]["error"] = str(error)
    sent = Events(count=events, size=size, seed=seed, distinct=False)
    with Sink(fast=True) as sink:
        for turn in range(rounds):
            for name, result in results.items():
                if "error" in result:
                    continue
                say(f"round {turn + 1} of {rounds}: {name}")
                try:
                    result["rounds"].append(_one(name, pythons.get(name), sent, sink, limit))
                except JobError as error:
                    arrived = sink.stats()["records"]
                    result["error"] = f"{_last_line(str(error))}; {arrived:,} records at the sink"
    return {
        "machine": machine(),
        "events": events,
        "size": size,
        "rounds": rounds,
        "results": results,
    }


def _one(name: str, python: str | None, events: Events, sink: Sink, limit: float) -> dict[str, Any]:
    if python is None:
        variant = VARIANTS[name]
        job = Job(url=sink.url, how=variant.how, events=events, options=variant.options)
        result = jobs.run(job, ready=sink.reset)
    else:
        job = Job(url=sink.url, how=name, events=events, seconds=limit)
        command = (python, "-m", "benchmarks.peer_process")
        result = jobs.run(job, ready=sink.reset, python=command)
    return {
        **result,
        "arrived": sink.stats()["records"],
        "requests": sink.stats()["requests"],
        "events_per_second": events.count / result["seconds"],
        "cpu_per_million": result["cpu_seconds"] / events.count * 1e6,
    }


def markdown(document: dict[str, Any]) -> str:
    """The table of a run."""
    base = document["results"][BASELINE]["rounds"]
    rows = []
    for name, result in document["results"].items():
        rounds = result["rounds"]
        speed = [one["events_per_second"] for one in rounds]
        ratios = [a / b["events_per_second"] for a, b in zip(speed, base, strict=False)]
        rows.append(
            (
                result["label"],
                number(median(speed) if speed else None),
                ratio(median(ratios) if ratios else None),
                number(_median(rounds, "cpu_per_million"), 1),
                number(_median(rounds, "peak_mb")),
                number(_median(rounds, "requests")),
                _what_happened(name, result, document["events"]),
            )
        )
    head = (
        f"{document['size']} B", "events/s", "x put_records", "CPU-s a million", "peak MB",
        "requests", "what happened",
    )  # fmt: skip
    said = f"{document['machine']}; medians of {document['rounds']}, {document['events']:,} events"
    return f"{said}\n\n{table(head, rows)}"


def _median(rounds: Sequence[dict[str, Any]], figure: str) -> float | None:
    return median(one[figure] for one in rounds) if rounds else None


def _what_happened(name: str, result: dict[str, Any], events: int) -> str:
    aggregated = name.endswith(("-key", "-shard", "-aggregated"))
    said = []
    for one in result["rounds"]:
        if one["acknowledged"] != events:
            said.append(f"{one['acknowledged']:,} of {events:,} acknowledged")
        elif one["arrived"] != events and not aggregated:
            said.append(f"{one['arrived']:,} records at the sink")
    if "error" in result:
        said.append(f"**{result['error']}**")
    elif not said:
        said.append("all arrived")
    return "; ".join(filter(None, [*dict.fromkeys(said), result["note"]]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("peers", nargs="*", default=names, help="all of " + ", ".join(names))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=200, help="bytes of an event")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=90, help="seconds until a peer is ended")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="all figures instead of the table")
    given = parser.parse_args(arguments)
    document = measure(
        given.peers,
        events=given.events,
        size=given.size,
        rounds=given.rounds,
        limit=given.limit,
        seed=given.seed,
    )
    print(json.dumps(document, indent=1) if given.json else markdown(document))


if __name__ == "__main__":
    main()
