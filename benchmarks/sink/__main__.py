"""The command: prints one JSON line with the URL, serves, and on SIGTERM one with the counters."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from benchmarks.sink.config import Config
from benchmarks.sink.faults import KINDS
from benchmarks.sink.server import App, make_app, serve


def _parser() -> argparse.ArgumentParser:
    kinds = "\n".join(f"  {kind:<20} {meaning}" for kind, meaning in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sink",
        description="Amazon Kinesis over HTTP on 127.0.0.1, for benchmarks and tests of failure. "
        "What each option means is said in benchmarks/sink/config.py.",
        epilog=f"faults: KIND[=PROBABILITY][:OPTION=VALUE]..., comma-separated\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Config()
    for field in dataclasses.fields(Config):
        default: Any = getattr(defaults, field.name)
        flag = "--" + field.name.replace("_", "-")
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        elif isinstance(default, tuple):
            parser.add_argument(
                "--stream", dest=field.name, action="append", default=[], metavar="NAME[:SHARDS]"
            )
        else:
            parser.add_argument(
                flag, type=type(default), default=default, metavar=type(default).__name__.upper()
            )
    parser.add_argument("--config", help="all of this as one JSON object", metavar="JSON")
    return parser


async def _run(app: App) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(app, lambda url: _say({"url": url, "pid": os.getpid(), "mode": app.mode}), stop)


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    document = options.pop("config")
    try:
        app = make_app(Config(**(orjson.loads(document) if document else options)))
    except (ValueError, TypeError) as err:
        parser.error(str(err))
    asyncio.run(_run(app))
    _say(app.stats.snapshot())


if __name__ == "__main__":
    main()
