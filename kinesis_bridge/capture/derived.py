"""What of a row no own column holds: paths, expressions, functions, and whether ``when`` holds.

Read for all rows at once, in the transaction of their change: instances by one query where a
function is given one, with what the database computes beside them; else that alone, by one query.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import F, Q

from kinesis_bridge.declarations import CHANGED
from kinesis_bridge.declaring.sources import Computed, Path
from kinesis_bridge.exceptions import EventError, SchemaError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .values import DERIVED, plain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kinesis_bridge.declarations import Declaration

    from .values import Values

    Pairs = list[tuple[Values, Any]]

PART = 10_000
"""Rows in one query: SQLite takes 32,766 parameters ("Limits in SQLite", 9), the others more."""
Data = dict[str, Any]
"""What a row's data has beside its own columns, by name."""


@dataclass(slots=True)
class Seen:
    """What was seen of some rows at one time, by primary key."""

    holds: dict[Any, bool] = field(default_factory=dict)
    """Whether ``when`` holds of it; of a row that is not there it does not."""
    data: dict[Any, Data] = field(default_factory=dict)

    def update(self, other: Seen) -> None:
        """Take what another has seen of other rows."""
        self.holds.update(other.holds)
        self.data.update(other.data)


NOTHING = Seen()


def seen_of(
    declaration: Declaration,
    pks: Iterable[Any],
    using: str,
    *,
    data: bool,
    before: Seen = NOTHING,
) -> Seen:
    """Read the rows with these primary keys.

    `data`: not only whether ``when`` holds. A function is given only rows of which it holds, or
    did `before`: others have no event.
    """
    wanted = list(pks)
    data = data and declaration.is_derived
    if not wanted or (declaration.when is None and not data):
        return NOTHING
    seen = Seen()
    for first in range(0, len(wanted), PART):
        # No manager's queryset: a manager may hide rows.
        rows: models.QuerySet[Any] = models.QuerySet(declaration.model, using=using)
        rows = rows.filter(pk__in=wanted[first : first + PART])
        _reading_of(declaration).read(rows, seen, data=data, before=before)
    return seen


class _Reading:
    """How the rows of one declaration are read. Holds no row: made once for all."""

    def __init__(self, declaration: Declaration) -> None:
        pk = declaration.model._meta.pk
        assert pk is not None  # noqa: S101 - every concrete model has one  # nosec B101
        self.key = plain_of(pk)
        self._declaration = declaration
        self._functions: dict[str, Callable[[Any], Any]] = {}
        self._annotations: dict[str, Any] = {}
        self._columns: list[tuple[str, str, Callable[[Any], Any]]] = []
        """Name in the data, that of the annotation, what makes a value plain."""
        for number, (name, source) in enumerate(declaration.derived.items()):
            if isinstance(source, Computed):
                self._functions[name] = source.function
                continue
            alias = f"kinesis_bridge_{number}"
            if isinstance(source, Path):
                self._annotations[alias], output = F(source.lookup), source.fields[-1]
            else:
                self._annotations[alias], output = source.expression, source.output_field
            self._columns.append((name, alias, plain_of(output)))
        self._select = [name.replace(".", "__") for name in declaration.select]
        self._asked = None if isinstance(declaration.when, Q) else declaration.when
        self.needs_instances = bool(self._functions) or declaration.payload is not None

    def read(self, rows: models.QuerySet[Any], seen: Seen, *, data: bool, before: Seen) -> None:
        """Put to `seen` what these rows have."""
        when = self._declaration.when
        if isinstance(when, Q):
            met = rows.filter(when).values_list("pk", flat=True)
            seen.holds.update((self.key(pk), True) for pk in met)
        if (data and self.needs_instances) or self._asked is not None:
            self._read_instances(rows, seen, data=data, before=before)
        elif data:
            self._read_values(rows, seen)

    def _read_values(self, rows: models.QuerySet[Any], seen: Seen) -> None:
        aliases = [alias for _, alias, _ in self._columns]
        for pk, *values in rows.annotate(**self._annotations).values_list("pk", *aliases):
            seen.data[self.key(pk)] = self._plain(values)

    def _read_instances(
        self, rows: models.QuerySet[Any], seen: Seen, *, data: bool, before: Seen
    ) -> None:
        when = self._declaration.when
        if self._select:
            rows = rows.select_related(*self._select)
        if data:
            rows = rows.annotate(**self._annotations)
        for row in rows:
            values = [row.__dict__.pop(alias) for _, alias, _ in self._columns] if data else []
            pk = self.key(row.pk)
            if self._asked is not None:
                seen.holds[pk] = bool(self._asked(row))
            is_wanted = when is None or seen.holds.get(pk, False) or before.holds.get(pk, False)
            if data and is_wanted:
                seen.data[pk] = self._data(row, values)

    def _plain(self, values: Sequence[Any]) -> Data:
        return {
            name: None if value is None else plain(value)
            for (name, _, plain), value in zip(self._columns, values, strict=True)
        }

    def _data(self, row: models.Model, values: Sequence[Any]) -> Data:
        if self._declaration.payload is not None:
            return _as_data(self._declaration, self._declaration.payload(row))
        found = self._plain(values)
        found.update((name, function(row)) for name, function in self._functions.items())
        return found

    def of_none(self, pk: Any) -> Data:
        """Return the data of a row that was not found, as by a join with a row that is not there.

        Raises EventError where a function would need it.
        """
        if self.needs_instances:
            raise EventError(
                Text(
                    _(
                        "{label} cannot be published. The row {key} cannot be read back: it is"
                        " gone, or a relation in select= points to a row that does not exist."
                    ),
                    label=self._declaration.label,
                    key=repr(pk),
                )
            )
        return dict.fromkeys(self._declaration.derived)


@cache
def _reading_of(declaration: Declaration) -> _Reading:
    return _Reading(declaration)


def _as_data(declaration: Declaration, made: Any) -> Data:
    """Return what ``payload`` made as a dictionary; raises SchemaError for what is none."""
    if dataclasses.is_dataclass(made) and not isinstance(made, type):
        made = {one.name: getattr(made, one.name) for one in dataclasses.fields(made)}
    if not isinstance(made, dict):
        said = _(
            "{label} cannot be published. payload= returned {type}: let it return a dict or a"
            " dataclass."
        )
        raise SchemaError(Text(said, label=declaration.label, type=type(made).__name__))
    if declaration.changed and CHANGED in made:
        said = _(
            "{label} cannot be published. payload= returned {name}, and with changed=True the data"
            " has that already: give it another name."
        )
        raise SchemaError(Text(said, label=declaration.label, name=repr(CHANGED)))
    return made


def with_data(
    declaration: Declaration, pairs: Pairs, pk: str, seen: Seen, before: Seen | None
) -> Pairs:
    """Put what was seen of each row to its values, and to what changed what it was before."""
    reading = _reading_of(declaration)
    given: Pairs = []
    for values, changed in pairs:
        key = values[pk]
        data = seen.data.get(key)
        if data is None:
            if declaration.when is not None and not _may_be_told(key, seen, before):
                given.append((values, changed))
                continue
            data = reading.of_none(key)
        values[DERIVED] = data
        if changed is not None:
            old = None if before is None else before.data.get(key)
            changed = {**changed, **_changes(old, data)}  # noqa: PLW2901
        given.append((values, changed))
    return given


def _may_be_told(key: Any, seen: Seen, before: Seen | None) -> bool:
    return seen.holds.get(key, False) or (before is not None and before.holds.get(key, False))


def _changes(old: Data | None, new: Data) -> dict[str, list[Any]]:
    if old is None:
        return {name: [None, value] for name, value in new.items()}
    return {
        name: [old.get(name), new.get(name)]
        for name in {**old, **new}
        if name not in old or name not in new or old[name] != new[name]
    }


def looks_back(declaration: Declaration) -> bool:
    """Tell whether an update has to see what a row was before, beside its own columns."""
    return declaration.when is not None or (declaration.changed and declaration.is_derived)
