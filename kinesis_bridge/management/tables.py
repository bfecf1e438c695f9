"""What status and dead letters look like to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from kinesis_bridge.words import marked as _
from kinesis_bridge.words import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from kinesis_bridge.deadletters import Letter
    from kinesis_bridge.status import DatabaseStatus, StreamStatus

COLUMNS = (
    _("ordering"),
    _("pending"),
    _("oldest"),
    _("lanes"),
    _("dead"),
    _("blocking"),
    _("sent/min"),
)
UNITS = ((86400, _("%(n)s d")), (3600, _("%(n)s h")), (60, _("%(n)s min")), (1, _("%(n)s s")))


def status(databases: Iterable[DatabaseStatus]) -> Iterator[RenderableType]:
    """Yield a line and a table for each database."""
    for database in databases:
        names = {"database": f"[bold]{escape(database.database)}[/bold]"}
        if database.error is not None:
            state = (
                gettext("[bold]Database[/bold] %(database)s [red]cannot be read:[/red]")
                if database.reachable
                else gettext("[bold]Database[/bold] %(database)s [red]cannot be reached:[/red]")
            )
            yield f"{state % names} {shown(' '.join(translated(database.error).split()))}"
            continue
        relays = ", ".join(f"{shown(relay.host)}:{relay.pid}" for relay in database.relays)
        yield gettext("[bold]Database[/bold] %(database)s, relays alive: %(relays)s") % {
            **names,
            "relays": relays or gettext("none"),
        }
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(gettext("stream"), overflow="fold", min_width=12)
        for name in COLUMNS:
            # On a narrow screen the names are broken, not the figures.
            table.add_column(
                gettext(name),
                justify="left" if name == COLUMNS[0] else "right",
                no_wrap=True,
            )
        for stream in database.streams:
            table.add_row(*_cells(stream))
        yield table
        for stream in database.streams:
            if stream.paused:
                yield gettext("[yellow]Paused:[/yellow] %(stream)s, since %(time)s.") % {
                    "stream": shown(stream.stream),
                    "time": f"{stream.paused:%Y-%m-%d %H:%M:%S %Z}",
                }
        if not all(stream.known for stream in database.streams):
            yield gettext(
                "[red]Unknown:[/red] the settings have no such stream; what waits is not sent."
            )
        if not database.relays and any(s.known and s.pending for s in database.streams):
            yield gettext(
                "[yellow]Events wait and no relay runs.[/yellow] Start: manage.py kinesis_relay"
            )


def _cells(stream: StreamStatus) -> Iterator[str]:
    yield shown(stream.stream)
    yield stream.ordering or gettext("[red]unknown[/red]")
    yield f"{stream.pending:,}"
    yield "-" if stream.age_seconds is None else age(stream.age_seconds)
    yield "-" if stream.lanes_owned is None else str(stream.lanes_owned)
    yield f"{stream.dead_letters:,}"
    yield f"{stream.blocking:,}"
    yield f"{stream.sent_last_minute:,}"


def age(seconds: float) -> str:
    """Return a time in its two largest units: ``1 h 5 min``."""
    rest = int(seconds)
    parts = []
    for size, unit in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(gettext(unit) % {"n": count})
        elif parts:
            break
    return " ".join(parts[:2]) or gettext("%(n)s s") % {"n": 0}


def dead_letters(letters: Iterable[Letter]) -> Iterator[str]:
    """Yield two lines for each: ids stand unbroken, to be copied."""
    for letter in letters:
        where = gettext(
            "[bold]%(id)s[/bold] in %(database)s, stream %(stream)s, key %(key)s, event %(event)s"
        ) % {
            "id": letter.id,
            "database": escape(letter.database),
            "stream": shown(letter.stream),
            "key": shown(letter.key),
            "event": shown(letter.event_id),
        }
        blocks = gettext("[red]blocks its key[/red]")
        yield (
            f"{where}{f' {blocks}' if letter.blocks else ''}\n"
            f"    {letter.failed.isoformat(' ', 'seconds')}"
            f" {shown(letter.code)}: {shown(letter.message)}"
        )


def shown(text: str) -> str:
    """Return text of anyone's for the console: neither markup nor control codes take effect."""
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def label(text: str, width: int) -> str:
    """Return markup of a bold label, to the right of so many columns; some letters take two."""
    return f"{' ' * max(0, width - cell_len(text))}[bold]{escape(text)}[/bold]"
