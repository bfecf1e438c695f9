"""What a change of a row becomes: an event, made at once or just before COMMIT."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kinesis_bridge.conf import get_config
from kinesis_bridge.context import current
from kinesis_bridge.declarations import CHANGED
from kinesis_bridge.event import MAX_KEY_CHARACTERS, Event
from kinesis_bridge.exceptions import EventError, PartitionKeyError, RecordTooLarge
from kinesis_bridge.serializers import to_json
from kinesis_bridge.streams import streams

from .conditions import by_kind
from .related import add_lists
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.context import Context
    from kinesis_bridge.declarations import Declaration, Kind

    from .conditions import States
    from .values import Snapshot, Values

Changed = dict[str, list[Any]]
"""``{name: [old, new]}``."""


def publish(
    declaration: Declaration,
    change: Kind,
    values: Values,
    using: str,
    changed: Changed | None = None,
    before: States | None = None,
) -> None:
    """Send the event of one change with the transaction; raises EventError, the field named.

    With an empty `changed` there is none of an update. `before`: the states of ``when``, if known.
    """
    publish_all(declaration, change, [values], using, [changed], before)


def publish_all(
    declaration: Declaration,
    change: Kind,
    rows: Sequence[Values],
    using: str,
    changed: Sequence[Changed | None] | None = None,
    before: States | None = None,
) -> None:
    """Send the events of several rows; raises as :func:`publish`."""
    pairs: list[tuple[Values, Any]] = list(zip(rows, changed or [None] * len(rows), strict=True))
    if declaration.when is None:
        _send_all(declaration, change, pairs, using)
        return
    pk = reader_of(declaration).pk
    for kind, alike in by_kind(declaration, change, pairs, pk, before, using):
        # What a row is that came or went has no old values.
        _send_all(declaration, kind, alike if kind == change else _bare(alike), using)


def _bare(pairs: list[tuple[Values, Any]]) -> list[tuple[Values, Any]]:
    return [(values, None) for values, _ in pairs]


def _send(
    declaration: Declaration, change: Kind, values: Values, using: str, changed: Changed | None
) -> None:
    reader = reader_of(declaration)
    if declaration.relations:
        add_lists(declaration, [values], reader.pk, using, new=change == "created")
    key = values[reader.key]
    if key is None:
        raise PartitionKeyError(
            f"{declaration.label}.{declaration.key} is empty for {text_of(values[reader.pk])!r},"
            " and it is the partition key of the model's events. Choose a key= that always has a"
            " value."
        )
    try:
        event = make_event(declaration, change, values, datetime.now(UTC), current(), changed)
        streams[declaration.stream].send(event, using)
    except EventError as error:
        raise _blame(declaration, reader.payload(values), error) from error


def _send_all(
    declaration: Declaration, change: Kind, pairs: list[tuple[Values, Any]], using: str
) -> None:
    pairs = [(values, what) for values, what in pairs if what != {}]
    if not pairs:
        return
    reader = reader_of(declaration)
    rows = [values for values, _ in pairs]
    if declaration.relations:
        add_lists(declaration, rows, reader.pk, using, new=change == "created")
    moment, context = datetime.now(UTC), current()
    if any(values[reader.key] is None for values in rows):
        for values, what in pairs:
            _send(declaration, change, values, using, what)  # says which row has no key
        return
    try:
        events = [
            make_event(declaration, change, values, moment, context, what) for values, what in pairs
        ]
        streams[declaration.stream].send_all(events, using)
    except EventError:
        for values, what in pairs:
            _send(declaration, change, values, using, what)  # says which field of which row
        raise


def late_event(
    declaration: Declaration,
    change: Kind,
    snapshot: Snapshot,
    moment: datetime,
    context: Context | None,
) -> Event:
    """Return the event of a row as it was noted at `moment`, within `context`."""
    values = reader_of(declaration).values_of(snapshot)
    return make_event(declaration, change, values, moment, context)


def make_event(
    declaration: Declaration,
    change: Kind,
    values: Values,
    moment: datetime,
    context: Context | None = None,
    changed: Changed | None = None,
) -> Event:
    """Return the event of a row that holds `values`, and that `changed` so."""
    reader = reader_of(declaration)
    return Event(
        time=moment,
        type=f"{declaration.type}.{change}",
        source=get_config().source,
        key=text_of(values[reader.key]),
        subject=text_of(values[reader.pk]) or None,
        data=reader.payload(values)
        if changed is None
        else reader.payload(values) | {CHANGED: changed},
        stream=declaration.stream,
        context=context,
    )


def fits(key: Any) -> bool:
    """Tell whether a value can be a partition key as it is."""
    return type(key) is not str or 0 < len(key) <= MAX_KEY_CHARACTERS


def text_of(value: Any) -> str:
    """Return a key or subject as text; those of several columns with commas between."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _blame(declaration: Declaration, data: dict[str, Any], error: EventError) -> EventError:
    """Return `error` with the model and the field named."""
    field = declaration.label
    if isinstance(error, PartitionKeyError):
        field += f".{declaration.key}"
    elif isinstance(error, RecordTooLarge):
        field += f".{max(data, key=lambda name: len(to_json(data[name])))}" if data else ""
    else:
        for name, value in data.items():
            try:
                to_json(value)
            except EventError as reason:
                return type(error)(
                    f"{declaration.label}.{name} cannot be published. {reason} Leave the field out"
                    " of fields=, or give the stream a serializer that knows its type."
                )
    return type(error)(f"{field} cannot be published. {error}")
