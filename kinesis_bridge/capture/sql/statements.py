"""A statement of Django's that writes rows, made one that writes their events, too (PostgreSQL)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import DataError, connections

from kinesis_bridge.conf import get_config
from kinesis_bridge.context import as_json, current
from kinesis_bridge.delivery.outbox import OutboxDelivery
from kinesis_bridge.delivery.precommit import write_waiting_now
from kinesis_bridge.exceptions import PartitionKeyError, RecordTooLarge, SerializationError
from kinesis_bridge.signals import event_making, event_published
from kinesis_bridge.streams import streams

from .event import NOTIFY, EventSql
from .text import Fixed, doubled, joined
from .values import OnlyInPython, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db import models

    from kinesis_bridge.declarations import Declaration, Kind
    from kinesis_bridge.exceptions import EventError

ROWS = "kinesis_bridge_rows"
_CONTEXT = "kinesis_bridge_context"
_GIVEN = f"(SELECT given FROM {_CONTEXT})"  # noqa: S608  # nosec B608
_MARK = "kinesis_bridge refuses: "
_END = "\x1f"
_REFUSALS: dict[str, type[EventError]] = {
    kind.__name__: kind for kind in (PartitionKeyError, RecordTooLarge, SerializationError)
}


def refused(kind: type[EventError], message: str) -> str:
    """Return SQL that fails with `message`: no function of ours need be in the database."""
    marked = joined([Fixed(f"{_MARK}{kind.__name__}: "), message, Fixed(_END)])
    return f"CAST({marked} AS integer)::text"


def event_sql(declarations: Sequence[Declaration], using: str) -> list[EventSql] | None:
    """Return how PostgreSQL can write the events of a write that begins now; None: it cannot.

    They take their place at once, so what waits for the commit is written before them.
    """
    if connections[using].vendor != "postgresql":
        return None
    if event_making.receivers or event_published.receivers:  # who hear of each
        return None
    found: list[EventSql] = []
    for declaration in declarations:
        # Who tells what was there before, or depends on it, or on other tables, is read by Python.
        if declaration.changed or declaration.when is not None or declaration.is_derived:
            return None
        if type(streams[declaration.stream].delivery) is not OutboxDelivery:
            return None
        made = _made(declaration)
        if made is None:
            return None
        found.append(made)
    return found if write_waiting_now(using) else None


_cache: dict[Declaration, tuple[object, EventSql | None]] = {}


def _made(declaration: Declaration) -> EventSql | None:
    config = get_config()
    held = _cache.get(declaration)
    if held is None or held[0] is not config:  # the settings stand in the events
        made: EventSql | None = None
        if declaration.schema is None:  # only Python checks that
            with suppress(OnlyInPython):
                made = EventSql(declaration, refused, _GIVEN)
        held = _cache[declaration] = (config, made)
    return held[1]


def execute(
    using: str,
    statement: tuple[str, Sequence[Any]],
    events: Sequence[EventSql],
    kind: Kind,
    answer: str,
) -> list[tuple[Any, ...]]:
    """Run a writing statement that ends in RETURNING; return what `answer` selects of its rows.

    Raises EventError for a row that can have no event.
    """
    text, parameters = statement
    parts = [f"{_CONTEXT} AS (SELECT %s::text AS given)", f"{ROWS} AS ({text})"]
    for number, one in enumerate(events):
        parts.append(f"kinesis_bridge_{number} AS ({doubled(one.insert(ROWS, kind))})")
    parts.append(f"kinesis_bridge_told AS MATERIALIZED (SELECT {NOTIFY}::text AS told)")
    whole = f"WITH {', '.join(parts)} SELECT {answer} FROM {ROWS}, kinesis_bridge_told"  # noqa: S608  # nosec B608
    try:
        with connections[using].cursor() as cursor:
            cursor.execute(whole, [as_json(current()), *parameters])
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    except DataError as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from error


def returned(events: Sequence[EventSql]) -> list[models.Field[Any, Any]]:
    """Return the fields that the events are made of: a statement's RETURNING must have them."""
    return list(dict.fromkeys(field for one in events for field in one.fields))


def named(field: models.Field[Any, Any]) -> str:
    """Return a column's name with its table's."""
    return f"{quoted(field.model._meta.db_table)}.{quoted(str(field.column))}"


def _refusal(error: DataError) -> EventError | None:
    """Return the error that our SQL has made; None: it is another one."""
    text = str(error)
    if _MARK not in text:
        return None
    name, _, message = text.split(_MARK, 1)[1].split(_END, 1)[0].partition(": ")
    kind = _REFUSALS.get(name)
    return None if kind is None else kind(message)
