"""``manage.py send_kinesis_test``: prove the path to account B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.core.management.base import CommandError
from rich.markup import escape

from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.proof import send_test

if TYPE_CHECKING:
    from argparse import ArgumentParser

SEEN = {True: "yes", False: "not seen", None: "not tried, or not allowed to this role"}


class Command(BridgeCommand):
    """Sends test events straight to AWS and shows each hop."""

    help = "Send a test event straight to the stream and show the way it took."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", default="default", help="Alias of the stream.")
        parser.add_argument(
            "--data", default='{"hello": "kinesis"}', help="The event's data, JSON."
        )
        parser.add_argument("--key", help="Partition key; default: a random one.")
        parser.add_argument("--count", type=int, default=1, help="How many events (1-10,000).")
        parser.add_argument("--no-read-back", action="store_true", help="Do not read it again.")

    def run(self, **options: Any) -> dict[str, Any]:
        try:
            data = orjson.loads(options["data"])
        except orjson.JSONDecodeError as error:
            raise CommandError(f"--data is not JSON: {error} in {options['data']!r}") from error
        if not 1 <= options["count"] <= 10_000:
            raise CommandError(f"--count must be 1 to 10,000, not {options['count']}")
        report = send_test(
            options["stream"],
            data=data,
            key=options["key"],
            count=options["count"],
            read_back=not options["no_read_back"],
            progress=self.progress,
        )
        self.progress("read back", SEEN[report.read_back])
        self.progress("time", f"{report.elapsed_ms} ms")
        return report.as_dict()

    def progress(self, hop: str, found: str) -> None:
        """Show one hop as it is done."""
        if not self.as_json:
            line = f"[bold]{hop:>12}[/bold]  {escape(found)}"
            self.console.print(line, highlight=False, soft_wrap=True)
