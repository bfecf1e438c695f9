"""The delete under way: which rows will go with it, and what is seen of them while they are there.

It leans on names inside Django: ``Collector.data``.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .derived import NOTHING, seen_of
from .related import lists_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db import models
    from django.db.models.deletion import Collector

    from kinesis_bridge.declarations import Declaration

    from .derived import Seen
    from .related import Lists
    from .values import Values

_LAST = "_kinesis_bridge_last"
_LISTS = "_kinesis_bridge_lists"
_collector: ContextVar[Collector | None] = ContextVar("kinesis_bridge.collector", default=None)
"""Which deletes right now."""


def note_collector(delete: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``Collector.delete`` that says which rows it is about to delete."""

    def wrapper(self: Collector) -> Any:
        token = _collector.set(self)
        try:
            return delete(self)
        finally:
            _collector.reset(token)

    return wrapper


def is_deleting() -> bool:
    """Tell whether a delete is under way."""
    return _collector.get() is not None


def doomed(model: type[models.Model]) -> set[Any]:
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


def last_seen(declaration: Declaration, pk: Any, using: str) -> Seen:
    """Return what is seen of a row that will go: read once for all that go with it."""
    if declaration.when is None and not declaration.is_derived:
        return NOTHING
    collector = _collector.get()
    if collector is None:
        return seen_of(declaration, [pk], using, data=True)
    kept: dict[Declaration, Seen] = collector.__dict__.setdefault(_LAST, {})
    if declaration not in kept:  # none has gone: every pre_delete is sent before
        kept[declaration] = seen_of(declaration, {pk, *doomed(declaration.model)}, using, data=True)
    return kept[declaration]


def add_last_lists(declaration: Declaration, values: Values, pk: Any, using: str) -> None:
    """Put to a row's values what it is related to: read once for all that go with it."""
    collector = _collector.get()
    kept: dict[Declaration, dict[str, Lists]] = {}
    if collector is not None:
        kept = collector.__dict__.setdefault(_LISTS, {})
    if declaration not in kept:
        fields, pks = declaration.relations.values(), {pk, *doomed(declaration.model)}
        kept[declaration] = {field.name: lists_of(field, pks, using) for field in fields}
    for name, lists in kept[declaration].items():
        values[name] = lists.get(pk, [])
