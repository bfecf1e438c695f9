"""``@publishes``: which models are published, as what. Holds the registry; captures nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from urllib.parse import quote

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import models
from django.dispatch import Signal

from .conf import get_config
from .declaring import arguments
from .declaring.arguments import ALL_FIELDS
from .declaring.shapes import is_shape, names_of, returned_by
from .declaring.sources import Computed, Expression, Path, own_field, resolve

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .declaring.sources import Source

M = TypeVar("M", bound=models.Model)
Change = Literal["created", "updated", "deleted"]
Kind = Literal["created", "updated", "deleted", "snapshot"]
"""What an event says of a row: a change, or how it is."""
Capture = Literal["signals", "triggers"]
CHANGES: tuple[Change, ...] = ("created", "updated", "deleted")
CHANGED = "changed"
"""Where the data says what changed."""

declared = Signal()
"""Sent with ``declaration``: capture connects a model as soon as it is declared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Declaration:
    """One model's events."""

    model: type[models.Model]
    type: str
    """What the event types begin with: see :attr:`prefix`."""
    key: str
    """Field whose value is the partition key; ``pk`` for the primary key."""
    fields: tuple[str, ...] | None
    """Names in the data; None: nothing was said, so all fields."""
    sources: Mapping[str, Any] | None = None
    """By some of these names: where their values come from; else a name is its own."""
    exclude: tuple[str, ...] = ()
    """Names of the fields that are not published, where all others are."""
    on: tuple[Change, ...] = CHANGES
    """The changes that are published."""
    when: Callable[[Any], bool] | models.Q | None = None
    """Rows are published while it holds of them; None: always."""
    payload: Callable[[Any], Any] | None = None
    """Makes the data of an instance; None: the fields do."""
    select: tuple[str, ...] = ()
    """To-one relations that are loaded with an instance, for the functions that are given one."""
    shape: builtins.type | None = None
    """The dataclass or TypedDict that was given: see :attr:`schema`."""
    version: int | None = None
    """Of the data's form; a part of the events' types."""
    changed: bool = False
    """Whether ``updated`` says what was there before, and is left out where nothing changed."""
    coalesce: bool = False
    """Whether several updates of a row in one transaction become one event."""
    stream: str = "default"
    """Alias of the stream."""
    capture: Capture = "signals"
    """How changes are seen: by what Django writes, or by triggers of PostgreSQL."""
    proxy: builtins.type[models.Model] | None = None
    """The proxy it stands on, whose app has the triggers' migrations; None: it is the model."""

    def wants(self, change: Change) -> bool:
        """Tell whether such a change may have an event: of another kind, where `when` is given."""
        return change in self.on or (change == "updated" and self.when is not None)

    @cached_property
    def prefix(self) -> str:
        """What stands before the change in the events' types: ``shop.order``, ``shop.order.v2``."""
        return self.type if self.version is None else f"{self.type}.v{self.version}"

    def event_type(self, change: Kind) -> str:
        """Return the type of an event: ``shop.order.created``, ``shop.order.v2.created``."""
        return f"{self.prefix}.{change}"

    @property
    def dataschema(self) -> str | None:
        """What events say of their data's schema: a URI of the settings' base; None: nothing."""
        return None if self.version is None else get_config().schemas + self._quoted

    @cached_property
    def _quoted(self) -> str:
        return quote(self.prefix, safe="/:@!$&'()*+,;=")

    @cached_property
    def schema(self) -> builtins.type | None:
        """What the data must fit: the schema that was given, or what `payload` says to return."""
        if self.shape is not None or self.payload is None:
            return self.shape
        returned = returned_by(self.payload)
        return returned if is_shape(returned) else None

    @property
    def label(self) -> str:
        """``app_label.Model``, for messages."""
        return self.model._meta.label

    @cached_property
    def payload_fields(self) -> dict[str, models.Field[Any, Any]]:
        """The payload's names and the model's own fields behind them.

        Raises FieldDoesNotExist for a name that leads to nothing.
        """
        if self.payload is not None:
            return {}
        if self.fields is None or self.fields == (ALL_FIELDS,):
            left_out = {self.field(name) for name in self.exclude}
            fields = self.model._meta.concrete_fields
            return {field.attname: field for field in fields if field not in left_out}
        return {
            name: found
            for name, found in self._found.items()
            if not isinstance(found, Path | Expression | Computed)
        }

    @cached_property
    def derived(self) -> dict[str, Source]:
        """The payload's names that no own field is behind; raises as :attr:`payload_fields`."""
        return {
            name: found
            for name, found in self._found.items()
            if isinstance(found, Path | Expression | Computed)
        }

    @cached_property
    def is_derived(self) -> bool:
        """Whether the data has what only the database or a function knows."""
        return self.payload is not None or bool(self.derived)

    @cached_property
    def relations(self) -> dict[str, models.ManyToManyField[Any, Any]]:
        """The many-to-many fields that are published, by name; only those that are named."""
        there = {field.name: field for field in self.model._meta.many_to_many}
        return {
            name: there[given]
            for name, given in self.named().items()
            if isinstance(given, str) and given in there
        }

    def named(self) -> dict[str, Any]:
        """Return where the values come from that are named: as it was given, by names."""
        if self.fields is None or self.fields == (ALL_FIELDS,):
            return {}
        given = self.sources or {}
        return {name: given.get(name, name) for name in self.fields}

    @cached_property
    def _found(self) -> dict[str, models.Field[Any, Any] | Source]:
        return {
            name: resolve(self.model, given)
            for name, given in self.named().items()
            if name not in self.relations
        }

    @cached_property
    def key_field(self) -> models.Field[Any, Any]:
        """The field whose value is the partition key; raises FieldDoesNotExist."""
        return self.field(self.key)

    def field(self, name: str) -> models.Field[Any, Any]:
        """Return a concrete field by name, attname (``customer_id``) or ``pk``."""
        found = own_field(self.model, name)
        if found is None:
            raise FieldDoesNotExist(f"{self.label} has no concrete field named {name!r}")
        return found


_declarations: dict[type[models.Model], list[Declaration]] = {}
_found: dict[type[models.Model], list[Declaration]] = {}
"""What signalled() found: it is asked at every save."""


def publishes(
    type: str | None = None,  # noqa: A002 - the attribute's name in CloudEvents
    *,
    key: str = "pk",
    fields: Sequence[str] | Mapping[str, Any] | str | None = None,
    exclude: Sequence[str] | None = None,
    payload: Callable[[Any], Any] | None = None,
    select: Sequence[str] | None = None,
    schema: builtins.type | None = None,
    version: int | None = None,
    on: Sequence[Change] = CHANGES,
    when: Callable[[Any], bool] | models.Q | None = None,
    stream: str = "default",
    capture: Capture = "signals",
    changed: bool = False,
    coalesce: bool = False,
) -> Callable[[builtins.type[M]], builtins.type[M]]:
    """Declare that every committed change of a model is published. Returns the model unchanged.

    `type` is the prefix of the event types (default: ``app_label.modelname``), `key` the field
    whose value keeps events in order, `fields` the names that go out (a check warns where they are
    left out, since then all do, also those added later: say ``"__all__"`` if that is meant),
    `exclude` the names that do not (all others do), `on` the changes, `stream` the alias. With
    `changed` an ``updated`` event's data has ``changed``, ``{name: [old, new]}``, and a write that
    changed nothing of what is published has no event. With `coalesce` several updates of a row in
    one transaction become one ``updated`` event, from the first old to the last new values, where
    the last of them stood. `when`, a Q or a function that is given an instance as the database has
    it: a row that comes to meet it is ``created``, one that no longer does is ``deleted``.

    A name in `fields` may be a path (``customer.email``), a property or a method without arguments;
    a dictionary says where each value comes from: from these, a Django expression or a function
    of an instance. `payload` makes the whole of the data instead, `select` names the to-one
    relations that such functions need. The data must fit `schema`, a dataclass or TypedDict, whose
    names are the fields where nothing else is said. `version` is a part of the events' types.

    With `capture` ``"triggers"`` PostgreSQL itself writes the events, whoever writes the table:
    ``makemigrations`` makes the triggers. What only Python can compute cannot be published then.

    For a model of another app call it in ``kinesis_events.py``: ``publishes(...)(User)``; for
    triggers on its table decorate a proxy of yours, whose app then has their migrations.

    Raises ``ImproperlyConfigured`` for an abstract, proxy or unmanaged-by-Django class, and for
    arguments that are wrong in themselves. Unknown names are found by ``manage.py check``.
    """
    arguments.check_texts(type, key, stream)
    arguments.check_payload(payload, fields, exclude)
    arguments.check_schema(schema)
    arguments.check_version(version)
    arguments.check_when(when)
    arguments.check_capture(capture)
    sources = arguments.sources(fields)
    left_out = None if exclude is None else arguments.names(exclude)
    if exclude is not None and (left_out is None or isinstance(exclude, str) or fields is not None):
        raise ImproperlyConfigured(
            f"publishes(exclude={exclude!r}): give a list of field names, and no fields=."
        )
    names: tuple[str, ...] | None = None
    if fields == ALL_FIELDS or left_out is not None:
        names = (ALL_FIELDS,)
    elif sources is not None:
        names = tuple(sources)
    elif schema is not None and payload is None:
        names = names_of(schema)
    selected = arguments.selected(select)
    changes = arguments.names(on)
    if not changes or not set(changes) <= set(CHANGES):
        raise ImproperlyConfigured(
            f"publishes(on={on!r}): choose from {', '.join(map(repr, CHANGES))}."
        )

    def declare(model: builtins.type[M]) -> builtins.type[M]:
        if not _is_model(model):
            raise ImproperlyConfigured(f"publishes() declares a model, not {model!r}.")
        table = _table_of(model, capture)
        meta = table._meta
        if meta.abstract or meta.proxy or meta.swapped:
            kind = "abstract" if meta.abstract else "a proxy" if meta.proxy else "swapped out"
            raise ImproperlyConfigured(
                f"publishes() on {meta.label}: the model is {kind} and has no table of its own."
                " Declare the concrete model; changes through its proxies are published too."
            )
        declaration = Declaration(
            model=table,
            proxy=None if table is model else model,
            type=type or meta.label_lower,
            key=key,
            fields=names,
            sources=sources,
            exclude=left_out or (),
            payload=payload,
            select=selected,
            shape=schema,
            version=version,
            on=cast("tuple[Change, ...]", changes),
            when=when,
            stream=stream,
            capture=capture,
            changed=changed,
            coalesce=coalesce,
        )
        if any(other.prefix == declaration.prefix for other in _declarations.get(table, ())):
            raise ImproperlyConfigured(
                f"publishes({declaration.prefix!r}) stands twice on {meta.label}: its events would"
                " go out twice. Remove one, or give it another type or version."
            )
        _declarations.setdefault(table, []).append(declaration)
        _found.clear()
        declared.send(Declaration, declaration=declaration)
        return model

    return declare


def _table_of(model: type[models.Model], capture: Capture) -> type[models.Model]:
    """Return the model that is declared: that behind a proxy, where triggers are."""
    concrete = model._meta.concrete_model
    is_proxy = model._meta.proxy and capture == "triggers"
    return concrete if is_proxy and concrete is not None else model


def _is_model(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, models.Model)


def declarations() -> Iterator[Declaration]:
    """Yield every declaration, in the order of declaring."""
    for of_model in _declarations.values():
        yield from of_model


def declarations_of(model: type[models.Model]) -> list[Declaration]:
    """Return the declarations whose table a change of `model` touches.

    Those of the model, of the concrete model behind a proxy, and of multi-table parents.
    """
    concrete = model._meta.concrete_model or model
    tables = [*reversed(concrete._meta.get_parent_list()), concrete]
    return [declaration for table in tables for declaration in _declarations.get(table, ())]


def signalled(model: type[models.Model]) -> list[Declaration]:
    """Return those of :func:`declarations_of` whose changes Django's signals and methods tell."""
    found = _found.get(model)
    if found is None:
        found = [one for one in declarations_of(model) if one.capture == "signals"]
        _found[model] = found
    return found


def forget(model: type[models.Model]) -> None:
    """Drop the declarations of `model`; for tests."""
    _declarations.pop(model, None)
    _found.clear()
