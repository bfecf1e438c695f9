"""What a change of a row becomes: an event, made at once or just before COMMIT."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kinesis_bridge.conf import get_config
from kinesis_bridge.context import context_of
from kinesis_bridge.declarations import CHANGED
from kinesis_bridge.declaring.shapes import check_fits
from kinesis_bridge.delivery.coalesce import Row
from kinesis_bridge.event import MAX_KEY_CHARACTERS, Event
from kinesis_bridge.exceptions import EventError, PartitionKeyError, RecordTooLarge, SchemaError
from kinesis_bridge.serializers import to_json
from kinesis_bridge.streams import streams
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _
from kinesis_bridge.words import text_of as said_in

from .conditions import by_kind
from .derived import NOTHING, seen_of, with_data
from .related import add_lists
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import EllipsisType

    from kinesis_bridge.context import Context
    from kinesis_bridge.declarations import Declaration, Kind

    from .derived import Seen
    from .values import Snapshot, Values

Changed = dict[str, list[Any]]
"""``{name: [old, new]}``."""


def publish(
    declaration: Declaration,
    change: Kind,
    values: Values,
    using: str,
    changed: Changed | None = None,
    before: Seen | None = None,
    context: Context | EllipsisType | None = ...,
) -> None:
    """Send the event of one change with the transaction; raises EventError, the field named.

    With an empty `changed` there is none of an update. `before`: what was seen of it before it
    changed, if anything; of a deleted row its data, too. `context`: that of the event, where it was
    asked for already; else that of now.
    """
    publish_all(declaration, change, [values], using, [changed], before, context)


def publish_all(
    declaration: Declaration,
    change: Kind,
    rows: Sequence[Values],
    using: str,
    changed: Sequence[Changed | None] | None = None,
    before: Seen | None = None,
    context: Context | EllipsisType | None = ...,
) -> None:
    """Send the events of several rows; raises as :func:`publish`."""
    pairs: list[tuple[Values, Any]] = list(zip(rows, changed or [None] * len(rows), strict=True))
    if declaration.when is None and not declaration.is_derived:
        _send_all(declaration, change, pairs, using, context)
        return
    pk = reader_of(declaration).pk
    if change == "deleted":
        seen, had, has = before or NOTHING, (before or NOTHING).holds, NOTHING.holds
    else:
        keys = [values[pk] for values in rows]
        seen = seen_of(declaration, keys, using, data=True, before=before or NOTHING)
        had, has = (seen if before is None else before).holds, seen.holds
    if declaration.is_derived:
        pairs = with_data(declaration, pairs, pk, seen, before)
    if declaration.when is None:
        _send_all(declaration, change, pairs, using, context)
        return
    for kind, alike in by_kind(declaration, change, pairs, pk, had, has):
        # What a row is that came or went has no old values.
        _send_all(declaration, kind, alike if kind == change else _bare(alike), using)


def _bare(pairs: list[tuple[Values, Any]]) -> list[tuple[Values, Any]]:
    return [(values, None) for values, _ in pairs]


def _send(
    declaration: Declaration,
    change: Kind,
    values: Values,
    using: str,
    changed: Changed | None,
    context: Context | None,
) -> None:
    reader = reader_of(declaration)
    if declaration.relations:
        add_lists(declaration, [values], reader.pk, using, new=change == "created")
    key = values[reader.key]
    if key is None:
        raise PartitionKeyError(
            Text(
                _(
                    "{field} is empty for {row}, and it is the partition key of the model's events."
                    " Choose a key= that always has a value."
                ),
                field=f"{declaration.label}.{declaration.key}",
                row=repr(text_of(values[reader.pk])),
            )
        )
    try:
        event = make_event(declaration, change, values, datetime.now(UTC), context, changed)
        _deliver(declaration, change, [event], [(values, changed)], using)
    except SchemaError:  # it names model and field
        raise
    except EventError as error:
        raise _blame(declaration, reader.payload(values), error) from error


def _send_all(
    declaration: Declaration,
    change: Kind,
    pairs: list[tuple[Values, Any]],
    using: str,
    context: Context | EllipsisType | None = ...,
) -> None:
    pairs = [(values, what) for values, what in pairs if what != {}]
    if not pairs:
        return
    reader = reader_of(declaration)
    rows = [values for values, _ in pairs]
    if declaration.relations:
        add_lists(declaration, rows, reader.pk, using, new=change == "created")
    moment = datetime.now(UTC)
    if context is ...:
        context = context_of(declaration.event_type(change), declaration.stream, len(rows))
    if any(values[reader.key] is None for values in rows):
        for values, what in pairs:
            _send(declaration, change, values, using, what, context)  # says which has no key
        return
    try:
        events = [
            make_event(declaration, change, values, moment, context, what) for values, what in pairs
        ]
        _deliver(declaration, change, events, pairs, using)
    except EventError:
        for values, what in pairs:
            _send(declaration, change, values, using, what, context)  # says which field of which
        raise


def _deliver(
    declaration: Declaration,
    change: Kind,
    events: list[Event],
    pairs: list[tuple[Values, Any]],
    using: str,
) -> None:
    stream = streams[declaration.stream]
    if not declaration.coalesce:
        stream.send_all(events, using)
        return
    pk = reader_of(declaration).pk
    rows = [
        Row(
            label=declaration.label,
            id=(declaration, values[pk]),
            is_update=change == "updated",
            changed=changed,
            retell=_retold,
        )
        for values, changed in pairs
    ]
    stream.send_rows(zip(events, rows, strict=True), using)


def _retold(event: Event, changed: Changed) -> Event:
    return replace(event, data={**event.data, CHANGED: changed})


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
    """Return the event of a row that holds `values`, and that `changed` so.

    Raises EventError, SchemaError where the data does not fit ``schema=``.
    """
    reader = reader_of(declaration)
    data = reader.payload(values)
    if declaration.schema is not None:
        check_fits(declaration.label, declaration.schema, to_json(data))
    return Event(
        time=moment,
        type=declaration.event_type(change),
        source=get_config().source,
        key=text_of(values[reader.key]),
        subject=text_of(values[reader.pk]) or None,
        data=data if changed is None else data | {CHANGED: changed},
        stream=declaration.stream,
        context=context,
        dataschema=None if declaration.version is None else declaration.dataschema,
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
                    Text(
                        _(
                            "{field} cannot be published. {reason} Leave the field out of fields=,"
                            " or give the stream a serializer that knows its type."
                        ),
                        field=f"{declaration.label}.{name}",
                        reason=said_in(reason),
                    )
                )
    said = _("{field} cannot be published. {reason}")
    return type(error)(Text(said, field=field, reason=said_in(error)))
