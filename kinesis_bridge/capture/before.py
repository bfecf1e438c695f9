"""What a row held before a save, where its events tell: ``changed=`` and ``when=``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinesis_bridge.declarations import signalled

from .derived import NOTHING, looks_back, seen_of
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db import models

    from kinesis_bridge.declarations import Declaration

    from .derived import Seen
    from .values import Values

    Noted = dict[Declaration, tuple[Values | None, Seen]]

_LOADED = "_kinesis_bridge_loaded"
_BEFORE = "_kinesis_bridge_before"
_NOTHING: dict[Any, Any] = {}
telling: set[type[models.Model]] = set()
"""Models whose events tell what was there before."""


def remembering(from_db: Callable[..., models.Model]) -> Callable[..., models.Model]:
    """Return ``Model.from_db`` that keeps what it was given."""

    def wrapper(cls: type[models.Model], *args: Any, **kwargs: Any) -> models.Model:
        instance = from_db(cls, *args, **kwargs)
        instance.__dict__[_LOADED] = {
            # By names: an instance may be pickled, and a condition mostly not.
            (declaration.label, declaration.prefix): held
            for declaration in signalled(cls)
            if declaration.changed
            and not declaration.is_derived  # that is read: so is the rest, to be of one time
            and (held := reader_of(declaration).held(instance)) is not None
        }
        return instance

    return wrapper


def forgetting(refresh_from_db: Callable[..., None]) -> Callable[..., None]:
    """Return ``Model.refresh_from_db`` after which what was kept is gone."""

    def wrapper(self: models.Model, *args: Any, **kwargs: Any) -> None:
        refresh_from_db(self, *args, **kwargs)
        self.__dict__.pop(_LOADED, None)  # older than what it holds now

    return wrapper


def note(instance: models.Model, using: str) -> None:
    """Note what the rows hold that a save is about to change, where events say it.

    As it was loaded, once: what the transaction of an earlier save did with it is not known to the
    instance. And never where it would say that nothing changes: that only the database knows.
    """
    loaded = instance.__dict__.pop(_LOADED, {})
    before: Noted = {}
    for declaration in signalled(type(instance)):
        if not (declaration.changed or declaration.when) or not declaration.wants("updated"):
            continue
        reader = reader_of(declaration)
        pk = getattr(instance, reader.pk)
        may_be_there = pk is not None and not _is_new(instance)
        values = loaded.get((declaration.label, declaration.prefix))
        reads = declaration.changed and declaration.payload is None
        if reads and (values is None or reader.is_same(instance, values)):
            values = reader.select(pk, using) if may_be_there else None
        seen = NOTHING
        if may_be_there and looks_back(declaration):
            seen = seen_of(declaration, [pk], using, data=declaration.changed)
        before[declaration] = (values, seen)
    if before:
        instance.__dict__[_BEFORE] = before


def _is_new(instance: models.Model) -> bool:
    """Tell whether Django will not even try an UPDATE: ``Model._save_table``."""
    keys = instance._meta.pk_fields
    return instance._state.adding and all(key.has_default() or key.has_db_default() for key in keys)


def taken(instance: models.Model) -> Noted:
    """Return what :func:`note` noted, and forget it."""
    noted: Noted = instance.__dict__.pop(_BEFORE, _NOTHING)
    return noted
