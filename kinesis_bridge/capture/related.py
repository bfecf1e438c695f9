"""What rows are related to by their many-to-many fields, read from the table between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from .values import plain_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kinesis_bridge.declarations import Declaration

    from .values import Values

Lists = dict[Any, list[Any]]
"""By the primary key of a row: the primary keys that it is related to, in their order."""


def lists_of(field: models.ManyToManyField[Any, Any], pks: Iterable[Any], using: str) -> Lists:
    """Return the lists of the rows with these primary keys; those without a relation have none."""
    found: Lists = {pk: [] for pk in pks}
    if not found:
        return found
    source, target = field.m2m_field_name(), field.m2m_reverse_field_name()
    through: Any = field.remote_field.through
    plain = plain_of(through._meta.get_field(target))
    rows: models.QuerySet[Any] = models.QuerySet(through, using=using)
    pairs = rows.filter(**{f"{source}__in": list(found)}).values_list(source, target)
    for pk, other in pairs.order_by(source, target):
        found[pk].append(plain(other))
    return found


def add_lists(
    declaration: Declaration, rows: Sequence[Values], pk: str, using: str, *, new: bool
) -> None:
    """Put each row's lists to its values, by the fields' names; `new` rows have none yet."""
    for field in declaration.relations.values():
        name = field.name
        missing = [values for values in rows if name not in values]
        keys = [values[pk] for values in missing]
        lists: Lists = {} if new or not missing else lists_of(field, keys, using)
        for values in missing:
            values[name] = lists.get(values[pk], [])
