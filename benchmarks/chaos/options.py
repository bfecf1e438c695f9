"""The command line: what a run may ask for, and how much of it at most."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos.databases import KINDS

DEFAULT_SECONDS = 60.0
_LIMITS = {
    "seconds": (1, 24 * 3600),
    "relays": (1, 16),
    "writers": (1, 16),
    "keys": (2, 100_000),
    "rate": (1, 5_000),
    "drain": (1, 3600),
    "shards": (1, 100),
    "latency_ms": (0, 10_000),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run."""

    seconds: float = DEFAULT_SECONDS
    """How long things go wrong; the drain comes after."""
    database: str = "postgresql"
    url: str = ""
    """A server to use instead of one of our own; it is not restarted."""
    relays: int = 3
    writers: int = 2
    keys: int = 50
    rate: float = 200.0
    """Events a second, of all writers together."""
    seed: int = 1
    pause: tuple[float, float] = (1.0, 3.0)
    """Seconds between two actions, from and to."""
    actions: tuple[str, ...] = ()
    """Only these; none given: all that the database allows."""
    drain: float = 60.0
    """Seconds at most until the outbox is empty, at the end."""
    shards: int = 4
    latency_ms: float = 10.0
    """Of each reply of the sink: so that what dies has a request under way."""
    relay: tuple[str, ...] = ()
    """More arguments of ``kinesis_relay``."""
    options: dict[str, Any] = field(default_factory=dict)
    """OPTIONS of the stream."""
    settings: str = "benchmarks.chaos.settings"
    """Settings module of the writers and the relays."""
    logs: Path | None = None
    """Folder that keeps the logs; none: they go when the run is over."""
    json: bool = False


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a wrong one ends the process with the reason."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    minutes, seconds = given.pop("minutes"), given.pop("seconds")
    given["seconds"] = seconds or (minutes * 60 if minutes else DEFAULT_SECONDS)
    if given["relays"] is None:
        # SQLite has one relay at a time: others wait for its lock.
        given["relays"] = 1 if given["database"] == "sqlite" else Options.relays
    for name, (least, most) in _LIMITS.items():
        if not least <= given[name] <= most:
            parser.error(f"{name}: {given[name]:g} is not within {least} and {most:,}")
    if given["url"] and given["database"] == "sqlite":
        parser.error("--url names a server: SQLite has none")
    return Options(**given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description="Does everything that was committed arrive, in order, whatever dies?",
        epilog="Exit 0: nothing lost, reordered or phantom. Exit 1: something was, or the run "
        "itself failed. The seed decides what goes wrong and what is written, not the timing.",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float)
    length.add_argument("--seconds", type=float, help=f"{DEFAULT_SECONDS:g}")
    add = parser.add_argument
    add("--database", choices=KINDS, default="postgresql", help="postgresql")
    add("--url", default="", help="a server to use; else our own, or TEST_MYSQL_URL")
    add("--relays", type=int, help="3; with sqlite 1")
    add("--writers", type=int, default=Options.writers, help="2")
    add("--keys", type=int, default=Options.keys, help="50")
    add("--rate", type=float, default=Options.rate, metavar="EVENTS", help="a second: 200")
    add("--seed", type=int, default=Options.seed, help="of what goes wrong and what is written: 1")
    add("--pause", type=_span, default=Options.pause, metavar="FROM,TO",
        help="seconds between actions: 1,3")  # fmt: skip
    add("--actions", type=_names, default=(), metavar="NAME,...",
        help="only these; the report of a run names them all")  # fmt: skip
    add("--drain", type=float, default=Options.drain, metavar="SECONDS",
        help="until the outbox must be empty: 60")  # fmt: skip
    add("--shards", type=int, default=Options.shards, help="of the stream: 4")
    add("--latency-ms", type=float, default=Options.latency_ms, metavar="MS",
        help="of each reply of the sink: 10")  # fmt: skip
    add("--relay", type=_words, default=(), metavar="ARGUMENTS",
        help='of kinesis_relay: "--threads 2 --batch 100"')  # fmt: skip
    add("--options", type=json.loads, default={}, metavar="JSON",
        help='OPTIONS of the stream: \'{"AGGREGATE": "key"}\'')  # fmt: skip
    add("--settings", default=Options.settings, metavar="MODULE",
        help="settings that build on benchmarks.chaos.settings")  # fmt: skip
    add("--logs", type=Path, metavar="FOLDER", help="keep the logs there")
    add("--json", action="store_true", help="all figures instead of the table")
    return parser


def _span(text: str) -> tuple[float, float]:
    least, _, most = text.partition(",")
    span = float(least), float(most or least)
    if not 0 < span[0] <= span[1]:
        raise argparse.ArgumentTypeError(f"{text} is not FROM,TO with 0 < FROM <= TO")
    return span


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())
