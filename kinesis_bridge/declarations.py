"""``@publishes``: which models are published, as what. Holds the registry; captures nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.dispatch import Signal

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator, Sequence

M = TypeVar("M", bound=models.Model)
Change = Literal["created", "updated", "deleted"]
Kind = Literal["created", "updated", "deleted", "snapshot"]
"""What an event says of a row: a change, or how it is."""
CHANGES: tuple[Change, ...] = ("created", "updated", "deleted")
ALL_FIELDS = "__all__"
CHANGED = "changed"
"""Where the data says what changed."""

declared = Signal()
"""Sent with ``declaration``: capture connects a model as soon as it is declared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Declaration:
    """One model's events."""

    model: type[models.Model]
    type: str
    """Prefix of the event types: ``shop.order`` becomes ``shop.order.created``."""
    key: str
    """Field whose value is the partition key; ``pk`` for the primary key."""
    fields: tuple[str, ...] | None
    """Names of the published fields; None: nothing was said, so all of them."""
    exclude: tuple[str, ...] = ()
    """Names of the fields that are not published, where all others are."""
    on: tuple[Change, ...] = CHANGES
    """The changes that are published."""
    when: Callable[[Any], bool] | None = None
    """Rows are published while it holds of them; None: always."""
    changed: bool = False
    """Whether ``updated`` says what was there before, and is left out where nothing changed."""
    stream: str = "default"
    """Alias of the stream."""

    def wants(self, change: Change) -> bool:
        """Tell whether such a change may have an event: of another kind, where `when` is given."""
        return change in self.on or (change == "updated" and self.when is not None)

    @property
    def label(self) -> str:
        """``app_label.Model``, for messages."""
        return self.model._meta.label

    @cached_property
    def payload_fields(self) -> dict[str, models.Field[Any, Any]]:
        """The payload's names and the fields behind them.

        Raises FieldDoesNotExist for a name the model does not have.
        """
        meta = self.model._meta
        if self.fields is None or self.fields == (ALL_FIELDS,):
            left_out = {self.field(name) for name in self.exclude}
            return {field.attname: field for field in meta.concrete_fields if field not in left_out}
        return {name: self.field(name) for name in self.fields if name not in self.relations}

    @cached_property
    def relations(self) -> dict[str, models.ManyToManyField[Any, Any]]:
        """The many-to-many fields that are published, by name; only those that are named."""
        there = {field.name: field for field in self.model._meta.many_to_many}
        return {name: there[name] for name in self.fields or () if name in there}

    @cached_property
    def key_field(self) -> models.Field[Any, Any]:
        """The field whose value is the partition key; raises FieldDoesNotExist."""
        return self.field(self.key)

    def field(self, name: str) -> models.Field[Any, Any]:
        """Return a concrete field by name, attname (``customer_id``) or ``pk``."""
        meta = self.model._meta
        if name == "pk":
            assert meta.pk is not None  # noqa: S101 - every concrete model has one  # nosec B101
            return meta.pk
        for field in meta.concrete_fields:
            if name in {field.name, field.attname}:
                return field
        raise FieldDoesNotExist(f"{meta.label} has no concrete field named {name!r}")


_declarations: dict[type[models.Model], list[Declaration]] = {}
_found: dict[type[models.Model], list[Declaration]] = {}
"""What declarations_of found: it is asked at every save."""


def publishes(
    type: str | None = None,  # noqa: A002 - the attribute's name in CloudEvents
    *,
    key: str = "pk",
    fields: Sequence[str] | str | None = None,
    exclude: Sequence[str] | None = None,
    on: Sequence[Change] = CHANGES,
    when: Callable[[Any], bool] | None = None,
    stream: str = "default",
    changed: bool = False,
) -> Callable[[builtins.type[M]], builtins.type[M]]:
    """Declare that every committed change of a model is published. Returns the model unchanged.

    `type` is the prefix of the event types (default: ``app_label.modelname``), `key` the field
    whose value keeps events in order, `fields` the names that go out (a check warns where they are
    left out, since then all do, also those added later: say ``"__all__"`` if that is meant),
    `exclude` the names that do not (all others do), `on` the changes, `stream` the alias. With
    `changed` an ``updated`` event's data has ``changed``, ``{name: [old, new]}``, and a write that
    changed nothing of what is published has no event. `when` is given an instance as the database
    has it: a row that comes to meet it is ``created``, one that no longer does is ``deleted``.

    For a model of another app call it in ``kinesis_events.py``: ``publishes(...)(User)``.

    Raises ``ImproperlyConfigured`` for an abstract, proxy or unmanaged-by-Django class, and for
    unknown changes. Unknown field names are found by ``manage.py check``.
    """
    _check_texts(type, key, stream)
    if isinstance(fields, str) and fields != ALL_FIELDS:
        raise ImproperlyConfigured(
            f'publishes(fields={fields!r}): give a list, ["{fields}"], or "{ALL_FIELDS}".'
        )
    names = None if fields is None else _names(fields)
    if fields is not None and names is None:
        raise ImproperlyConfigured(
            f'publishes(fields={fields!r}): give a list of field names, or "{ALL_FIELDS}".'
        )
    left_out = None if exclude is None else _names(exclude)
    if exclude is not None and (left_out is None or isinstance(exclude, str) or names is not None):
        raise ImproperlyConfigured(
            f"publishes(exclude={exclude!r}): give a list of field names, and no fields=."
        )
    if when is not None and not callable(when):
        raise ImproperlyConfigured(
            f"publishes(when={when!r}): give a function of an instance, such as"
            " lambda order: order.deleted_at is None."
        )
    changes = _names(on)
    if not changes or not set(changes) <= set(CHANGES):
        raise ImproperlyConfigured(
            f"publishes(on={on!r}): choose from {', '.join(map(repr, CHANGES))}."
        )

    def declare(model: builtins.type[M]) -> builtins.type[M]:
        if not _is_model(model):
            raise ImproperlyConfigured(f"publishes() declares a model, not {model!r}.")
        meta = model._meta
        if meta.abstract or meta.proxy or meta.swapped:
            kind = "abstract" if meta.abstract else "a proxy" if meta.proxy else "swapped out"
            raise ImproperlyConfigured(
                f"publishes() on {meta.label}: the model is {kind} and has no table of its own."
                " Declare the concrete model; changes through its proxies are published too."
            )
        declaration = Declaration(
            model=model,
            type=type or meta.label_lower,
            key=key,
            fields=(ALL_FIELDS,) if left_out is not None else names,
            exclude=left_out or (),
            on=cast("tuple[Change, ...]", changes),
            when=when,
            stream=stream,
            changed=changed,
        )
        if any(other.type == declaration.type for other in _declarations.get(model, ())):
            raise ImproperlyConfigured(
                f"publishes({declaration.type!r}) stands twice on {meta.label}: its events would go"
                " out twice. Remove one, or give it another type."
            )
        _declarations.setdefault(model, []).append(declaration)
        _found.clear()
        declared.send(Declaration, declaration=declaration)
        return model

    return declare


def _is_model(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, models.Model)


def _check_texts(type_: object, key: object, stream: object) -> None:
    if type_ is not None and (not isinstance(type_, str) or not type_):
        raise ImproperlyConfigured(
            f"publishes({type_!r}): the first argument is the events' type, a text such as"
            ' "shop.order". Write @publishes() where the model\'s own name will do.'
        )
    for argument, value in (("key", key), ("stream", stream)):
        if not isinstance(value, str) or not value:
            raise ImproperlyConfigured(f"publishes({argument}={value!r}): give one name, a text.")


def _names(given: object) -> tuple[str, ...] | None:
    """Return one name or several as a tuple; None for what is neither."""
    if isinstance(given, str):
        return (given,)
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    return names if all(isinstance(name, str) for name in names) else None


def declarations() -> Iterator[Declaration]:
    """Yield every declaration, in the order of declaring."""
    for of_model in _declarations.values():
        yield from of_model


def declarations_of(model: type[models.Model]) -> list[Declaration]:
    """Return the declarations whose table a change of `model` touches.

    Those of the model, of the concrete model behind a proxy, and of multi-table parents.
    """
    found = _found.get(model)
    if found is None:
        concrete = model._meta.concrete_model or model
        tables = [*reversed(concrete._meta.get_parent_list()), concrete]
        found = [declaration for table in tables for declaration in _declarations.get(table, ())]
        _found[model] = found
    return found


def forget(model: type[models.Model]) -> None:
    """Drop the declarations of `model`; for tests."""
    _declarations.pop(model, None)
    _found.clear()
