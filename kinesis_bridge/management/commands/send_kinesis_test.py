"""``manage.py send_kinesis_test``: prove the path to account B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.core.management.base import CommandError
from django.utils.translation import gettext
from rich.markup import escape

from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.management.tables import label
from kinesis_bridge.proof import send_test
from kinesis_bridge.words import Text, translated
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser

SEEN = {
    True: Text(_("yes")),
    False: Text(_("not seen")),
    None: Text(_("not tried, or not allowed to this role")),
}


class Command(BridgeCommand):
    """Sends test events straight to AWS and shows each hop."""

    help = _("Send a test event straight to the stream and show the way it took.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", default="default", help=gettext("Alias of the stream."))
        parser.add_argument(
            "--data", default='{"hello": "kinesis"}', help=gettext("The event's data, JSON.")
        )
        parser.add_argument("--key", help=gettext("Partition key; default: a random one."))
        parser.add_argument(
            "--count", type=int, default=1, help=gettext("How many events (1-10,000).")
        )
        parser.add_argument(
            "--no-read-back", action="store_true", help=gettext("Do not read it again.")
        )

    def run(self, **options: Any) -> dict[str, Any]:
        try:
            data = orjson.loads(options["data"])
        except orjson.JSONDecodeError as error:
            raise CommandError(
                Text(
                    _("--data is not JSON: {error} in {data}"),
                    error=str(error),
                    data=repr(options["data"]),
                )
            ) from error
        if not 1 <= options["count"] <= 10_000:
            raise CommandError(
                Text(_("--count must be 1 to 10,000, not {count}"), count=options["count"])
            )
        report = send_test(
            options["stream"],
            data=data,
            key=options["key"],
            count=options["count"],
            read_back=not options["no_read_back"],
            progress=self.progress,
        )
        self.progress(_("read back"), SEEN[report.read_back])
        self.progress(_("time"), Text(_("{n} ms"), n=report.elapsed_ms))
        return report.as_dict()

    def progress(self, hop: str, found: str) -> None:
        """Show one hop as it is done."""
        if not self.as_json:
            line = f"{label(gettext(hop), 12)}  {escape(translated(found))}"
            self.console.print(line, highlight=False, soft_wrap=True)
