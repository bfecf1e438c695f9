"""``bulk_create``: what the database says that it inserted, or updated instead.

It leans on names inside Django: ``QuerySet._insert`` and the insert compiler's
``returning_fields``.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from django.db import connections, models, transaction
from django.db.models import sql
from django.db.models.constants import OnConflict

from kinesis_bridge.declarations import signalled

from . import at_once
from .derived import Seen, looks_back, seen_of
from .events import publish_all
from .sql.statements import event_sql
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kinesis_bridge.declarations import Change, Declaration

    from .events import Changed
    from .values import Values

    _QuerySet = models.QuerySet[Any]
    _Field = models.Field[Any, Any]


def capture_bulk_create(bulk_create: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Return ``QuerySet.bulk_create`` that publishes the rows."""

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
        found = [one for one in signalled(self.model) if one.when or wanted & {*one.on}]
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
        self._events = event_sql(declarations, queryset.db)
        """How PostgreSQL writes their events with them; None: it does not."""
        self._before: dict[Declaration, dict[Any, Values]] = {
            one: {} for one in declarations if one.changed
        }
        """What those rows held that stood in the way, by primary key."""
        self._were = {one: Seen() for one in declarations if looks_back(one)}

    def insert(
        self, objs: list[Any], fields: list[_Field], using: str, **more: Any
    ) -> list[tuple[Any, ...]]:
        """Stand in for ``QuerySet._insert``: insert one batch, and note what was."""
        if not self._connection.features.can_return_rows_from_bulk_insert:
            return self._insert_each(objs, fields, using, **more)
        wanted = list(more.pop("returning_fields", None) or ())
        on_conflict = more.get("on_conflict")
        if on_conflict != OnConflict.UPDATE and self._events is not None:
            query = sql.InsertQuery(self._model, **more)
            query.insert_values(fields, objs)
            return at_once.insert(query, self._events, wanted, using)
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
        for declaration, before in self._before.items():
            reader = reader_of(declaration)
            held = rows.filter(pk__in=there).values_list(*reader.attnames)
            before.update({row[0]: reader.of_row(row) for row in held})
        for declaration, seen in self._were.items():
            seen.update(seen_of(declaration, there, self._using, data=declaration.changed))
        return there

    def publish(self) -> None:
        """Publish each row once for each declaration."""
        for declaration in self._declarations:
            for is_new, rows in groupby(self._rows, key=itemgetter(1)):
                self._publish_alike(declaration, [values for values, _ in rows], is_new)

    def _publish_alike(
        self, declaration: Declaration, rows: list[dict[_Field, Any]], is_new: bool
    ) -> None:
        reader = reader_of(declaration)
        pk = cast("_Field", self._model._meta.pk)
        change: Change = "created" if is_new else "updated"
        if not declaration.wants(change):
            return
        before = self._before.get(declaration, {})
        after: list[Values] = []
        changed: list[Changed | None] = []
        for row in rows:
            values = reader.of_row([row[field] for field in reader.fields])
            tells = declaration.changed and not is_new
            after.append(values)
            changed.append(reader.changes(before.get(row[pk]), values) if tells else None)
        were = self._were.get(declaration)
        publish_all(declaration, change, after, self._using, changed, were)


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
