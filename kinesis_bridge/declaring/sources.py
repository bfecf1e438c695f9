"""Where a published value comes from: a field, a path through relations, an expression, a function.

Resolved as late as they are needed: what they lead to may be loaded after the declared model.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models
from django.utils import functional

from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Callable

    _Field = models.Field[Any, Any]

KNOWN = _("The model has: {names}.")
_ANNOTATION = "kinesis_bridge_value"


@dataclass(frozen=True)
class Path:
    """The value of a related row, by foreign keys and one-to-one fields; None where one is null."""

    fields: tuple[_Field, ...]
    """Each step's field from the declared model on; the last is the value's."""

    @property
    def lookup(self) -> str:
        """The path as Django's queries write it."""
        *steps, last = self.fields
        return "__".join([*(step.name for step in steps), last.attname])

    @property
    def is_null(self) -> bool:
        """Whether any step of it may be null."""
        return any(field.null for field in self.fields)


@dataclass(frozen=True)
class Expression:
    """What the database computes of a row."""

    expression: Any
    """As it was given: ``F("net") + F("tax")``."""
    output_field: _Field


@dataclass(frozen=True)
class Computed:
    """What a function makes of an instance, or a property or method of the model."""

    function: Callable[[Any], Any]


Source = Path | Expression | Computed


class WrongSource(FieldDoesNotExist):
    """What was declared leads to no value. ``number`` is that of the system check."""

    def __init__(self, message: str, number: str, hint: str) -> None:
        super().__init__(message)
        self.number = number
        self.hint = hint


def resolve(model: type[models.Model], given: object) -> _Field | Source:
    """Return the own concrete field, or the source, that `given` means; raises WrongSource."""
    if hasattr(given, "resolve_expression"):
        return Expression(given, output_field_of(model, given))
    if not isinstance(given, str):
        assert callable(given)  # noqa: S101 - publishes() refused anything else  # nosec B101
        return Computed(given)
    field = own_field(model, given)
    if field is not None:
        return field
    if "." in given:
        return _path(model, given)
    function = _attribute(model, given)
    if function is None:
        raise WrongSource(
            Text(
                _("{label} has no concrete field named {name}"),
                label=model._meta.label,
                name=repr(given),
            ),
            "E030",
            known(model),
        )
    return Computed(function)


def known(model: type[models.Model]) -> Text:
    """Return the hint that names a model's fields."""
    return Text(KNOWN, names=", ".join(field.attname for field in model._meta.concrete_fields))


def own_field(model: type[models.Model], name: str) -> _Field | None:
    """Return a concrete field by name, attname (``customer_id``) or ``pk``; None: there is none."""
    meta = model._meta
    if name == "pk":
        return meta.pk
    for field in meta.concrete_fields:
        if name in {field.name, field.attname}:
            return field
    return None


def _path(model: type[models.Model], given: str) -> Path:
    *steps, last = given.split(".")
    fields: list[_Field] = []
    for step in steps:
        field = own_field(model, step)
        if field is None or not field.related_model:
            raise _no_step(model, given, step)
        fields.append(field)
        model = field.related_model
    value = own_field(model, last)
    if value is None:
        raise _no_step(model, given, last)
    return Path((*fields, value))


def _no_step(model: type[models.Model], path: str, step: str) -> WrongSource:
    names = {"where": f"{path!r}: {step!r}", "label": model._meta.label}
    relations = {_accessor(field): field for field in model._meta.get_fields()}
    found = relations.get(step)
    if found is not None and (found.many_to_many or found.one_to_many):
        return WrongSource(
            Text(
                _("{where} is related to many rows of {label}, and a path leads to one value"),
                **names,
            ),
            "E035",
            Text(
                _(
                    "Give an expression that makes one of them, as Count or Max, or a function:"
                    " {example}."
                ),
                example='fields={"name": ...}',
            ),
        )
    if found is not None and not found.concrete:
        return WrongSource(
            Text(
                _(
                    "{where} leads backwards from {label}, and a path goes by its own foreign keys"
                    " and one-to-one fields"
                ),
                **names,
            ),
            "E034",
            Text(_("Give an expression: {example}."), example='fields={"name": F("a__b")}'),
        )
    if own_field(model, step) is not None:
        return WrongSource(
            Text(_("{where} of {label} is no relation, so that nothing lies behind it"), **names),
            "E034",
            Text(
                _("For a part of a value give an expression, as KT or KeyTransform, or a function.")
            ),
        )
    said = Text(_("{where} is no concrete field of {label}"), **names)
    return WrongSource(said, "E034", known(model))


def _accessor(field: Any) -> str:
    accessor = getattr(field, "get_accessor_name", None)
    return str((accessor and accessor()) or field.name)


def _attribute(model: type[models.Model], name: str) -> Callable[[Any], Any] | None:
    """Return what computes a property, or a method without arguments; None: it is neither."""
    found = inspect.getattr_static(model, name, None)
    if hasattr(models.Model, name) or getattr(found, "alters_data", False):
        return None  # save() and delete() are no values
    if isinstance(found, property):
        return found.fget
    if isinstance(found, functools.cached_property | functional.cached_property):
        return found.func
    method = getattr(model, name, None)
    is_method = inspect.isfunction(found) or isinstance(found, functools.partialmethod)
    if not is_method or not callable(method) or inspect.iscoroutinefunction(method):
        return None
    return method if _takes_an_instance(found, method) else None


def _takes_an_instance(found: object, method: Callable[..., Any]) -> bool:
    if isinstance(found, functools.partialmethod):  # get_status_display(), as Django makes it
        return found.func.__name__ == "_get_FIELD_display"
    return len(inspect.signature(method).parameters) == 1


def output_field_of(model: type[models.Model], expression: Any) -> _Field:
    """Return the field of what `expression` computes of a row of `model`; raises WrongSource."""
    hint = Text(_("It must be one that QuerySet.annotate() takes, with a type (output_field=)."))
    try:
        query = models.QuerySet(model).annotate(**{_ANNOTATION: expression}).query
        resolved: Any = query.annotations[_ANNOTATION]
        field: _Field = resolved.output_field
    except (FieldError, TypeError, ValueError, AttributeError) as error:
        said = Text(
            _("{expression} does not resolve: {error}"),
            expression=repr(expression),
            error=str(error),
        )
        raise WrongSource(said, "E037", hint) from error
    joined = [getattr(join, "join_field", None) for join in query.alias_map.values()]
    if not resolved.contains_aggregate and any(
        join.one_to_many or join.many_to_many for join in joined if join is not None
    ):
        raise WrongSource(
            Text(
                _("{expression} has a value for each of many related rows"),
                expression=repr(expression),
            ),
            "E037",
            Text(_("Make one of them, as Count or Max.")),
        )
    return field
