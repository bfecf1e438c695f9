"""``manage.py kinesis_status``: what waits, what failed, who works."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext

from kinesis_bridge.management import tables
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.status import read_status
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BridgeCommand):
    """Reads every outbox; changes nothing."""

    help = _("Show what waits in the outbox, per database and stream, and which relays run.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--database", help=gettext("Alias of one database; default: all."))
        parser.add_argument("--stream", help=gettext("Alias of one stream; default: all."))

    def run(self, **options: Any) -> dict[str, Any]:
        databases = read_status(options["database"], options["stream"])
        if not self.as_json:
            for part in tables.status(databases):
                self.console.print(part, highlight=False)
        return {"databases": [asdict(database) for database in databases]}
