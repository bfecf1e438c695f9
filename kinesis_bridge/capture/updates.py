"""``QuerySet.update``, what ``bulk_update`` makes of it, and what ``on_delete=SET_NULL`` writes.

The rows are read and locked, then Django's own UPDATE runs, then each row is published. It leans on
names inside Django: ``UpdateQuery.update_batch`` and ``Query.alias_map``.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from django.db import connections, models, transaction

from kinesis_bridge.declarations import signalled
from kinesis_bridge.logfields import fields

from . import at_once
from .deleting import doomed, is_deleting
from .derived import seen_of
from .events import publish, publish_all
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from django.db.models import sql

    from kinesis_bridge.declarations import Declaration

    from .events import Changed
    from .values import Values

    _QuerySet = models.QuerySet[Any]
    _Field = models.Field[Any, Any]

logger = logging.getLogger("kinesis_bridge.capture")


def _touched(model: type[models.Model], assigned: Iterable[str]) -> list[Declaration]:
    names = set(assigned)
    return [
        declaration
        for declaration in signalled(model)
        if declaration.when is not None
        or ("updated" in declaration.on and reader_of(declaration).is_touched(names))
        or reader_of(declaration).is_moved(names)
    ]


def capture_update(update: Callable[..., int]) -> Callable[..., int]:
    """Return ``QuerySet.update`` that publishes what it changes."""

    def wrapper(self: Any, **assigned: Any) -> int:
        touched = signalled(self.model) and _touched(self.model, assigned)
        if not touched or self.query.is_sliced or self.query.combinator:
            return update(self, **assigned)  # Django refuses the last two
        self._for_write = True
        # One statement needs no transaction around it.
        with transaction.mark_for_rollback_on_error(using=self.db):
            count = _at_once(self, touched, assigned)
        if count is not None:
            self._result_cache = None
            return count
        with _writing(self):
            pending = [_Updated(self, declaration, assigned) for declaration in touched]
            rows = self
            for updated in pending:
                rows = updated.narrowed(rows)
            count = update(rows, **assigned)
            for updated in pending:
                updated.publish(count)
        self._result_cache = None
        return count

    return wrapper


def _at_once(
    queryset: _QuerySet, touched: list[Declaration], assigned: Mapping[str, Any]
) -> int | None:
    """Update and publish in one statement, if that can be; None: it was not done."""
    if is_deleting():
        return None
    for declaration in touched:
        if "updated" not in declaration.on or reader_of(declaration).is_moved(assigned):
            return None
    return at_once.update(queryset, touched, assigned)


def capture_update_batch(update_batch: Callable[..., None]) -> Callable[..., None]:
    """Return ``UpdateQuery.update_batch`` that publishes what it changes."""

    def wrapper(
        self: sql.UpdateQuery, pk_list: list[Any], values: dict[str, Any], using: str
    ) -> None:
        model = cast("type[models.Model]", self.model)
        touched = signalled(model) and _touched(model, values)
        if not touched:
            update_batch(self, pk_list, values, using)
            return
        rows: _QuerySet = models.QuerySet(model, using=using).filter(pk__in=pk_list)
        with _writing(rows):
            pending = [_Updated(rows, declaration, values) for declaration in touched]
            update_batch(self, pk_list, values, using)
            for updated in pending:
                updated.publish(len(pk_list))

    return wrapper


@contextmanager
def _writing(queryset: _QuerySet) -> Iterator[None]:
    """Run the block in a transaction that will write to the queryset's table."""
    begins = not connections[queryset.db].in_atomic_block
    with transaction.atomic(using=queryset.db, savepoint=False):
        if begins:
            take_write_lock(queryset.model, queryset.db)
        yield


def take_write_lock(model: type[models.Model], using: str) -> None:
    """Have a transaction that begins wait for another's writes now: before it reads (SQLite).

    One that reads first cannot wait later: "database is locked", at once ("BEGIN TRANSACTION",
    SQLite's manual). A write of nothing takes the lock.
    """
    connection = connections[using]
    if connection.vendor == "sqlite":
        table = connection.ops.quote_name(model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE 0 = 1")  # noqa: S608  # nosec B608


class _Updated:
    """The rows that an update is about to change, locked, for one declaration."""

    def __init__(
        self, queryset: _QuerySet, declaration: Declaration, assigned: Mapping[str, Any]
    ) -> None:
        self._declaration = declaration
        self._using = queryset.db
        self._assigned = assigned
        self._reader = reader_of(declaration)
        self._is_own = declaration.model is queryset.model._meta.concrete_model
        self._is_plain = self._is_own and _is_plain(queryset)
        if self._is_plain:
            locked = queryset.order_by("pk")
        else:
            self._pks = list(queryset.order_by().values_list(self._path(queryset.model), flat=True))
            locked = self._rows().filter(pk__in=self._pks).order_by("pk")
        found = locked.select_for_update().values_list(*self._reader.attnames)
        rows = [self._reader.of_row(row) for row in found]
        self._matched = len(rows)
        going = doomed(queryset.model) if self._is_own else set()
        self._before = [row for row in rows if row[self._reader.pk] not in going]
        keys = [row[self._reader.pk] for row in self._before]
        tells = declaration.changed or self._reader.is_moved(assigned)
        self._were = seen_of(declaration, keys, self._using, data=tells)

    def _path(self, model: type[models.Model]) -> str:
        """Return the way from a row of `model` to the primary key of the declared one."""
        steps = model._meta.get_path_to_parent(self._declaration.model)
        return "__".join(step.join_field.name for step in steps) or "pk"

    def _rows(self) -> _QuerySet:
        # No manager's queryset: a manager may hide rows.
        return models.QuerySet(self._declaration.model, using=self._using)

    def narrowed(self, queryset: _QuerySet) -> _QuerySet:
        """Return `queryset` without rows that another transaction adds to it meanwhile.

        The others lock what they have read against that (MySQL), or write alone (SQLite).
        """
        if connections[self._using].vendor != "postgresql" or not self._is_own:
            return queryset
        if is_deleting():
            return queryset
        keys = [values[self._reader.pk] for values in self._before]
        return _with_keys(queryset, keys) if self._is_plain else queryset.filter(pk__in=keys)

    def publish(self, count: int) -> None:
        """Publish each row as it is now; `count` is what the database says it updated."""
        written = None
        if self._is_plain and count == self._matched:
            written = self._reader.written(self._assigned)
        pk = self._reader.pk
        after: Mapping[Any, Values] = {}
        if written is None:
            rows = _with_keys(self._rows(), [values[pk] for values in self._before])
            found = rows.values_list(*self._reader.attnames)
            after = {values[pk]: values for values in map(self._reader.of_row, found)}
        now: list[Values] = []
        changed: list[Changed | None] = []
        for before in self._before:
            values = {**before, **written} if written is not None else after.get(before[pk])
            if values is None or values[pk] != before[pk]:
                self._moved(before, values)
            else:
                tells = self._declaration.changed
                now.append(values)
                changed.append(self._reader.changes(before, values) if tells else None)
        if self._declaration.wants("updated"):
            publish_all(self._declaration, "updated", now, self._using, changed, self._were)

    def _moved(self, before: Values, values: Values | None) -> None:
        """Publish a row that has another primary key now: to everybody else it is another row."""
        if "deleted" in self._declaration.on:
            publish(self._declaration, "deleted", before, self._using, before=self._were)
        if values is not None and "created" in self._declaration.on:
            publish(self._declaration, "created", values, self._using)
        if values is None:
            logger.warning(
                "%s: primary keys were computed by the database in an update(): the rows are"
                " published as deleted, and not as created under their new keys.",
                self._declaration.label,
                extra=fields(
                    model=self._declaration.label,
                    stream=self._declaration.stream,
                    database=self._using,
                ),
            )


def _with_keys(queryset: _QuerySet, keys: list[Any]) -> _QuerySet:
    """Return its rows with these primary keys: on PostgreSQL as one array, not a text a key."""
    pk = cast("_Field", queryset.model._meta.pk)
    connection = connections[queryset.db]
    if connection.vendor != "postgresql" or not all(type(key) is int for key in keys):
        return queryset.filter(pk__in=keys)
    names = (queryset.model._meta.db_table, cast("str", pk.column))
    column = ".".join(map(connection.ops.quote_name, names))
    where = f"{column} = ANY(%s)"
    # Names of table and column only; the keys are a parameter.
    return queryset.extra(where=[where], params=[keys])  # noqa: S610  # nosec B610


def _is_plain(queryset: _QuerySet) -> bool:
    """Tell whether its rows can be read and locked as they stand in one table."""
    query = queryset.query
    return (
        not query.distinct
        and query.group_by is None
        and not query.annotations
        and len(query.alias_map) <= 1
    )
