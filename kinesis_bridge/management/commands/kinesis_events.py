"""``manage.py kinesis_events``: what is published, of which writes, and in what form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext
from rich.table import Table

from kinesis_bridge.contract.asyncapi import document
from kinesis_bridge.contract.coverage import coverage
from kinesis_bridge.contract.schema import DIALECT, messages, versioned_data
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.management.tables import shown
from kinesis_bridge.words import Text, translated
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from kinesis_bridge.contract.coverage import Coverage


class Command(BridgeCommand):
    """Reads the declarations; changes nothing."""

    help = _(
        "List every declared event: its fields, its stream, which writes have it and which not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", help=gettext("Alias of one stream; default: all."))
        parser.add_argument(
            "--schema",
            nargs="?",
            const="",
            metavar="TYPE",
            help=gettext(
                "Print an AsyncAPI 3 document, or the JSON Schema of one type of event; of a"
                " versioned one without the change (shop.order.v2) that of its data alone."
            ),
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
                self.console.print(none_declared(stream), highlight=False, soft_wrap=True)
        return {"events": [one.as_dict() for one in found]}


def none_declared(stream: str | None) -> str:
    """Return what is said where there is nothing to list."""
    if stream is None:
        return gettext(
            "No model is declared: nothing is published by itself. See @publishes in the README."
        )
    return gettext(
        "No model is declared for stream %(stream)s: nothing is published by itself. See @publishes"
        " in the README."
    ) % {"stream": shown(stream)}


def schema(wanted: str, stream: str | None) -> dict[str, Any]:
    """Return the JSON Schema of one type; raise CommandError naming the types there are."""
    found = list(messages(stream))
    schemas = [message.schema for message in found if message.type == wanted]
    if not schemas and (data := versioned_data(wanted)) is not None:
        return {"$schema": DIALECT, **data}
    if not schemas:
        there = ", ".join(dict.fromkeys(message.type for message in found)) or Text(_("none"))
        raise CommandError(
            Text(
                _("No event of type {type} is declared; there are: {there}."),
                type=repr(wanted),
                there=there,
            )
        )
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
    names = {"stream": shown(one.stream), "key": shown(one.key)}
    seen = {"database": shown(one.database), "vendor": one.vendor, "how": one.capture}
    by_key = gettext("%(stream)s, by key %(key)s") % names
    database = gettext("%(database)s (%(vendor)s), seen by %(how)s") % seen
    rows.add_row(gettext("events"), shown(", ".join(one.types)))
    rows.add_row(gettext("stream"), by_key)
    rows.add_row(gettext("fields"), shown(", ".join(one.fields)) or gettext("none are named"))
    rows.add_row(gettext("database"), database)
    rows.add_row(gettext("[green]captured[/green]"), lines(one.captured))
    rows.add_row(gettext("[red]not captured[/red]"), lines(one.not_captured))
    rows.add_row()
    return rows


def lines(texts: tuple[str, ...]) -> str:
    """Return them for the console, each on a line of its own."""
    return "\n".join(shown(translated(text)) for text in texts)
