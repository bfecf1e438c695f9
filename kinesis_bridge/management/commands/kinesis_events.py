"""``manage.py kinesis_events``: what is published, of which writes, and in what form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from rich.table import Table

from kinesis_bridge.contract.asyncapi import document
from kinesis_bridge.contract.coverage import coverage
from kinesis_bridge.contract.schema import DIALECT, messages
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.management.tables import shown

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from kinesis_bridge.contract.coverage import Coverage

NONE = "No model is declared{}: nothing is published by itself. See @publishes in the README."


class Command(BridgeCommand):
    """Reads the declarations; changes nothing."""

    help = "List every declared event: its fields, its stream, which writes have it and which not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", help="Alias of one stream; default: all.")
        parser.add_argument(
            "--schema",
            nargs="?",
            const="",
            metavar="TYPE",
            help="Print an AsyncAPI 3 document, or the JSON Schema of one type of event.",
        )

    def run(self, **options: Any) -> dict[str, Any] | None:
        stream, wanted = options["stream"], options["schema"]
        if wanted is not None:
            self.print_json(document(stream) if not wanted else schema(wanted, stream))
            return None
        found = coverage(stream)
        if not self.as_json:
            for one in found:
                self.console.print(table(one), highlight=False)
            if not found:
                of_stream = "" if stream is None else f" for stream {shown(stream)}"
                self.console.print(NONE.format(of_stream), highlight=False, soft_wrap=True)
        return {"events": [one.as_dict() for one in found]}


def schema(wanted: str, stream: str | None) -> dict[str, Any]:
    """Return the JSON Schema of one type; raise CommandError naming the types there are."""
    found = list(messages(stream))
    schemas = [message.schema for message in found if message.type == wanted]
    if not schemas:
        there = ", ".join(dict.fromkeys(message.type for message in found)) or "none"
        raise CommandError(f"No event of type {wanted!r} is declared; there are: {there}.")
    # One type on two streams may be written in two ways.
    differ = any(one != schemas[0] for one in schemas)
    return {"$schema": DIALECT, **({"anyOf": schemas} if differ else schemas[0])}


def table(one: Coverage) -> Table:
    """Return what people see of one declaration."""
    rows = Table(
        title=f"[bold]{shown(one.model)}[/bold]",
        title_justify="left",
        title_style="",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("events", shown(", ".join(one.types)))
    rows.add_row("stream", f"{shown(one.stream)}, by key {shown(one.key)}")
    rows.add_row("fields", shown(", ".join(one.fields)))
    rows.add_row("database", f"{shown(one.database)} ({one.vendor}), seen by {one.capture}")
    rows.add_row("[green]captured[/green]", lines(one.captured))
    rows.add_row("[red]not captured[/red]", lines(one.not_captured))
    rows.add_row()
    return rows


def lines(texts: tuple[str, ...]) -> str:
    """Return them for the console, each on a line of its own."""
    return "\n".join(map(shown, texts))
