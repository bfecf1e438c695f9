"""``manage.py kinesis_local``: the emulator, for several processes at once."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext
from rich.cells import cell_len, set_cell_size

from kinesis_bridge.conf import get_config
from kinesis_bridge.local import LOOPBACK, SITE_ACCOUNT, Emulator
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BridgeCommand):
    """Runs until Ctrl-C or SIGTERM."""

    help = _("Run the AWS emulator with both accounts, the roles and the streams of the settings.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--port", type=int, default=4566, help=gettext("Port; 0: any free one.")
        )
        parser.add_argument(
            "--host", default=LOOPBACK, help=gettext("Address of this machine's loopback.")
        )
        parser.add_argument(
            "--expose",
            action="store_true",
            help=gettext("Listen on any --host: others can do everything."),
        )

    def run(self, **options: Any) -> None:
        if not 0 <= options["port"] <= 65535:
            raise CommandError(
                Text(
                    _("--port must be 0 (any free one) to 65535, not {port}"), port=options["port"]
                )
            )
        # Before anybody can know that it runs. A shell's background job ignores SIGINT: set both.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            emulator = Emulator(options["port"], options["host"], exposed=options["expose"])
            try:
                self.announce(emulator.url, get_config())
                threading.Event().wait()
            finally:
                emulator.stop()

    def announce(self, url: str, config: Any) -> None:
        """Print where it listens and what it has."""
        roles = [role.role_arn for role in config.roles.values()]
        streams = [stream.name for stream in config.streams.values()]
        if self.as_json:
            self.print_json(
                {"url": url, "site_account": SITE_ACCOUNT, "roles": roles, "streams": streams}
            )
            return
        self.console.print(
            gettext("AWS emulator on %(url)s: account A is %(account)s")
            % {"url": url, "account": SITE_ACCOUNT}
        )
        kinds = ((gettext("role"), roles), (gettext("stream"), streams))
        width = max(7, *(cell_len(kind) for kind, _names in kinds))  # some letters take two
        for kind, names in kinds:
            for name in names:
                self.console.print(f"  {set_cell_size(kind, width)} {name}", highlight=False)
        if not config.local_aws:
            self.console.print(
                gettext("LOCAL_AWS is off: set KINESIS_LOCAL_AWS=True for the site to use it.")
            )
        self.console.print(gettext("Ctrl-C ends it; nothing is kept."))
