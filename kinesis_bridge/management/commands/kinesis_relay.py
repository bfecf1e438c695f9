"""``manage.py kinesis_relay``: send what is committed."""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from kinesis_bridge.conf import get_config
from kinesis_bridge.databases import some_outbox_databases
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.relay import Relay, Rhythm

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator


class Command(BridgeCommand):
    """Runs a relay until SIGTERM or Ctrl-C; a second one ends it at once."""

    help = "Send the committed events of the outbox to their streams."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--once", action="store_true", help="Send what waits, then end.")
        parser.add_argument("--threads", type=int, default=1, help="For each stream and database.")
        parser.add_argument("--stream", help="Alias of one stream; default: all.")
        parser.add_argument("--database", help="Alias of one; default: all with an outbox.")
        parser.add_argument("--batch", type=int, default=1000, help="Events a transaction.")
        parser.add_argument("--poll", type=float, default=0.5, help="Seconds between two looks.")

    def run(self, **options: Any) -> dict[str, Any] | None:
        if options["threads"] < 1 or not 1 <= options["batch"] <= 10_000 or options["poll"] <= 0:
            raise CommandError("--threads and --batch (up to 10000) are from 1 on, --poll above 0.")
        config = get_config()
        alias = options["stream"]
        streams = list(config.streams.values()) if alias is None else [config.stream(alias)]
        relay = Relay(
            streams,
            some_outbox_databases(options["database"]),
            threads=options["threads"],
            rhythm=Rhythm(batch=options["batch"], poll=options["poll"], once=options["once"]),
        )
        with _stopping(relay), _collecting_rarely():
            totals = relay.run()
        if not self.as_json:
            self.console.print(", ".join(f"{name} {value}" for name, value in totals.items()))
        return totals


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Let the garbage collector look less often.

    Rows and answers come by the thousand and hold no cycles: it would find nothing each time.
    """
    before = gc.get_threshold()
    gc.set_threshold(10_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _stopping(relay: Relay) -> Iterator[None]:
    """Stop `relay` by the first signal, end the process by the second."""
    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return

    def stop(*_: object) -> None:
        relay.stop()
        for number in kept:
            signal.signal(number, lambda again, _: os._exit(128 + again))

    kept = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
