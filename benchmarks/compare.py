"""Ours beside boto3: events/s, CPU, memory, payload units; interleaved, medians, ratios."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import orjson

from benchmarks import jobs
from benchmarks.events import Events
from benchmarks.jobs import Job, JobError
from benchmarks.sink import Accepted, Sink, Verdict, check, event_of
from benchmarks.tables import machine, number, ratio, table
from benchmarks.variants import BASELINE, TARGETS, VARIANTS, Variant

_CHECKED_EVENTS = 50_000
_FIGURES = (
    "events_per_second",
    "cpu_per_million",
    "peak_mb",
    "grown_mb",
    "sink_busy",
    "requests",
    "records",
    "events_ratio",
    "cpu_ratio",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    variants: Sequence[Variant]
    sizes: Sequence[int]
    events: int
    rounds: int
    shards: int = 1
    seed: int = 1


def compare(plan: Plan) -> dict[str, Any]:
    """Check every variant once against a sink that reads, then measure them in turns."""
    checked = {
        (size, variant.name): _checked(plan, variant, size)
        for size in plan.sizes
        for variant in plan.variants
    }
    measured: dict[tuple[int, str], list[dict[str, Any]]] = {pair: [] for pair in checked}
    # Several shards: the sink must read the keys, to name the shard that each record belongs to.
    with Sink(fast=True, shards=plan.shards, route=plan.shards > 1) as sink:
        for turn in range(plan.rounds):
            for size in plan.sizes:
                for variant in plan.variants:
                    say(f"round {turn + 1} of {plan.rounds}: {size} B, {variant.label}")
                    measured[size, variant.name].append(_measured(plan, variant, size, sink))
                _add_ratios(measured, size, turn)
    results = [
        {
            "size": size,
            "variant": name,
            "label": VARIANTS[name].label,
            "keys": VARIANTS[name].keys,
            "events": _count(plan, VARIANTS[name]),
            "rounds": rounds,
            "median": _medians(rounds) | checked[size, name],
        }
        for (size, name), rounds in measured.items()
    ]
    return {
        "machine": machine(),
        "rounds": plan.rounds,
        "shards": plan.shards,
        "seed": plan.seed,
        "results": results,
        "targets": _targets(results),
    }


def _count(plan: Plan, variant: Variant) -> int:
    return max(1, int(plan.events * variant.share))


def _measured(plan: Plan, variant: Variant, size: int, sink: Sink) -> dict[str, Any]:
    events = Events(
        count=_count(plan, variant), size=size, keys=variant.keys, seed=plan.seed, distinct=False
    )
    job = Job(url=sink.url, how=variant.how, events=events, options=variant.options)
    result = jobs.run(job, ready=sink.reset)
    stats = sink.stats()
    _agree(variant, events.count, result, stats)
    return {
        "events_per_second": events.count / result["seconds"],
        "cpu_per_million": result["cpu_seconds"] / events.count * 1e6,
        "sink_busy": stats["cpu_seconds"] / result["seconds"],
        "requests": stats["requests"],
        **result,
    }


def _agree(variant: Variant, count: int, result: dict[str, Any], stats: dict[str, Any]) -> None:
    """Raise unless process and sink tell the same of what was sent."""
    told = f"{result['acknowledged']} acknowledged in {result['records']} records"
    taken = stats["records"]
    wrong = result["acknowledged"] != count or result["records"] != taken
    if wrong or (taken != count and not variant.aggregates):
        raise JobError(f"{variant.label}: {count} events, {told}, {taken} at the sink")


def _checked(plan: Plan, variant: Variant, size: int) -> dict[str, Any]:
    """Send once to a sink that keeps everything: each event there, once, in order; its units."""
    count = min(_CHECKED_EVENTS, _count(plan, variant))
    events = Events(count=count, size=size, keys=variant.keys, seed=plan.seed)
    say(f"check: {size} B, {variant.label}")
    with Sink(process=True, shards=plan.shards) as sink:
        job = Job(url=sink.url, how=variant.how, events=events, options=variant.options)
        result = jobs.run(job, ready=sink.reset)
        verdict = verdict_of(sink.accepted(), events)
        stats = sink.stats()
    _agree(variant, count, result, stats)
    if not verdict.exact and variant.how == "stream":
        raise JobError(f"{variant.label}: {verdict}")
    return {
        "checked_events": count,
        "lost": verdict.lost,
        "reordered": verdict.reordered,
        "duplicated": verdict.duplicated,
        "units_per_million": stats["units"] / count * 1e6,
    }


def events_of(data: bytes) -> tuple[Hashable, Hashable] | list[tuple[Hashable, Hashable]]:
    """(key, number) of every event of a record, aggregated or not; for ``check``."""
    from kinesis_bridge.aggregation import is_aggregated, unpack_data

    if not is_aggregated(data):
        return event_of(data)
    events: list[tuple[Hashable, Hashable]] = []
    for record in unpack_data(data):
        document: Any = orjson.loads(record.data)
        events.append((document["key"], document["n"]))
    return events


def verdict_of(accepted: Sequence[Accepted], events: Events) -> Verdict:
    """``check`` of these events."""
    return check(accepted, events.expected(), events_of)


def _add_ratios(
    measured: dict[tuple[int, str], list[dict[str, Any]]], size: int, turn: int
) -> None:
    """To the baseline of the same round: other load on the machine falls on both alike."""
    if (size, BASELINE) not in measured:
        return
    base = measured[size, BASELINE][turn]
    for (other, _), rounds in measured.items():
        if other == size:
            result = rounds[turn]
            result["events_ratio"] = result["events_per_second"] / base["events_per_second"]
            result["cpu_ratio"] = result["cpu_per_million"] / base["cpu_per_million"]


def _medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        figure: median(result[figure] for result in rounds)
        for figure in _FIGURES
        if figure in rounds[0]
    }


def _targets(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for target in TARGETS:
        for result in results:
            value = result["median"].get(target.figure)
            if (result["variant"], result["size"]) == (target.variant, target.size) and value:
                found.append(
                    {
                        "text": target.text,
                        "at_least" if target.at_least else "at_most": target.bound,
                        "value": value,
                        "met": target.met(value),
                    }
                )
    return found


def say(text: str) -> None:
    """Progress, beside the results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


# -- in Markdown


def markdown(document: dict[str, Any]) -> str:
    """The tables of a run."""
    results = document["results"]
    parts = [
        f"{document['machine']}; medians of {document['rounds']}, {document['shards']} shard(s)"
    ]
    for size in dict.fromkeys(result["size"] for result in results):
        rows = [_row(result) for result in results if result["size"] == size]
        head = (
            f"{size} B", "events/s", "x put_records", "CPU-s a million", "x put_records",
            "peak MB", "of it in the run", "units a million", "sink busy",
        )  # fmt: skip
        parts.append(table(head, rows))
    if document["targets"]:
        lines = [
            (
                target["text"],
                f"≥ {target['at_least']:,g}"
                if "at_least" in target
                else f"≤ {target['at_most']:,g}",
                number(target["value"], 0 if target["value"] > 100 else 2),
                "met" if target["met"] else "**not met**",
            )
            for target in document["targets"]
        ]
        parts.append(table(("target", "bound", "median", ""), lines))
    return "\n\n".join(parts)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    middle = result["median"]
    return (
        result["label"],
        number(middle["events_per_second"]),
        ratio(middle.get("events_ratio")),
        number(middle["cpu_per_million"], 1),
        ratio(middle.get("cpu_ratio")),
        number(middle["peak_mb"]),
        number(middle["grown_mb"]),
        number(middle["units_per_million"]),
        f"{middle['sink_busy']:.0%}",
    )
