"""Saves and deletes of declared models, by Django's signals.

The save of a declared model runs in a transaction of its own even in autocommit, since Django sends
``post_save`` after the commit otherwise: an event that cannot be made then takes the row with it.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from django.db import models, router, transaction
from django.db.models.signals import class_prepared, post_save, pre_delete, pre_save

from kinesis_bridge.conf import get_config
from kinesis_bridge.declarations import declarations, declarations_of, declared
from kinesis_bridge.event import Event
from kinesis_bridge.exceptions import PartitionKeyError, SerializationError
from kinesis_bridge.serializers import to_json
from kinesis_bridge.streams import streams

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from kinesis_bridge.declarations import Change, Declaration

_PARENTS = "_kinesis_bridge_existing_parents"


def start() -> None:
    """Connect every model declared so far, and each that is declared or derived from now on."""
    declared.connect(_on_declared, dispatch_uid="kinesis_bridge.capture")
    class_prepared.connect(_on_prepared, dispatch_uid="kinesis_bridge.capture")
    for declaration in declarations():
        _connect_family(declaration.model)


def _on_declared(*, declaration: Declaration, **_: object) -> None:
    _connect_family(declaration.model)


def _on_prepared(*, sender: type[models.Model], **_: object) -> None:
    if declarations_of(sender):
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
    uid = "kinesis_bridge.capture"
    post_save.connect(_on_save, sender=model, dispatch_uid=uid)
    if model._meta.concrete_model._meta.parents:  # type: ignore[union-attr]
        pre_save.connect(_before_save, sender=model, dispatch_uid=uid)
    # Deletes are signalled once per table, parents included. Connected only where there is a
    # declaration: a receiver ends Django's fast deletes of that model.
    concrete = model._meta.concrete_model
    if any(declaration.model is concrete for declaration in declarations_of(model)):
        pre_delete.connect(_on_delete, sender=model, dispatch_uid=uid)
    if not getattr(model.save_base, "_in_transaction", False):
        model.save_base = _in_transaction(model.save_base)  # type: ignore[method-assign]


def _in_transaction(save_base: Callable[..., None]) -> Callable[..., None]:
    @wraps(save_base)
    def wrapper(self: models.Model, *args: Any, **kwargs: Any) -> None:
        # Django's own signature: save_base(raw, force_insert, force_update, using, update_fields).
        using = kwargs.get("using") or (args[3] if len(args) > 3 else None)
        using = using or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            save_base(self, *args, **kwargs)

    wrapper._in_transaction = True  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark
    return wrapper


def _before_save(*, instance: models.Model, using: str, raw: bool = False, **_: object) -> None:
    """Note which parent rows exist already: a child may be added to a parent that is there."""
    if raw or not instance._state.adding:
        return
    existing = {
        declaration.model
        for declaration in declarations_of(type(instance))
        if declaration.model is not type(instance)._meta.concrete_model
        and (pk := getattr(instance, _pk(declaration.model).attname)) is not None
        and declaration.model._base_manager.using(using).filter(pk=pk).exists()
    }
    instance.__dict__[_PARENTS] = existing


def _on_save(
    *,
    instance: models.Model,
    created: bool,
    using: str,
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: object,
) -> None:
    existing = instance.__dict__.pop(_PARENTS, ())
    if raw:  # fixtures: rows that were published when they were made
        return
    for declaration in declarations_of(type(instance)):
        change: Change = "created" if created and declaration.model not in existing else "updated"
        if change not in declaration.on or not _touches(declaration, update_fields):
            continue
        _publish(declaration, change, instance, using, update_fields)


def _on_delete(*, instance: models.Model, using: str, **_: object) -> None:
    # Before the row goes, while deferred fields can still be read; a delete that fails takes the
    # event with it.
    concrete = type(instance)._meta.concrete_model
    for declaration in declarations_of(type(instance)):
        if declaration.model is concrete and "deleted" in declaration.on:
            _publish(declaration, "deleted", instance, using, None)


def _touches(declaration: Declaration, update_fields: Collection[str] | None) -> bool:
    """Tell whether a save of `update_fields` wrote anything that is published."""
    if update_fields is None:
        return True
    fields = (*declaration.payload_fields.values(), declaration.key_field)
    return any(_is_written(field, update_fields) for field in fields)


def _is_written(field: models.Field[Any, Any], update_fields: Collection[str] | None) -> bool:
    return update_fields is None or field.name in update_fields or field.attname in update_fields


def _publish(
    declaration: Declaration,
    change: Change,
    instance: models.Model,
    using: str,
    update_fields: Collection[str] | None,
) -> None:
    key_field = declaration.key_field
    payload = declaration.payload_fields
    pk = getattr(instance, _pk(declaration.model).attname)
    values = _values(
        declaration.model, pk, instance, using, {key_field, *payload.values()}, update_fields
    )
    if values[key_field] is None:
        raise PartitionKeyError(
            f"{declaration.label}.{declaration.key} is empty for {pk!r}, and it is the partition"
            " key of the model's events. Choose a key= that always has a value."
        )
    data = {name: values[field] for name, field in payload.items()}
    event = Event(
        type=f"{declaration.type}.{change}",
        source=get_config().source,
        key=str(values[key_field]),
        subject=str(pk),
        data=data,
        stream=declaration.stream,
    )
    try:
        streams[declaration.stream].send(event, using)
    except SerializationError as error:
        raise _blame(declaration, data, error) from error


def _values(
    model: type[models.Model],
    pk: Any,
    instance: models.Model,
    using: str,
    fields: Iterable[models.Field[Any, Any]],
    update_fields: Collection[str] | None,
) -> dict[models.Field[Any, Any], Any]:
    """Return what the row holds, by field: from the instance where it is known to agree.

    Read from the database, in one query, where it may not: a field that was not written (the
    instance may hold a value that was never saved), a deferred field, an expression.
    """
    values: dict[models.Field[Any, Any], Any] = {}
    unknown: list[models.Field[Any, Any]] = []
    for field in fields:
        held = instance.__dict__.get(field.attname, _PARENTS)
        if (
            held is _PARENTS
            or hasattr(held, "resolve_expression")
            or not (field.primary_key or _is_written(field, update_fields))
        ):
            unknown.append(field)
        else:
            values[field] = _plain(field, held)
    if unknown:
        rows = model._base_manager.using(using).filter(pk=pk)
        names = [field.attname for field in unknown]
        read = cast("tuple[Any, ...]", rows.values_list(*names).get())
        values |= {field: _plain(field, held) for field, held in zip(unknown, read, strict=True)}
    return values


def _plain(field: models.Field[Any, Any], value: Any) -> Any:
    """Return `value` as the database gives it back: ``"9.9"`` saved as a decimal is 9.90."""
    if value is None:
        return None
    if isinstance(field, models.FileField):
        return str(value)
    value = field.to_python(value)
    if isinstance(field, models.DecimalField):
        return f"{value:.{field.decimal_places}f}"
    return value


def _blame(
    declaration: Declaration, data: dict[str, Any], error: SerializationError
) -> SerializationError:
    """Name the field that has no JSON form."""
    for name, value in data.items():
        try:
            to_json(value)
        except SerializationError as reason:
            return SerializationError(
                f"{declaration.label}.{name} cannot be published. {reason} Leave the field out of"
                " fields=, or give the stream a serializer that knows its type."
            )
    return error


def _pk(model: type[models.Model]) -> models.Field[Any, Any]:
    pk = model._meta.pk
    assert pk is not None  # noqa: S101 - every concrete model has one
    return pk
