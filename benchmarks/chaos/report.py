"""The table of a run."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import number, table

_KEYS = 10  # that are shown


def markdown(document: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = [
        _head(document),
        table(("", "figure"), _figures(document)),
        table(("action", "times"), _counts(document["actions"])),
    ]
    if document["faults"]:
        parts.append(table(("fault of the sink", "hits"), _counts(document["faults"])))
    damaged = {
        key: damage
        for key, damage in document["keys"].items()
        if damage["lost"] or damage["reordered"] or damage["phantom"]
    }
    if damaged:
        kinds = ("lost", "duplicated", "reordered", "phantom")
        rows = [
            (key, *(number(damage[kind]) for kind in kinds))
            for key, damage in sorted(damaged.items())[:_KEYS]
        ]
        parts.append(
            f"{len(damaged):,} keys are damaged, for example:\n\n{table(('key', *kinds), rows)}"
        )
        parts.append("\n".join(f"- {example}" for example in document["examples"]))
    parts.append(_end(document))
    return "\n\n".join(parts)


def _head(document: dict[str, Any]) -> str:
    options = document["options"]
    return (
        f"{document['machine']}; {options['database']}, {options['seconds']:g} s,"
        f" {options['relays']} relays, {options['writers']} writers, {options['keys']} keys,"
        f" {options['rate']:g} events/s, seed {options['seed']}"
    )


def _figures(document: dict[str, Any]) -> list[tuple[str, str]]:
    writers, relays, outbox = document["writers"], document["relays"], document["outbox"]
    logs, cuts = document["logs"], document["cuts"]
    per_cut = number(document["duplicated_per_cut"], 1)
    return [
        ("events committed", number(document["events"])),
        ("events arrived, repeats included", number(document["arrived"])),
        ("**lost**", number(document["lost"])),
        ("**reordered**", number(document["reordered"])),
        ("**phantom**", number(document["phantom"])),
        ("duplicated", number(document["duplicated"])),
        (f"duplicated for each of {cuts:,} kills, stops, cuts and resets", per_cut),
        ("sequence numbers that fell, lines of log", number(logs["order_violations"])),
        ("events rolled back on purpose", number(writers["rolled_back"])),
        ("transactions", number(writers["transactions"])),
        ("transactions ended by the database", number(writers["errors"])),
        ("of these in doubt", number(writers["in_doubt"])),
        ("of these committed after all", number(writers["in_doubt_committed"])),
        ("relays started", number(relays["started"])),
        ("relays that ended by themselves", number(relays["fallen"])),
        ("relays killed, too slow after SIGTERM", number(relays["slow_to_end"])),
        ("longest from SIGTERM to the end, s", number(relays["longest_end_seconds"], 1)),
        ("most events waiting", number(outbox["most"])),
        ("drained at the end within, s", number(outbox["drain_seconds"], 1)),
        ("left in the outbox", number(outbox["left"])),
        ("dead letters", number(document["dead_letters"])),
        ("lines of log, all relays", number(logs["lines"])),
        ("lines of log, most of one relay in a minute", number(logs["most_in_a_minute"])),
        ("lines of log a relay and minute of outage", number(logs["a_minute"], 1)),
    ]


def _counts(counts: dict[str, int]) -> list[tuple[str, str]]:
    return [(name, number(count)) for name, count in sorted(counts.items())]


def _end(document: dict[str, Any]) -> str:
    if document["ok"]:
        return "Nothing lost, nothing reordered, nothing phantom."
    return "**Failed**: " + "; ".join(document["problems"])
