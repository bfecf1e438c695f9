"""Writes of many rows of a declared model at once.

``QuerySet.update``, ``bulk_update`` (which is made of updates), ``bulk_create``, and what
``on_delete=SET_NULL`` and its kin write. Whatever manager or queryset class a model has, these end
in Django's own methods, which are wrapped here once; a model that is not declared pays for a look
into a dictionary. Deletes need nothing: a receiver of ``post_delete`` ends Django's fast deletes.

It leans on names inside Django: ``QuerySet._insert``, ``UpdateQuery.update_batch``,
``Query.alias_map`` and the insert compiler's ``returning_fields``.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from django.db import connections, models, transaction
from django.db.models import sql
from django.db.models.constants import OnConflict
from django.db.models.deletion import Collector

from kinesis_bridge.declarations import declarations_of

from .events import publish
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kinesis_bridge.declarations import Declaration

    from .values import Values

    _QuerySet = models.QuerySet[Any]
    _Field = models.Field[Any, Any]


logger = logging.getLogger("kinesis_bridge.capture")


def start() -> None:
    """Wrap Django's methods; a second call changes nothing."""
    for owner, name, wrap in (
        (models.QuerySet, "update", _capturing_update),
        (models.QuerySet, "bulk_create", _capturing_bulk_create),
        (sql.UpdateQuery, "update_batch", _capturing_update_batch),
        (Collector, "delete", _noting_collector),
    ):
        method = getattr(owner, name)
        if not getattr(method, "_kinesis_bridge", False):
            wrapper = wraps(method)(wrap(method))
            wrapper._kinesis_bridge = True  # type: ignore[attr-defined]  # noqa: SLF001 - our mark
            setattr(owner, name, wrapper)


# Updates


def _touched(model: type[models.Model], assigned: Iterable[str]) -> list[Declaration]:
    names = set(assigned)
    return [
        declaration
        for declaration in declarations_of(model)
        if ("updated" in declaration.on and reader_of(declaration).is_touched(names))
        or reader_of(declaration).is_moved(names)
    ]


def _capturing_update(update: Callable[..., int]) -> Callable[..., int]:
    def wrapper(self: Any, **assigned: Any) -> int:
        touched = declarations_of(self.model) and _touched(self.model, assigned)
        if not touched or self.query.is_sliced or self.query.combinator:
            return update(self, **assigned)  # Django refuses the last two
        self._for_write = True
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


def _capturing_update_batch(update_batch: Callable[..., None]) -> Callable[..., None]:
    def wrapper(
        self: sql.UpdateQuery, pk_list: list[Any], values: dict[str, Any], using: str
    ) -> None:
        model = cast("type[models.Model]", self.model)
        touched = declarations_of(model) and _touched(model, values)
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
    connection = connections[queryset.db]
    begins = not connection.in_atomic_block
    with transaction.atomic(using=queryset.db, savepoint=False):
        if begins and connection.vendor == "sqlite":
            # One that reads first cannot wait for another's write: "database is locked", at once
            # ("BEGIN TRANSACTION", SQLite's manual). A write of nothing takes the lock first.
            table = connection.ops.quote_name(queryset.model._meta.db_table)
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {table} WHERE 0 = 1")  # noqa: S608 - a name  # nosec B608
        yield


_collector: ContextVar[Collector | None] = ContextVar("kinesis_bridge.collector", default=None)
"""Which deletes right now."""


def _noting_collector(delete: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(self: Collector) -> Any:
        token = _collector.set(self)
        try:
            return delete(self)
        finally:
            _collector.reset(token)

    return wrapper


def _doomed(model: type[models.Model]) -> set[Any]:
    """Return the primary keys of the rows that the delete under way will delete.

    Where constraints cannot wait (MySQL) Django first takes them out of their relations.
    """
    collector = _collector.get()
    collected: dict[type[models.Model], Any] = collector.data if collector is not None else {}
    return {
        instance.pk
        for kind, instances in collected.items()
        if kind._meta.concrete_model is model._meta.concrete_model
        for instance in instances
    }


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
        doomed = _doomed(queryset.model) if self._is_own else set()
        self._before = [row for row in rows if row[self._reader.pk] not in doomed]

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
        if _collector.get() is not None:
            return queryset
        return queryset.filter(pk__in=[values[self._reader.pk] for values in self._before])

    def publish(self, count: int) -> None:
        """Publish each row as it is now; `count` is what the database says it updated."""
        written = None
        if self._is_plain and count == self._matched:
            written = self._reader.written(self._assigned)
        pk = self._reader.pk
        after: Mapping[Any, Values] = {}
        if written is None:
            rows = self._rows().filter(pk__in=[values[pk] for values in self._before])
            found = rows.values_list(*self._reader.attnames)
            after = {values[pk]: values for values in map(self._reader.of_row, found)}
        for before in self._before:
            values = {**before, **written} if written is not None else after.get(before[pk])
            if values is None or values[pk] != before[pk]:
                self._moved(before, values)
            elif "updated" in self._declaration.on:
                publish(self._declaration, "updated", values, self._using)

    def _moved(self, before: Values, values: Values | None) -> None:
        """Publish a row that has another primary key now: to everybody else it is another row."""
        if "deleted" in self._declaration.on:
            publish(self._declaration, "deleted", before, self._using)
        if values is not None and "created" in self._declaration.on:
            publish(self._declaration, "created", values, self._using)
        if values is None:
            logger.warning(
                "%s: primary keys were computed by the database in an update(): the rows are"
                " published as deleted, and not as created under their new keys.",
                self._declaration.label,
            )


def _is_plain(queryset: _QuerySet) -> bool:
    """Tell whether its rows can be read and locked as they stand in one table."""
    query = queryset.query
    return (
        not query.distinct
        and query.group_by is None
        and not query.annotations
        and len(query.alias_map) <= 1
    )


# Inserts


def _capturing_bulk_create(bulk_create: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def wrapper(  # Django's own signature
        self: Any,
        objs: Iterable[models.Model],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Sequence[str] | None = None,
        unique_fields: Sequence[str] | None = None,
    ) -> list[Any]:
        given = (batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)
        wanted = {"created", "updated"} if update_conflicts else {"created"}
        found = [one for one in declarations_of(self.model) if wanted.intersection(one.on)]
        objs = list(objs) if found else objs
        if not found or not objs:
            return bulk_create(self, objs, *given)
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False):
            inserted = _Inserted(self, found)
            self.__dict__["_insert"] = inserted.insert  # what bulk_create calls, batch by batch
            try:
                made = bulk_create(self, objs, *given)
            finally:
                del self.__dict__["_insert"]
            inserted.publish()
        return made

    return wrapper


class _Inserted:
    """What the database says that it inserted, or updated instead."""

    def __init__(self, queryset: Any, declarations: list[Declaration]) -> None:
        self._insert: Callable[..., list[Any]] = queryset._insert  # noqa: SLF001 - see the module
        self._model = queryset.model
        self._using = queryset.db
        self._connection = connections[queryset.db]
        self._declarations = declarations
        fields = [field for one in declarations for field in reader_of(one).fields]
        self._fields: list[_Field] = list(dict.fromkeys(fields))
        self._rows: list[tuple[dict[_Field, Any], bool]] = []
        """Of each row the fields' values, and whether it is new."""

    def insert(
        self, objs: list[Any], fields: list[_Field], using: str, **more: Any
    ) -> list[tuple[Any, ...]]:
        """Stand in for ``QuerySet._insert``: insert one batch, and note what was."""
        if not self._connection.features.can_return_rows_from_bulk_insert:
            return self._insert_each(objs, fields, using, **more)
        wanted = list(more.pop("returning_fields", None) or ())
        on_conflict = more.get("on_conflict")
        there: set[Any] = set()
        if on_conflict == OnConflict.UPDATE:
            there = self._there(objs, more.get("unique_fields"))
        returning = list(dict.fromkeys([*wanted, *self._fields]))
        query = sql.InsertQuery(self._model, **more)
        query.insert_values(fields, objs)
        rows = _returned(query, returning, using)
        pk = cast("_Field", self._model._meta.pk)
        for row in rows:
            values = dict(zip(returning, row, strict=True))
            is_new = on_conflict != OnConflict.UPDATE or values[pk] not in there
            self._rows.append((values, is_new))
        return [row[: len(wanted)] for row in rows] if wanted else []

    def _insert_each(
        self, objs: list[Any], fields: list[_Field], using: str, **more: Any
    ) -> list[tuple[Any, ...]]:
        """Insert where the database returns no rows (MySQL): those without key one by one."""
        meta = self._model._meta
        pk = cast("_Field", meta.pk)
        more.pop("returning_fields", None)
        there = self._there(objs, None) if more.get("on_conflict") else set()
        known = [obj for obj in objs if obj.pk is not None]
        if len(known) == len(objs) or more.get("on_conflict"):
            self._insert(objs, fields=fields, using=using, **more)
        else:
            for obj in objs:
                [row] = self._insert(
                    [obj], fields=fields, using=using, returning_fields=[pk], **more
                )
                obj.pk = row[0]
            known = objs
        rows: _QuerySet = models.QuerySet(self._model, using=using)
        # What had no key and may have met a conflict cannot be found again.
        found = rows.filter(pk__in=[obj.pk for obj in known if obj.pk is not None])
        for row in found.values_list(*(field.attname for field in self._fields)):
            values = dict(zip(self._fields, row, strict=True))
            is_new = values[pk] not in there
            if is_new or more.get("on_conflict") == OnConflict.UPDATE:
                self._rows.append((values, is_new))
        return []

    def _there(self, objs: list[Any], unique_fields: Sequence[_Field] | None) -> set[Any]:
        """Return the primary keys of the rows that stand in the way of `objs`."""
        meta = self._model._meta
        pk = cast("_Field", meta.pk)
        if unique_fields:
            keys = [tuple(unique_fields)]
        else:
            names = [*meta.unique_together, *(one.fields for one in meta.total_unique_constraints)]
            unique = [field for field in meta.concrete_fields if field.unique]
            keys = [(field,) for field in unique]
            keys += [tuple(map(meta.get_field, fields)) for fields in names]
        table: _QuerySet = models.QuerySet(self._model, using=self._using)
        rows = table.select_for_update()
        there: set[Any] = set()
        for key in keys:
            first, *rest = (field.attname for field in key)
            wanted = {tuple(getattr(obj, name) for name in (first, *rest)) for obj in objs}
            values = {one[0] for one in wanted if None not in one}
            if not values:
                continue
            found = rows.filter(**{f"{first}__in": values}).values_list(pk.attname, first, *rest)
            there |= {row[0] for row in found if not rest or tuple(row[1:]) in wanted}
        return there

    def publish(self) -> None:
        """Publish each row once for each declaration."""
        for declaration in self._declarations:
            reader = reader_of(declaration)
            for values, is_new in self._rows:
                change = "created" if is_new else "updated"
                if change in declaration.on:
                    row = reader.of_row([values[field] for field in reader.fields])
                    publish(declaration, "created" if is_new else "updated", row, self._using)


def _returned(query: sql.InsertQuery, returning: list[_Field], using: str) -> list[tuple[Any, ...]]:
    """Run an INSERT and return the rows that it made; also none, where one was ignored.

    Django's own ``execute_sql`` cannot take that the only row was ignored.
    """
    compiler: Any = query.get_compiler(using=using)
    compiler.returning_fields = returning
    with connections[using].cursor() as cursor:
        for statement, parameters in compiler.as_sql():
            cursor.execute(statement, parameters)
        rows = cursor.fetchall()
    columns = [field.get_col(query.get_meta().db_table) for field in returning]
    converters = compiler.get_converters(columns)
    return [tuple(row) for row in compiler.apply_converters(rows, converters)]
