"""``publishes(when=...)``: rows that are published while a condition holds.

To a consumer a row that comes to meet the condition is created, and one that no longer does is
deleted: so a soft delete is a delete. The condition is asked of rows as the database has them,
before and after: an instance may hold what was never saved.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kinesis_bridge.declarations import Change, Declaration, Kind

    from .values import Values

States = dict[Any, bool]
"""Whether it holds of a row, by the row's primary key; of one that is not there it does not."""


def states_of(declaration: Declaration, pks: Iterable[Any], using: str) -> States:
    """Ask the condition of the rows with these primary keys."""
    wanted = list(pks)
    if declaration.when is None or not wanted:
        return {}
    # No manager's queryset: a manager may hide rows.
    rows: models.QuerySet[Any] = models.QuerySet(declaration.model, using=using)
    return {row.pk: bool(declaration.when(row)) for row in rows.filter(pk__in=wanted)}


def kind_of(change: Kind, *, was: bool, is_so: bool) -> Kind | None:
    """Return what `change` is to a consumer; None: nothing."""
    if change == "deleted":
        return "deleted" if was else None
    if change in {"created", "snapshot"}:
        return change if is_so else None
    kinds: Mapping[tuple[bool, bool], Change] = {
        (True, True): "updated",
        (False, True): "created",
        (True, False): "deleted",
    }
    return kinds.get((was, is_so))


def by_kind(
    declaration: Declaration,
    change: Kind,
    rows: Sequence[tuple[Values, Any]],
    pk: str,
    before: States | None,
    using: str,
) -> Iterator[tuple[Kind, list[tuple[Values, Any]]]]:
    """Yield the rows that have events, in their order: those of one kind that follow each other.

    `before`: the states that they had; None: those that they have.
    """
    keys = [values[pk] for values, _ in rows]
    after: States = {} if change == "deleted" else states_of(declaration, keys, using)
    had = after if before is None else before

    def kind(row: tuple[Values, Any]) -> Kind | None:
        key = row[0][pk]
        return kind_of(change, was=had.get(key, False), is_so=after.get(key, False))

    for found, alike in groupby(rows, key=kind):
        if found is not None and (found == "snapshot" or found in declaration.on):
            yield found, list(alike)
