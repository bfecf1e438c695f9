"""One run: start, chaos, calm, drain, verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos import databases, logs, processes, truth, verdict
from benchmarks.chaos.actions import CUT_FAULTS, CUTS, Chaos, RunError
from benchmarks.chaos.options import Options
from benchmarks.chaos.processes import Child, Family
from benchmarks.chaos.verdict import Verdict
from benchmarks.chaos.writer import Plan
from benchmarks.sink import Sink
from benchmarks.tables import machine

_TICK = 0.05
_FIRST_SECONDS = 60.0  # until the first event arrived
_WRITER_SECONDS = 45.0  # a writer ends by then: it may wait for a lock, or for the database
_LOOK_SECONDS = 1.0  # between two looks at the outbox
_TAIL = 40  # lines of a log that are shown
_TAILS = 8  # logs that are shown


@dataclass(kw_only=True)
class _Outbox:
    """What was seen of it."""

    most: int = 0
    left: int | None = None
    """At the end; None: the database did not say."""
    drain_seconds: float = 0.0


def run(options: Options) -> dict[str, Any]:
    """Run and judge; the document has ``ok`` and, where that is false, ``problems``.

    Raises RunError, ``databases.DatabaseError`` or TruthError where there is nothing to judge.
    """
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        folder = options.logs or Path(enter(tempfile.TemporaryDirectory(prefix="chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        database = enter(databases.database(options.database, options.url))
        sink = enter(
            Sink(
                process=True,
                shards=options.shards,
                seed=options.seed,
                latency_ms=options.latency_ms,
                require_sts=True,
            )
        )
        environment = processes.environment(
            sink=sink.url,
            database=database.url,
            settings=options.settings,
            options=json.dumps(options.options),
        )
        truth.connect(environment)
        stack.callback(truth.hang_up)
        truth.prepare(options.keys)
        family = enter(Family(folder.resolve(), environment, options.relay))
        chaos = Chaos(
            family, sink, database,
            longest_pause=options.pause[1], seed=options.seed, shards=options.shards,
        )  # fmt: skip
        try:
            document = _run(options, family, chaos, sink)
        except Exception:
            _show((*family.writers, *family.relays))
            raise
        if not document["ok"]:
            _show(chaos.fallen or family.relays)
        return document


def _run(options: Options, family: Family, chaos: Chaos, sink: Sink) -> dict[str, Any]:
    started = time.monotonic()
    outbox = _Outbox()
    deck = chaos.deck(options.actions)
    _start(options, family)
    _wait_for_first(chaos, sink)
    end = time.monotonic() + options.seconds
    look = due = time.monotonic()
    due += chaos.pause(options.pause)
    while (now := time.monotonic()) < end:
        chaos.tick()
        if now >= due:
            kind = deck.deal()
            if not chaos.act(kind):
                deck.put_back(kind)
            due = time.monotonic() + chaos.pause(options.pause)
        if now >= look:
            outbox.most = max(outbox.most, truth.pending() or 0)
            look = time.monotonic() + _LOOK_SECONDS
        time.sleep(_TICK)
    chaos.calm()
    written = _end_writers(family)
    _drain(options, chaos, outbox)
    _end_relays(chaos, family)
    outbox.left = truth.pending()
    judged = verdict.judge(truth.rows(), verdict.arrivals_of(sink.accepted()))
    return _document(options, family, chaos, sink, outbox, judged) | {
        "writers": written,
        "seconds": round(time.monotonic() - started, 1),
    }


def _start(options: Options, family: Family) -> None:
    for _ in range(options.relays):
        family.start_relay()
    for index in range(options.writers):
        family.start_writer(
            Plan(
                index=index,
                seed=options.seed,
                keys=options.keys,
                rate=options.rate / options.writers,
                seconds=options.seconds + _FIRST_SECONDS + _WRITER_SECONDS,
            )
        )


def _wait_for_first(chaos: Chaos, sink: Sink) -> None:
    deadline = time.monotonic() + _FIRST_SECONDS
    while not sink.stats()["records"]:
        chaos.tick()
        if time.monotonic() > deadline:
            raise RunError(f"no event arrived within {_FIRST_SECONDS:.0f} s, before any action")
        time.sleep(_TICK)


def _end_writers(family: Family) -> dict[str, Any]:
    """Let them end their transactions; return the sums of what they did."""
    for writer in family.writers:
        writer.terminate()
    deadline = time.monotonic() + _WRITER_SECONDS
    sums: Counter[str] = Counter()
    errors = []
    for writer in family.writers:
        if not writer.join(deadline - time.monotonic()):
            raise RunError(f"{writer} did not end within {_WRITER_SECONDS:.0f} s of SIGTERM")
        result = writer.result()
        if writer.code != 0 or result is None:
            raise RunError(f"{writer} failed with exit code {writer.code}")
        errors.append(result.pop("last_error"))
        sums.update(result)
    return {**sums, "last_errors": [error for error in errors if error]}


def _drain(options: Options, chaos: Chaos, outbox: _Outbox) -> None:
    started = time.monotonic()
    while truth.pending() != 0 and time.monotonic() - started < options.drain:
        chaos.tick()
        time.sleep(_TICK)
    outbox.drain_seconds = round(time.monotonic() - started, 2)


def _end_relays(chaos: Chaos, family: Family) -> None:
    for relay in family.running():
        relay.terminate()
    while family.ending():
        chaos.tick()  # which kills those that take too long
        time.sleep(_TICK)


def _document(
    options: Options, family: Family, chaos: Chaos, sink: Sink, outbox: _Outbox, judged: Verdict
) -> dict[str, Any]:
    faults = sink.stats()["faults"]
    cuts = sum(chaos.done[kind] for kind in CUTS) + sum(faults.get(k, 0) for k in CUT_FAULTS)
    figures = logs.figures(
        {relay.name: relay.lines() for relay in family.relays},
        {relay.name: relay.life for relay in family.relays},
        chaos.outages,
    )
    problems = _problems(judged, chaos, outbox)
    return {
        "ok": not problems,
        "problems": problems,
        "machine": machine(),
        "options": {**dataclasses.asdict(options), "logs": options.logs and str(options.logs)}
        | {"url": "given" if options.url else ""},  # it may hold a password
        **dataclasses.asdict(judged),
        "cuts": cuts,
        "duplicated_per_cut": round(judged.duplicated / cuts, 2) if cuts else None,
        "actions": dict(chaos.done),
        "faults": faults,
        "relays": _relays(family, chaos),
        "outbox": dataclasses.asdict(outbox),
        "dead_letters": truth.dead_letters(),
        "logs": {**dataclasses.asdict(figures), "a_minute": figures.a_minute},
        "timeline": chaos.timeline,
    }


def _relays(family: Family, chaos: Chaos) -> dict[str, Any]:
    results = [result for relay in family.relays if (result := relay.result())]
    names = ("sent", "dead_lettered", "retried", "batches")
    return {
        "started": len(family.relays),
        "fallen": len(chaos.fallen),
        "slow_to_end": len(chaos.slow),
        "longest_end_seconds": round(max((r.ending_for for r in family.relays), default=0), 2),
        # Of those that could say: what was killed could not.
        **{name: sum(result.get(name) or 0 for result in results) for name in names},
    }


def _problems(judged: Verdict, chaos: Chaos, outbox: _Outbox) -> list[str]:
    problems = [
        f"{count:,} {name}"
        for name in ("lost", "reordered", "phantom")
        if (count := getattr(judged, name))
    ]
    if not judged.events:
        problems.append("no row was committed: the run proves nothing")
    if outbox.left is None:
        problems.append("the database did not answer at the end")
    elif outbox.left:
        problems.append(
            f"{outbox.left:,} events still in the outbox {outbox.drain_seconds:.0f} s after the end"
        )
    problems += [f"{relay} ended by itself, exit code {relay.code}" for relay in chaos.fallen]
    return problems


def _show(children: Iterable[Child]) -> None:
    """Print the ends of the logs that say anything, the last ones first."""
    speaking = [(child, lines) for child in children if (lines := child.lines())]
    for child, lines in speaking[-_TAILS:]:
        print(f"--- {child}, exit code {child.code}, last lines of its log", file=sys.stderr)
        print("\n".join(lines[-_TAIL:]), file=sys.stderr)
