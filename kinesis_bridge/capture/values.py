"""What a row holds, read from its instance where that is known to agree with the database."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from functools import cache
from operator import contains, itemgetter
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.db import models
from django.utils import timezone

from kinesis_bridge.declaring.sources import Path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from decimal import Decimal

    from kinesis_bridge.declarations import Declaration

    _Field = models.Field[Any, Any]

Values = dict[str, Any]
"""By the fields' attnames."""
Snapshot = tuple[Any, ...]
"""What an instance holds of primary key and columns, and the partition key."""
MOST_SHAPES = 1000
DERIVED = "+derived"
"""Key of values, where an attname cannot be: what :mod:`.derived` has read, by name."""
_NOTHING: frozenset[str] = frozenset()
_MISSING = object()
# Values of exactly this type go through Django's own to_python unchanged. By the function, since a
# subclass may bring its own.
_UNCHANGED: dict[object, type] = {
    models.BooleanField.to_python: bool,
    models.CharField.to_python: str,
    models.DateField.to_python: date,
    models.DurationField.to_python: timedelta,
    models.FloatField.to_python: float,
    models.IntegerField.to_python: int,
    models.TextField.to_python: str,
    models.UUIDField.to_python: uuid.UUID,
}


# What else a field may hold that is converted later, since it cannot change meanwhile.
_CONVERTED: dict[object, type] = {
    models.DateTimeField.to_python: datetime,
    models.DecimalField.to_python: int,  # a Decimal may have more places than the database keeps
}
_NULL = type(None)
_AROUND = 60  # bytes of a value that is no text, or of what stands around one


class _Column:
    """One published field, and how its value is read."""

    __slots__ = ("attname", "exact", "field", "is_rounded", "plain", "quick")

    def __init__(self, field: _Field) -> None:
        self.field = field
        self.attname = field.attname
        self.plain = plain_of(field)
        to_python = type(_target(field)).to_python
        self.exact = _UNCHANGED.get(to_python)
        """A value of exactly this type is plain already."""
        self.is_rounded = _is_rounded_by(field)
        converted = _CONVERTED.get(to_python)
        if converted is int and self.is_rounded is None:  # unlimited: it may hold NaN
            converted = None
        self.quick: set[type] = set()
        """Values of exactly these types always have a JSON form."""
        if not field.generated:  # else the instance may not have heard of it
            self.quick = {_NULL, self.exact or _NULL, converted or _NULL} - {float}


class Reader:
    """Reads what one declaration publishes. Holds no row: made once for all."""

    def __init__(self, declaration: Declaration) -> None:
        pk = declaration.model._meta.pk
        assert pk is not None  # noqa: S101 - every concrete model has one  # nosec B101
        fields = (declaration.key_field, *declaration.payload_fields.values())
        self._model = declaration.model
        self._pk = _Column(pk)
        self._columns = [_Column(field) for field in dict.fromkeys(fields) if field is not pk]
        self._generated = frozenset(field.attname for field in fields if field.generated)
        self._all = frozenset(field.attname for field in (pk, *fields))
        self._names = [(name, field.attname) for name, field in declaration.payload_fields.items()]
        self._relations = [(name, field.name) for name, field in declaration.relations.items()]
        self._is_derived = declaration.is_derived
        self._order = declaration.fields or () if declaration.derived else ()
        # What a path begins with is written like a column; of the rest nobody knows what it reads.
        paths = [one for one in declaration.derived.values() if isinstance(one, Path)]
        self._roots = [path.fields[0] for path in paths]
        self._is_open = declaration.is_derived and not (
            paths and len(paths) == len(declaration.derived)
        )
        # Else the error would come with the commit.
        self._is_now = bool(self._relations) or self._is_derived or declaration.schema is not None
        self._is_now |= declaration.coalesce
        self.key = declaration.key_field.attname
        self.pk = pk.attname
        whole = [self._pk, *self._columns]
        self._held = itemgetter(*(column.attname for column in whole), self.key)
        self._shapes: dict[tuple[type, ...], bool] = {}
        """Types of a snapshot, the key's at the end, and whether all are quick."""
        prefix = len(declaration.prefix) * (1 if declaration.version is None else 2)
        self._bytes = 6 * prefix + sum(6 * len(name) + _AROUND for name, _ in self._names)

    def snapshot(self, instance: models.Model) -> Snapshot | None:
        """Return what an instance holds after a save of all its fields.

        None where that may not be the row's, may have no JSON form (see :meth:`read_saved`), or
        where its event must be made at once. Of immutable values, so it may be read later.
        """
        if self._is_now:  # what only the database has, or what may be refused
            return None
        try:
            held: Snapshot = self._held(instance.__dict__)
        except KeyError:  # deferred, or a composite primary key
            return None
        shape = tuple(map(type, held))
        is_quick = self._shapes.get(shape)
        if is_quick is None:
            whole = [self._pk, *self._columns]
            is_quick = shape[0] is not _NULL and shape[-1] is not _NULL
            is_quick &= all(map(contains, [column.quick for column in whole], shape[:-1]))
            if len(self._shapes) < MOST_SHAPES:
                self._shapes[shape] = is_quick
        return held if is_quick else None

    def values_of(self, snapshot: Snapshot) -> Values:
        """Return what the row holds."""
        return {
            column.attname: value
            if value is None or type(value) is column.exact
            else column.plain(value)
            for column, value in zip((self._pk, *self._columns), snapshot, strict=False)
        }

    def most_bytes(self, snapshot: Snapshot) -> int:
        """Return how many bytes the values' JSON, key and subject have at most, all escaped."""
        # Key and subject are values too, and stand in the envelope once more.
        return self._bytes + 12 * sum([len(value) for value in snapshot if type(value) is str])

    @property
    def attnames(self) -> list[str]:
        """Names of primary key and columns, as :meth:`of_row` wants a row to have them."""
        return [column.attname for column in (self._pk, *self._columns)]

    @property
    def fields(self) -> list[_Field]:
        """Their fields."""
        return [column.field for column in (self._pk, *self._columns)]

    def of_row(self, row: Collection[Any]) -> Values:
        """Return what a row holds that the database has just given."""
        return {
            column.attname: value
            if value is None or type(value) is column.exact
            else column.plain(value)
            for column, value in zip((self._pk, *self._columns), row, strict=True)
        }

    def written(self, assigned: Mapping[str, Any]) -> Values | None:
        """Return what ``update(**assigned)`` leaves in each row; None: only the database knows."""
        if self._generated:
            return None
        written: Values = {}
        for column in (self._pk, *self._columns):
            field = column.field
            name = field.name if field.name in assigned else field.attname
            if name not in assigned:
                continue
            value = assigned[name]
            if isinstance(value, models.Model):
                value = getattr(value, _target_name(field))
            if value is None or type(value) is column.exact:
                written[column.attname] = value
            elif hasattr(value, "resolve_expression") or (
                column.is_rounded is not None and column.is_rounded(value)
            ):
                return None
            else:
                written[column.attname] = column.plain(value)
        return written

    def payload(self, values: Values) -> dict[str, Any]:
        """Return the values by the names that are published."""
        payload = {name: values[attname] for name, attname in self._names}
        if self._relations:
            payload.update((name, values[field]) for name, field in self._relations)
        if self._is_derived:
            payload.update(values[DERIVED])
            if self._order:
                return {name: payload[name] for name in self._order}
        return payload

    def is_touched(self, update_fields: Collection[str]) -> bool:
        """Tell whether a save of `update_fields` wrote anything that is published."""
        # A generated column may change with any other.
        return (
            bool(self._generated)
            or self._is_open
            or any(_is_written(column.field, update_fields) for column in self._columns)
            or any(_is_written(field, update_fields) for field in self._roots)
        )

    def select(self, pk: Any, using: str) -> Values | None:
        """Return what the row with this primary key holds; None: there is none."""
        # No manager's queryset: a manager may hide the row.
        rows: models.QuerySet[models.Model] = models.QuerySet(self._model, using=using)
        found = rows.filter(pk=pk).values_list(*self.attnames).first()
        return None if found is None else self.of_row(cast("tuple[Any, ...]", found))

    def select_all(self, pks: Collection[Any], using: str) -> list[tuple[Any, Values]]:
        """Return the rows with these primary keys, in the order of the keys: key and values."""
        if not pks:
            return []
        rows: models.QuerySet[models.Model] = models.QuerySet(self._model, using=using)
        found = rows.filter(pk__in=list(pks)).order_by("pk").values_list(*self.attnames)
        return [(row[0], self.of_row(row)) for row in found]

    def held(self, instance: models.Model) -> Values | None:
        """Return what an instance has just been given by the database; None: not all of it."""
        try:
            given = [instance.__dict__[name] for name in self.attnames]
        except KeyError:  # deferred, or a composite primary key
            return None
        return self.of_row(given)

    def is_same(self, instance: models.Model, values: Values) -> bool:
        """Tell whether a save would leave the row as `values`, as far as can be told before."""
        for column in self._columns:
            value = instance.__dict__.get(column.attname, _MISSING)
            if value is _MISSING or value is values[column.attname]:
                continue
            if hasattr(value, "resolve_expression"):
                return False
            plain = None if value is None else column.plain(value)
            if plain != values[column.attname]:
                return False
        return True

    def changes(
        self, before: Values | None, after: Values, only: Collection[str] | None = None
    ) -> dict[str, list[Any]]:
        """Return ``{name: [old, new]}`` of what is published; `only` of what these fields wrote."""
        written = {
            column.attname
            for column in (self._pk, *self._columns)
            if only is None or _is_written(column.field, only) or column.field.generated
        }
        olds = dict.fromkeys(after) if before is None else before
        return {
            name: [olds[attname], after[attname]]
            for name, attname in self._names
            if attname in written and (before is None or olds[attname] != after[attname])
        }

    def is_moved(self, update_fields: Collection[str]) -> bool:
        """Tell whether a write of `update_fields` gives rows another primary key."""
        return _is_written(self._pk.field, update_fields)

    def read_saved(
        self,
        instance: models.Model,
        using: str,
        update_fields: Collection[str] | None,
        *,
        created: bool,
    ) -> Values | None:
        """Return what the row of a saved instance holds; None: there is no such row."""
        # A generated column is computed by the database, on older Djangos unseen after an update.
        stale = _NOTHING if created else self._generated
        if update_fields is not None:
            stale |= {
                column.attname
                for column in self._columns
                if not _is_written(column.field, update_fields)
            }
        return self._read(instance, using, stale)

    def read(self, instance: models.Model, using: str, *, fresh: bool) -> Values | None:
        """Return what the row holds; `fresh`: Django has just read the instance."""
        return self._read(instance, using, _NOTHING if fresh else self._all)

    def _read(self, instance: models.Model, using: str, stale: Collection[str]) -> Values | None:
        """Read from the database, in one query, what the instance may not know.

        A stale value (the instance may hold one that was never saved), a deferred field, an
        expression, a number that the database rounds.
        """
        held = instance.__dict__
        values: Values = {}
        unknown: list[_Column] = []
        for column in self._columns:
            attname = column.attname
            value = held.get(attname, _MISSING)
            if attname in stale:
                unknown.append(column)
            elif value is None or type(value) is column.exact:
                values[attname] = value
            elif (
                value is _MISSING
                or hasattr(value, "resolve_expression")
                or (column.is_rounded is not None and column.is_rounded(value))
            ):
                unknown.append(column)
            else:
                values[attname] = column.plain(value)
        pk = getattr(instance, self.pk)
        if unknown or self.pk in stale:
            # No manager's queryset: a manager may hide the row. Never an empty list of names: that
            # would be all columns.
            rows: models.QuerySet[models.Model] = models.QuerySet(self._model, using=using)
            names = [column.attname for column in unknown] or [self.pk]
            found = cast("tuple[Any, ...] | None", rows.filter(pk=pk).values_list(*names).first())
            if found is None:
                return None
            for column, value in zip(unknown, found, strict=False):
                values[column.attname] = None if value is None else column.plain(value)
        values[self.pk] = None if pk is None else self._pk.plain(pk)
        return values


@cache
def reader_of(declaration: Declaration) -> Reader:
    """Return the reader of a declaration; raises FieldDoesNotExist for a name it has not."""
    return Reader(declaration)


def _is_written(field: _Field, update_fields: Collection[str]) -> bool:
    return field.name in update_fields or field.attname in update_fields


def _target(field: _Field) -> _Field:
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return field


def _target_name(field: _Field) -> str:
    return cast("models.ForeignKey[Any, Any]", field).target_field.attname


def _is_rounded_by(field: _Field) -> Callable[[Any], bool] | None:
    """Return what tells whether the database keeps fewer decimals: each rounds its own way."""
    if not isinstance(field, models.DecimalField) or field.decimal_places is None:
        return None
    to_python, places = field.to_python, field.decimal_places

    def is_rounded(value: Any) -> bool:
        if type(value) is int:
            return False
        _, digits, exponent = cast("Decimal", to_python(value)).as_tuple()
        surplus = -int(exponent) - places
        return surplus > 0 and any(digits[-surplus:])

    return is_rounded


def plain_of(field: _Field) -> Callable[[Any], Any]:
    """Return what makes a value that of the database: ``"9.9"`` saved as a decimal is 9.90."""
    if isinstance(field, models.CompositePrimaryKey):
        return _all_plain(cast("tuple[_Field, ...]", field.fields))
    field = _target(field)
    if isinstance(field, models.FileField):
        return str
    if isinstance(field, models.JSONField):
        encoder = field.encoder
        return lambda value: json.loads(json.dumps(value, cls=encoder))
    to_python = field.to_python
    if isinstance(field, models.DecimalField) and field.decimal_places is not None:
        form = f".{field.decimal_places}f"
        return lambda value: format(to_python(value), form)

    def plain(value: Any) -> Any:
        value = to_python(value)
        if isinstance(value, datetime) and settings.USE_TZ:
            if timezone.is_naive(value):  # as DateTimeField saves it, with a warning
                value = timezone.make_aware(value, timezone.get_default_timezone())
            return value.astimezone(UTC)
        return value

    return plain


def _all_plain(fields: Iterable[_Field]) -> Callable[[Any], Any]:
    parts = [plain_of(field) for field in fields]
    return lambda values: tuple(
        None if value is None else plain(value) for plain, value in zip(parts, values, strict=True)
    )
