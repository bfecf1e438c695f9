"""The producer's benchmarks: ``python -m benchmarks.producer``, see ``benchmarks/README.md``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from benchmarks import compare, failing, latency
from benchmarks.jobs import JobError
from benchmarks.variants import VARIANTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.producer", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--faults", action="store_true", help="what arrives when everything fails")
    mode.add_argument(
        "--latency-ms", type=float, metavar="MS", help="CONCURRENCY at this round trip time"
    )
    parser.add_argument("--events", type=int, help="200,000; with another mode 100,000")
    parser.add_argument("--rounds", type=int, help="5; with --latency-ms 3")
    parser.add_argument(
        "--sizes", type=_numbers, default=[200, 1024], metavar="BYTES,...", help="200,1024"
    )
    parser.add_argument(
        "--variants",
        type=_variants,
        default=list(VARIANTS),
        metavar="NAME,...",
        help="all of " + ", ".join(VARIANTS),
    )
    parser.add_argument(
        "--fault", type=_names, metavar="NAME,...", help="with --faults: only these"
    )
    parser.add_argument(
        "--limit", type=float, default=300, help="seconds for one run of --faults, 300"
    )
    parser.add_argument("--shards", type=int, help="of the stream: 1; with --faults 4")
    parser.add_argument("--seed", type=int, default=1, help="of the keys and of the faults")
    parser.add_argument("--json", action="store_true", help="all figures instead of the tables")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    return text.split(",")


def _variants(text: str) -> list[str]:
    unknown = [name for name in _names(text) if name not in VARIANTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}")
    return _names(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for and print it."""
    given = _parser().parse_args(arguments)
    if given.faults:
        plan = failing.Plan(
            events=given.events or 100_000,
            faults=given.fault,
            limit=given.limit,
            shards=given.shards or 4,
            seed=given.seed,
        )
        document = failing.fail(plan)
        text = failing.markdown(document)
    elif given.latency_ms is not None:
        document = latency.measure(
            latency_ms=given.latency_ms,
            events=given.events or 100_000,
            rounds=given.rounds or 3,
            shards=given.shards or 1,
            seed=given.seed,
        )
        text = latency.markdown(document)
    else:
        document = compare.compare(
            compare.Plan(
                variants=[VARIANTS[name] for name in given.variants],
                sizes=given.sizes,
                events=given.events or 200_000,
                rounds=given.rounds or 5,
                shards=given.shards or 1,
                seed=given.seed,
            )
        )
        text = compare.markdown(document)
    print(json.dumps(document, indent=1) if given.json else text)


if __name__ == "__main__":
    try:
        main()
    except JobError as error:
        sys.exit(f"{error}")
