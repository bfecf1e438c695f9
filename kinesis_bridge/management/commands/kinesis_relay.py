"""``manage.py kinesis_relay``: send what is committed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from kinesis_bridge.conf import get_config
from kinesis_bridge.databases import some_outbox_databases
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.relay import Relay, Rhythm

if TYPE_CHECKING:
    from argparse import ArgumentParser


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
        kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def stop(*_: object) -> None:
            relay.stop()
            for each in kept:
                signal.signal(each, lambda again, _: os._exit(128 + again))

        for number in kept:
            signal.signal(number, stop)
        try:
            totals = relay.run()
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        if not self.as_json:
            self.console.print(", ".join(f"{name} {value}" for name, value in totals.items()))
        return totals
