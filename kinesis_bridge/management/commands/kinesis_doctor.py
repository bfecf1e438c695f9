"""``manage.py kinesis_doctor``: every hop of the way, and the fix of what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.core.management.base import CommandError
from django.utils.translation import gettext

from kinesis_bridge.doctor import examine
from kinesis_bridge.findings import side_in_words, title_in_words
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.management.tables import shown
from kinesis_bridge.words import marked as _
from kinesis_bridge.words import translated

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from kinesis_bridge.doctor import Check


class Command(BridgeCommand):
    """Looks at one stream's way, hop by hop; writes nothing unless asked to."""

    help = _("Examine the way to a stream hop by hop: what is wrong, whose side it is, the fix.")
    requires_system_checks = ()  # it runs them itself: wrong settings are its first finding

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", default="default", help=gettext("Alias of the stream."))
        parser.add_argument(
            "--write",
            action="store_true",
            help=gettext("Send a canary record, too, and read it back."),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.failed: list[str] = []
        super().handle(*args, **options)
        if self.failed:
            raise CommandError(gettext("Not well: %(hops)s.") % {"hops": ", ".join(self.failed)})

    def run(self, **options: Any) -> dict[str, Any]:
        checks = []
        for check in examine(options["stream"], write=options["write"]):
            checks.append(check.as_dict())
            if not check.ok:
                self.failed.append(check.name)
            if not self.as_json:
                self.show(check)
        return {"ok": not self.failed, "checks": checks}

    def show(self, check: Check) -> None:
        """Print one hop as it is done, with the documents to paste where it failed."""
        mark = "[green]  ok[/green]" if check.ok else "[bold red]FAIL[/bold red]"
        found = shown(translated(check.detail))
        lines = [f"{mark}  [bold]{shown(check.name):<15}[/bold] {found}"]
        if check.side:
            who = gettext("Who: {side}").format(side=side_in_words(check.side))
            lines.append(f"{'':6}{who}")
        if check.hint:
            told = gettext("Note: {note}") if check.ok else gettext("Fix: {fix}")
            hint = shown(translated(check.hint))
            lines.append(f"{'':6}{told.format(note=hint, fix=hint)}")
        for line in lines:
            self.console.print(line, highlight=False, soft_wrap=True)
        for title, document in check.documents.items():
            self.console.print(f"[bold]{shown(title_in_words(title))}[/bold]", soft_wrap=True)
            self.console.print_json(orjson.dumps(document).decode())
