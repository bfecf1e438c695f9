"""What status and dead letters look like to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from kinesis_bridge.deadletters import Letter
    from kinesis_bridge.status import DatabaseStatus, StreamStatus

COLUMNS = ("ordering", "pending", "oldest", "lanes", "dead", "blocking", "sent/min")
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def status(databases: Iterable[DatabaseStatus]) -> Iterator[RenderableType]:
    """Yield a line and a table for each database."""
    for database in databases:
        title = f"[bold]Database {escape(database.database)}[/bold]"
        if database.error is not None:
            state = "cannot be read" if database.reachable else "cannot be reached"
            yield f"{title} [red]{state}:[/red] {shown(' '.join(database.error.split()))}"
            continue
        relays = ", ".join(f"{shown(relay.host)}:{relay.pid}" for relay in database.relays)
        yield f"{title}, relays alive: {relays or 'none'}"
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("stream", overflow="fold", min_width=12)
        for name in COLUMNS:
            # On a narrow screen the names are broken, not the figures.
            table.add_column(name, justify="left" if name == "ordering" else "right", no_wrap=True)
        for stream in database.streams:
            table.add_row(*_cells(stream))
        yield table
        if not all(stream.known for stream in database.streams):
            yield "[red]Unknown:[/red] the settings have no such stream; what waits is not sent."
        if not database.relays and any(s.known and s.pending for s in database.streams):
            yield "[yellow]Events wait and no relay runs.[/yellow] Start: manage.py kinesis_relay"


def _cells(stream: StreamStatus) -> Iterator[str]:
    yield shown(stream.stream)
    yield stream.ordering or "[red]unknown[/red]"
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
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def dead_letters(letters: Iterable[Letter]) -> Iterator[str]:
    """Yield two lines for each: ids stand unbroken, to be copied."""
    for letter in letters:
        blocks = " [red]blocks its key[/red]" if letter.blocks else ""
        yield (
            f"[bold]{letter.id}[/bold] in {escape(letter.database)}, stream {shown(letter.stream)},"
            f" key {shown(letter.key)}, event {shown(letter.event_id)}{blocks}\n"
            f"    {letter.failed.isoformat(' ', 'seconds')}"
            f" {shown(letter.code)}: {shown(letter.message)}"
        )


def shown(text: str) -> str:
    """Return text of anyone's for the console: neither markup nor control codes take effect."""
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))
