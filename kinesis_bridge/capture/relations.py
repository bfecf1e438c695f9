"""Many-to-many fields that are published: what a row is related to, and what changes that.

A change is one of the row that has the field: its ``updated`` event has the new list. Django tells
of ``add()``, ``remove()``, ``set()`` and ``clear()``, from either side, by ``m2m_changed``; of the
rows that go with a deleted related one it says nothing, so its deletion is watched.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.signals import m2m_changed, post_delete, pre_delete

from .derived import looks_back, seen_of
from .events import publish_all
from .related import lists_of
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from kinesis_bridge.declarations import Declaration

    from .derived import Seen
    from .related import Lists

    _Relation = models.ManyToManyField[Any, Any]

_UID = "kinesis_bridge.capture.relations"
_NOTES = "_kinesis_bridge_related"
_watched: dict[type[models.Model], list[tuple[Declaration, str, _Relation]]] = defaultdict(list)
"""By the table between: the declarations that publish it."""


def connect(declaration: Declaration) -> None:
    """Watch the many-to-many fields of a declaration."""
    for name, field in declaration.relations.items():
        through = _through(field)
        entry = (declaration, name, field)
        if entry in _watched[through]:
            continue
        _watched[through].append(entry)
        m2m_changed.connect(_on_changed, sender=through, dispatch_uid=_UID)
        related = field.related_model
        pre_delete.connect(_before_delete, sender=related, dispatch_uid=_UID)
        post_delete.connect(_on_delete, sender=related, dispatch_uid=_UID)


def _through(field: _Relation) -> type[models.Model]:
    through: type[models.Model] = field.remote_field.through  # type: ignore[assignment]
    return through


def _on_changed(
    *,
    sender: type[models.Model],
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: Collection[Any] | None,
    using: str,
    **_: object,
) -> None:
    for entry in _watched.get(sender, ()):
        if action.startswith("pre_"):
            pks = _affected(entry[2], instance, reverse, pk_set, using)
            _note(instance, entry, pks, using)
        else:
            _publish(instance, entry, using, mirrors=action == "post_add" and not reverse)


def _affected(
    field: _Relation,
    instance: models.Model,
    reverse: bool,
    pk_set: Collection[Any] | None,
    using: str,
) -> set[Any]:
    """Return the primary keys of the rows whose list is about to change."""
    if reverse:
        return _related_to(field, instance, using) if pk_set is None else set(pk_set)
    if not field.remote_field.symmetrical:
        return {instance.pk}
    others = _related_to(field, instance, using) if pk_set is None else set(pk_set)
    return {instance.pk, *others}


def _related_to(field: _Relation, instance: models.Model, using: str) -> set[Any]:
    source, target = field.m2m_field_name(), field.m2m_reverse_field_name()
    rows: models.QuerySet[Any] = models.QuerySet(_through(field), using=using)
    return set(rows.filter(**{target: instance.pk}).values_list(source, flat=True))


def _before_delete(
    *, sender: type[models.Model], instance: models.Model, using: str, **_: object
) -> None:
    for entry in _pointing_at(sender):
        _note(instance, entry, _related_to(entry[2], instance, using), using)


def _on_delete(
    *, sender: type[models.Model], instance: models.Model, using: str, **_: object
) -> None:
    for entry in _pointing_at(sender):
        _publish(instance, entry, using)


def _pointing_at(model: type[models.Model]) -> list[tuple[Declaration, str, _Relation]]:
    return [
        one for entries in _watched.values() for one in entries if one[2].related_model is model
    ]


def _note(
    instance: models.Model, entry: tuple[Declaration, str, _Relation], pks: set[Any], using: str
) -> None:
    declaration, name, field = entry
    if "updated" in declaration.on and pks:
        # Two that add to one list at once: the second has to see what the first added. Locked
        # until the COMMIT, before which the event takes its place.
        rows: models.QuerySet[Any] = models.QuerySet(declaration.model, using=using)
        list(rows.filter(pk__in=pks).order_by("pk").select_for_update().values_list("pk"))
        notes = instance.__dict__.setdefault(_NOTES, {})
        seen = None
        if looks_back(declaration):
            seen = seen_of(declaration, pks, using, data=declaration.changed)
        notes[declaration, name] = lists_of(field, pks, using), seen


def _publish(
    instance: models.Model,
    entry: tuple[Declaration, str, _Relation],
    using: str,
    *,
    mirrors: bool = False,
) -> None:
    declaration, name, field = entry
    notes = instance.__dict__.get(_NOTES, {})
    noted: tuple[Lists, Seen | None] = notes.pop((declaration, name), ({}, None))
    before, seen = noted
    after = lists_of(field, before, using)
    if mirrors and field.remote_field.symmetrical:
        # Django writes the other direction after it has told of the first.
        for pk in before.keys() - {instance.pk}:
            after[pk] = sorted({*after[pk], instance.pk})
    reader = reader_of(declaration)
    rows = reader.select_all([pk for pk in before if before[pk] != after[pk]], using)
    for pk, values in rows:
        values[field.name] = after[pk]
    changed = [{name: [before[pk], after[pk]]} if declaration.changed else None for pk, _ in rows]
    publish_all(declaration, "updated", [values for _, values in rows], using, changed, seen)
