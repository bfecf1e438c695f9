"""Saves and deletes of declared models, by Django's signals.

The save of a declared model runs in a transaction of its own even in autocommit, since Django sends
``post_save`` after the commit otherwise: an event that cannot be made then takes the row with it.

Two places lean on Django's inside: ``Model._save_table`` tells which tables of a multi-table child
were inserted, and ``Signal.receivers`` is put in order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from django.db import connections, models, router, transaction
from django.db.models.signals import class_prepared, post_delete, post_save, pre_delete

from kinesis_bridge.context import context_of
from kinesis_bridge.declarations import declarations, declared, signalled
from kinesis_bridge.streams import streams

from . import before, relations
from .deleting import add_last_lists, last_seen
from .derived import NOTHING
from .events import fits, late_event, publish
from .updates import take_write_lock
from .values import reader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import EllipsisType

    from django.dispatch import Signal

    from kinesis_bridge.context import Context
    from kinesis_bridge.declarations import Change, Declaration

_UID = "kinesis_bridge.capture"
_INSERTED = "_kinesis_bridge_inserted"
_DELETED = "_kinesis_bridge_deleted"


def start() -> None:
    """Connect every model declared so far, and each that is declared or derived from now on."""
    declared.connect(_on_declared, dispatch_uid=_UID)
    class_prepared.connect(_on_prepared, dispatch_uid=_UID)
    for declaration in declarations():
        _on_declared(declaration=declaration)


def _on_declared(*, declaration: Declaration, **_: object) -> None:
    if declaration.capture == "signals":
        _connect_family(declaration.model)
        relations.connect(declaration)


def _on_prepared(*, sender: type[models.Model], **_: object) -> None:
    if signalled(sender):
        _connect(sender)


def _connect_family(model: type[models.Model]) -> None:
    # Saves are signalled for the class of the instance only: never for the concrete model behind a
    # proxy, nor for the parents of multi-table inheritance.
    _connect(model)
    for child in model.__subclasses__():
        _connect_family(child)


def _connect(model: type[models.Model]) -> None:
    if model._meta.abstract:
        return
    concrete = model._meta.concrete_model
    assert concrete is not None  # noqa: S101 - only abstract models have none  # nosec B101
    _connect_first(post_save, _on_save, model)
    # Deletes are signalled once per table, parents included. Connected only where a declaration
    # asks for them: a receiver ends Django's fast deletes of that model.
    if any(d.model is concrete and "deleted" in d.on for d in signalled(model)):
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=_UID)
        _connect_first(post_delete, _on_delete, model)
    _wrap(model, "save_base", _in_transaction)
    if any(d.changed or d.when for d in signalled(model)):
        before.telling.add(model)
    if any(d.changed for d in signalled(model)):
        _wrap_class_method(model, "from_db", before.remembering)
        _wrap(model, "refresh_from_db", before.forgetting)
    if concrete._meta.parents:
        _wrap(model, "_save_table", _noting_inserts)


def _connect_first(
    signal: Signal, receiver: Callable[..., None], model: type[models.Model]
) -> None:
    # Before every other receiver, also those connected earlier: one that saves again publishes
    # "updated", and that must not overtake this save's "created".
    signal.connect(receiver, sender=model, dispatch_uid=_UID)
    with signal.lock:
        signal.receivers.sort(key=lambda entry: entry[0][0] != _UID)
        signal.sender_receivers_cache.clear()


def _wrap(
    model: type[models.Model], name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    method = getattr(model, name)
    if getattr(method, "_kinesis_bridge", False):  # the parent's, wrapped before
        return
    wrapper = wraps(method)(wrap(method))
    wrapper._kinesis_bridge = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    setattr(model, name, wrapper)


def _in_transaction(save_base: Callable[..., None]) -> Callable[..., None]:
    def wrapper(self: models.Model, *args: Any, **kwargs: Any) -> None:
        # Django's own signature: save_base(raw, force_insert, force_update, using, update_fields).
        using = kwargs.get("using") or (args[3] if len(args) > 3 else None)
        using = using or router.db_for_write(type(self), instance=self)
        self.__dict__.pop(_INSERTED, None)
        connection = connections[using]
        if not connection.in_atomic_block:
            with transaction.atomic(using=using, savepoint=False):
                if type(self) in before.telling:
                    take_write_lock(type(self), using)
                    before.note(self, using)
                save_base(self, *args, **kwargs)
            return
        try:  # as atomic(savepoint=False) would, at a fraction of what that costs
            if type(self) in before.telling:
                before.note(self, using)
            save_base(self, *args, **kwargs)
        except BaseException:
            connection.needs_rollback = True
            raise

    return wrapper


def _wrap_class_method(model: type[models.Model], name: str, wrap: Callable[..., Any]) -> None:
    function = getattr(model, name).__func__
    if not getattr(function, "_kinesis_bridge", False):
        wrapper = wraps(function)(wrap(function))
        wrapper._kinesis_bridge = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
        setattr(model, name, classmethod(wrapper))


def _noting_inserts(save_table: Callable[..., Any]) -> Callable[..., Any]:
    # Only here is it known whether the row of a parent was there: a child may be added to it.
    def wrapper(self: models.Model, *args: Any, **kwargs: Any) -> Any:
        updated = save_table(self, *args, **kwargs)
        if not updated:
            # Django's own signature: _save_table(raw, cls, ...).
            table = kwargs["cls"] if "cls" in kwargs else args[1]
            self.__dict__.setdefault(_INSERTED, set()).add(table)
        return updated

    return wrapper


def _on_save(
    *,
    instance: models.Model,
    created: bool,
    using: str,
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: object,
) -> None:
    inserted = instance.__dict__.pop(_INSERTED, ())
    noted = before.taken(instance)
    if raw:  # fixtures: rows that were published when they were made
        return
    concrete = instance._meta.concrete_model
    for declaration in signalled(type(instance)):
        is_new = created if declaration.model is concrete else declaration.model in inserted
        change: Change = "created" if is_new else "updated"
        if not declaration.wants(change):
            continue
        reader = reader_of(declaration)
        is_unseen = update_fields is not None and not reader.is_touched(update_fields)
        if is_unseen and declaration.when is None:
            continue
        tells = declaration.changed and change == "updated"
        may_wait = update_fields is None and not tells and declaration.when is None
        snapshot = reader.snapshot(instance) if may_wait else None
        context: Context | EllipsisType | None = ...
        if snapshot is not None and fits(snapshot[-1]):
            moment = datetime.now(UTC)
            context = context_of(declaration.event_type(change), declaration.stream)
            make = partial(late_event, declaration, change, snapshot, moment, context)
            most_bytes = reader.most_bytes(snapshot)
            if streams[declaration.stream].send_late(make, using, most_bytes=most_bytes):
                continue
        values = reader.read_saved(instance, using, update_fields, created=is_new)
        if values is None:
            continue
        old, seen = noted.get(declaration, (None, NOTHING))
        changed = reader.changes(old, values, update_fields) if tells else None
        publish(declaration, change, values, using, changed, seen, context)


def _before_delete(
    *, instance: models.Model, using: str, origin: object = None, **_: object
) -> None:
    """Note the row before it goes, for :func:`_on_delete`."""
    instance.__dict__[_DELETED] = notes = []
    concrete = instance._meta.concrete_model
    if _is_proxied(instance, origin):
        return
    # Django fetched the rest itself; what the caller holds may never have been saved.
    is_fresh = not (
        isinstance(origin, type(instance)) and instance.pk == getattr(origin, _pk_name(instance))
    )
    for declaration in signalled(type(instance)):
        if declaration.model is concrete and "deleted" in declaration.on:
            values = reader_of(declaration).read(instance, using, fresh=is_fresh)
            if values is not None:  # None: there is no such row, nothing will be deleted
                pk = values[reader_of(declaration).pk]
                if declaration.relations:
                    add_last_lists(declaration, values, pk, using)
                seen = last_seen(declaration, pk, using)
                notes.append((declaration, values, seen))


def _is_proxied(instance: models.Model, origin: object) -> bool:
    """Tell whether this row is signalled under its proxy too.

    Deleting a parent's proxy collects the children, and from them their parent: the same row.
    """
    if not isinstance(origin, (models.Model, models.QuerySet)):
        return False
    asked = type(origin) if isinstance(origin, models.Model) else origin.model
    if asked is type(instance) or asked._meta.concrete_model is not type(instance):
        return False
    if isinstance(origin, models.Model):
        return origin == instance
    return origin.filter(pk=instance.pk).exists()


def _on_delete(*, instance: models.Model, using: str, **_: object) -> None:
    for declaration, values, seen in instance.__dict__.pop(_DELETED, ()):
        publish(declaration, "deleted", values, using, before=seen)


def _pk_name(instance: models.Model) -> str:
    pk = instance._meta.pk
    assert pk is not None  # noqa: S101 - every concrete model has one  # nosec B101
    return pk.attname
