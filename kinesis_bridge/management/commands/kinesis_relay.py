"""``manage.py kinesis_relay``: send what is committed."""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext

from kinesis_bridge.conf import get_config
from kinesis_bridge.databases import some_outbox_databases
from kinesis_bridge.exceptions import EmulatorError
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.relay import Health, HealthPort, Relay, Rhythm
from kinesis_bridge.words import Text, said_by
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Iterator

    from kinesis_bridge.conf import StreamConfig


TOTALS = (_("sent"), _("dead_lettered"), _("retried"), _("batches"), _("seconds"))
"""What a relay tells of at its end; here, to be translated."""


class Command(BridgeCommand):
    """Runs a relay until SIGTERM or Ctrl-C; a second one ends it at once."""

    help = _("Send the committed events of the outbox to their streams.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--once", action="store_true", help=gettext("Send what waits, then end.")
        )
        parser.add_argument(
            "--threads", type=int, default=1, help=gettext("For each stream and database.")
        )
        parser.add_argument("--stream", help=gettext("Alias of one stream; default: all."))
        parser.add_argument(
            "--database", help=gettext("Alias of one; default: all with an outbox.")
        )
        parser.add_argument(
            "--batch", type=int, default=1000, help=gettext("Events a transaction.")
        )
        parser.add_argument(
            "--poll", type=float, default=0.5, help=gettext("Seconds between two looks.")
        )
        parser.add_argument(
            "--health-port", type=int, help=gettext("Serve /livez, /readyz and /metrics.")
        )
        parser.add_argument(
            "--health-host", default="127.0.0.1", help=gettext("Default: this machine.")
        )

    def run(self, **options: Any) -> dict[str, Any] | None:
        if options["threads"] < 1 or not 1 <= options["batch"] <= 10_000 or options["poll"] <= 0:
            raise CommandError(
                Text(_("--threads and --batch (up to 10000) are from 1 on, --poll above 0."))
            )
        port = options["health_port"]
        if port is not None and not 0 <= port < 65536:
            raise CommandError(Text(_("--health-port is from 0 (any that is free) to 65535.")))
        config = get_config()
        alias = options["stream"]
        streams = list(config.streams.values()) if alias is None else [config.stream(alias)]
        databases = some_outbox_databases(options["database"])
        relay = Relay(
            streams,
            databases,
            threads=options["threads"],
            rhythm=Rhythm(batch=options["batch"], poll=options["poll"], once=options["once"]),
        )
        serving = (
            nullcontext() if port is None else self._serving(relay, options["health_host"], port)
        )
        with serving, _stopping(relay), _collecting_rarely():
            if not options["once"]:
                self._say_what_runs(streams, databases)
                if config.local_aws:
                    self._look_for_the_emulator()
            totals = relay.run()
        if not self.as_json:
            self.console.print(
                ", ".join(f"{gettext(name)} {value}" for name, value in totals.items())
            )
        return totals

    def _say_what_runs(self, streams: Iterable[StreamConfig], databases: Iterable[str]) -> None:
        """Tell whoever started it that it is up: it says no more while all is well."""
        if self.as_json:
            return
        said = gettext(
            "Sends what is committed. Databases: %(databases)s; streams: %(streams)s. Ctrl-C ends"
            " it, and what waits then is kept."
        )
        given = {
            "databases": ", ".join(databases),
            "streams": ", ".join(stream.alias for stream in streams),
        }
        self.stdout.write(said % given)
        self.stdout.flush()

    def _look_for_the_emulator(self) -> None:
        """Warn where there is none: the first event, which would end this relay, may be far off.

        It may be that both are started at once, and it is not there yet.
        """
        from kinesis_bridge import local  # noqa: PLC0415 - only development has the emulator

        try:
            local.endpoint_url()
        except EmulatorError as error:
            self.stderr.write(gettext("Warning: {warning}").format(warning=said_by(error)))

    @contextmanager
    def _serving(self, relay: Relay, host: str, port: int) -> Iterator[None]:
        with HealthPort(Health(relay), host, port) as serving:
            self.stderr.write(gettext("Health: %(url)s") % {"url": f"{serving.url}/readyz"})
            yield


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

    def stop(*_given: object) -> None:
        relay.stop()
        for number in kept:
            signal.signal(number, lambda again, _frame: os._exit(128 + again))

    kept = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
