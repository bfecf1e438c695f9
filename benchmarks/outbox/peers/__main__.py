"""``python -m benchmarks.outbox.peers``: ours and the other packages, on one PostgreSQL."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.compare import say
from benchmarks.jobs import ROOT, JobError
from benchmarks.outbox.peers.packages import KINESIS, NOTHING, PACKAGES, Package
from benchmarks.outbox.peers.process import SIZES
from benchmarks.outbox.peers.stomp import Stomp
from benchmarks.peers import install
from benchmarks.sink import Sink
from benchmarks.tables import machine, number, ratio, table
from tests.support.databases import Cluster

_WARM_UP = 1  # record that a process sends to the sink before the clock starts
_SECONDS = 180.0  # for what is not a relay
_THREADS = 3  # of our relay, in one process; the other packages' have no such option


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outbox.peers", description=__doc__)
    names = [package.name for package in PACKAGES]
    parser.add_argument("packages", nargs="*", default=names, help="all of " + ", ".join(names))
    parser.add_argument("--rounds", type=int, default=9, help="of the saves")
    parser.add_argument("--relays", type=int, default=3, help="runs of each relay")
    parser.add_argument("--events", type=int, help="of a package's backlog: its own number")
    parser.add_argument("--ours", type=int, default=200_000, help="of our backlog")
    parser.add_argument("--limit", type=float, default=60, help="seconds until a relay is ended")
    parser.add_argument("--json", action="store_true", help="all figures instead of the table")
    given = parser.parse_args()
    with Cluster(fsync="on", full_page_writes="on") as cluster, Sink(fast=True) as sink:
        say("ours")
        database = cluster.create_database("ours")
        results = {"ours": _ours(database, sink, given)}
        for package in PACKAGES:
            if package.name not in given.packages:
                continue
            result: dict[str, Any] = {"events": given.events or package.events}
            results[package.name] = result
            try:
                python = install(package.requirement, "psycopg[binary]", *package.needs)
                database = cluster.create_database(package.module)
                _package(package, python, database, sink, given, result)
            except JobError as error:
                result["error"] = str(error)
    document = {
        "machine": machine(),
        "rounds": given.rounds,
        "relays": given.relays,
        "results": results,
    }
    print(json.dumps(document, indent=1) if given.json else markdown(document))


def _ours(database: str, sink: Sink, given: argparse.Namespace) -> dict[str, Any]:
    """Our own figures, by the modules of ``benchmarks.outbox``."""
    extra = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.outbox.settings",
        "DATABASE_URL": database,
        **_aws(sink),
    }
    _call((sys.executable, "-m", "django", "migrate", "--run-syncdb", "-v0"), extra, _SECONDS)
    command = (sys.executable, "-m", "benchmarks.outbox.saves", str(given.rounds))
    saves = _ask(command, extra, _SECONDS)
    relay = (sys.executable, "-m", "benchmarks.outbox.relays", str(given.ours), "1", str(_THREADS))
    speeds = []
    for _ in range(given.relays):
        sink.reset()
        speeds.append(_ask(relay, extra, _SECONDS)["events_a_second"])
        _must_be(given.ours, sink.stats()["records"])
    return {
        "saves": {
            str(size): {
                "bare": saves[f"{size} bare"]["us"],
                "captured": saves[f"{size} declared"]["us"],
                "ratio": saves[f"{size} declared"]["ratio"],
            }
            for size in SIZES
        },
        "events": given.ours,
        "speed": median(speeds),
        "speeds": speeds,
    }


def _package(
    package: Package,
    python: str,
    database: str,
    sink: Sink,
    given: argparse.Namespace,
    result: dict[str, Any],
) -> None:
    """Put a package's figures into `result`, one after the other: what fails ends it."""
    events = result["events"]
    extra = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.outbox.peers.settings",
        "DATABASE_URL": database,
        "OUTBOX_PEER": package.name,
        **_aws(sink),
    }
    process = (python, "-m", "benchmarks.outbox.peers.process")
    with Stomp() as stomp:
        extra["STOMP_PORT"] = str(stomp.port)
        _call((python, "-m", "django", "migrate", "--run-syncdb", "-v0"), extra, _SECONDS)
        say(f"{package.name}: saves")
        saves = _ask((*process, "saves", str(given.rounds)), extra, _SECONDS)
        result |= {"with": saves.pop("with"), "saves": saves}
        for target in ("kinesis", "nothing") if package.target == KINESIS else ("own",):
            extra["OUTBOX_TARGET"] = target
            speeds = []
            for turn in range(given.relays):
                say(f"{package.name}: relay into {target}, {turn + 1} of {given.relays}")
                waiting = _ask((*process, "fill", str(events)), extra, _SECONDS)["waiting"]
                _must_be(events, waiting)
                sink.reset()
                stomp.messages = 0
                figures = _ask((*process, "relay", str(events)), extra, given.limit)
                _must_be(0, figures["left"])
                if target == "kinesis":
                    _must_be(events, sink.stats()["records"] - _WARM_UP)
                elif target == "own":
                    _must_be(events, figures["arrived"] or stomp.messages)
                speeds.append(events / figures["seconds"])
            name = "nothing" if target == "nothing" else "speed"
            result |= {name: median(speeds), f"{name}s": speeds}


def _must_be(expected: int, found: int) -> None:
    if found != expected:
        raise JobError(f"{found:,} events where {expected:,} should be")


def _aws(sink: Sink) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": sink.url,
        "AWS_ACCESS_KEY_ID": "AKIABENCHMARK0000000",
        "AWS_SECRET_ACCESS_KEY": "made-up-for-the-sink",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def _ask(command: tuple[str, ...], extra: Mapping[str, str], seconds: float) -> dict[str, Any]:
    last = _call(command, extra, seconds).splitlines()[-1]
    try:
        answer: dict[str, Any] = json.loads(last)
    except ValueError:
        raise JobError(f"it ended with: {last[:300]}") from None
    return answer


def _call(command: tuple[str, ...], extra: Mapping[str, str], seconds: float) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with tempfile.TemporaryDirectory() as directory:  # some write files where they stand
        try:
            done = subprocess.run(
                command,
                input="\n",  # the word a span waits for
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
                cwd=directory,
                env={**kept, "PYTHONPATH": str(ROOT), **extra},
            )
        except subprocess.TimeoutExpired:
            raise JobError(f"not done within {seconds:.0f} s") from None
    if done.returncode or not (done.stdout.strip() or "migrate" in command):
        said = done.stderr.strip().splitlines()
        raise JobError(said[-1][:300] if said else f"exit code {done.returncode}")
    return done.stdout


def markdown(document: dict[str, Any]) -> str:
    """The tables of a run."""
    results = document["results"]
    ours = results["ours"]
    rows = [
        (
            "ours",
            "-",
            *_ratios(ours),
            number(ours["speed"]),
            "-",
            "-",
            f"`@publishes`; `kinesis_relay --threads {_THREADS}`; {ours['events']:,} events",
            "`put_records` to the sink",
        )
    ]
    rows += [
        _row(package, results[package.name], ours["speed"])
        for package in PACKAGES
        if package.name in results
    ]
    head = (
        "package", "version", "1 save a transaction, x bare", "100, x bare", "relay, events/s",
        f"relay into {NOTHING}", "ours is", "captured by; relay", "its relay sends to",
    )  # fmt: skip
    return (
        f"{document['machine']}; medians of {document['rounds']} rounds of saves,"
        f" of {document['relays']} runs of a relay\n\n"
        f"{table(head, rows)}"
    )


def _row(package: Package, result: dict[str, Any], ours: float) -> tuple[str, ...]:
    about = [package.note, f"{result['events']:,} events"]
    about += [f"{name} {release}" for name, release in result.get("with", {}).items()]
    if "error" in result:
        about.append(f"**{result['error']}**")
    times = [f"{ours / result[key]:.0f}" for key in ("speed", "nothing") if key in result]
    return (
        package.name,
        package.version,
        *_ratios(result),
        number(result.get("speed")),
        number(result.get("nothing")),
        f"{' / '.join(times)} times" if times else "-",
        "; ".join(about),
        package.target,
    )


def _ratios(result: dict[str, Any]) -> tuple[str, ...]:
    if "saves" not in result:
        return ("-",) * len(SIZES)
    return tuple(
        f"{ratio(figures['ratio'])} ({figures['bare']:.0f} to {figures['captured']:.0f} us)"
        for figures in (result["saves"][str(size)] for size in SIZES)
    )


if __name__ == "__main__":
    main()
