"""``update()`` and ``bulk_create()`` in one statement with their events, where PostgreSQL can.

No row comes to Python and back. What cannot be done so is left to :mod:`.updates` and
:mod:`.inserts`. It leans on names inside Django: ``Query.chain``, the compilers' ``as_sql`` and
``returning_fields``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db.models import sql

from .sql import statements
from .sql.values import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db import models

    from kinesis_bridge.declarations import Declaration

    from .sql.event import EventSql

    _Field = models.Field[Any, Any]


def update(
    queryset: models.QuerySet[Any], declarations: Sequence[Declaration], assigned: Mapping[str, Any]
) -> int | None:
    """Update the rows and publish each; return how many. None: it was not done, nothing was.

    Raises EventError for a row that can have no event.
    """
    query = queryset.query
    concrete = queryset.model._meta.concrete_model
    if query.distinct or query.annotations or query.group_by is not None:
        return None
    if any(one.model is not concrete for one in declarations):
        return None
    update_query: Any = query.chain(sql.UpdateQuery)
    update_query.add_update_values(assigned)
    if update_query.related_updates:  # in the tables of parents
        return None
    update_query.clear_ordering(force=True)
    events = statements.event_sql(declarations, queryset.db)
    if events is None:
        return None
    try:
        text, parameters = update_query.get_compiler(queryset.db).as_sql()
    except EmptyResultSet:
        return 0
    if not text:
        return 0
    returned = ", ".join(map(statements.named, statements.returned(events)))
    statement = (f"{text} RETURNING {returned}", parameters)
    [(count,)] = statements.execute(queryset.db, statement, events, "updated", "count(*)")
    return int(count)


def insert(
    query: sql.InsertQuery, events: Sequence[EventSql], wanted: Sequence[_Field], using: str
) -> list[tuple[Any, ...]]:
    """Insert rows and publish each; return what the database made of the `wanted` columns.

    Raises EventError for a row that can have no event.
    """
    compiler: Any = query.get_compiler(using=using)
    compiler.returning_fields = list(dict.fromkeys([*wanted, *statements.returned(events)]))
    columns = [field.get_col(statements.ROWS) for field in wanted]
    answer = ", ".join(quoted(str(field.column)) for field in wanted) or "1"
    rows: list[tuple[Any, ...]] = []
    for statement in compiler.as_sql():
        rows += statements.execute(using, statement, events, "created", answer)
    if not wanted:
        return []
    converters = compiler.get_converters(columns)
    return [tuple(row) for row in compiler.apply_converters(rows, converters)]
