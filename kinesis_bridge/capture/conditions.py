"""``publishes(when=...)``: rows that are published while a condition holds.

To a consumer a row that comes to meet the condition is created, and one that no longer does is
deleted: so a soft delete is a delete. The condition is asked of rows as the database has them,
before and after: an instance may hold what was never saved.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kinesis_bridge.declarations import Change, Declaration, Kind

    from .values import Values


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
    had: Mapping[Any, bool],
    has: Mapping[Any, bool],
) -> Iterator[tuple[Kind, list[tuple[Values, Any]]]]:
    """Yield the rows that have events, in their order: those of one kind that follow each other.

    `had` and `has`: whether the condition held of them, and whether it does, by primary key.
    """

    def kind(row: tuple[Values, Any]) -> Kind | None:
        key = row[0][pk]
        return kind_of(change, was=had.get(key, False), is_so=has.get(key, False))

    for found, alike in groupby(rows, key=kind):
        if found is not None and (found == "snapshot" or found in declaration.on):
            yield found, list(alike)
