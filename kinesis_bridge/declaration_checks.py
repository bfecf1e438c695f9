"""What is wrong with where a declaration's values come from; :mod:`.checks` lists the ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import models

from .check_messages import Error
from .check_messages import Warning as CheckWarning
from .declaring.shapes import json_schema, names_of, required_of
from .declaring.sources import Computed, WrongSource, resolve
from .words import Text, text_of
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

    from .declarations import Declaration


WRONG = _("{where}: {argument}= is wrong: {error}.")


def where_is(name: str, declaration: Declaration) -> Text:
    """Return what messages call a declaration."""
    return Text(_("publishes({name}) on {label}"), name=repr(name), label=declaration.label)


def problems(declaration: Declaration, where: Text) -> Iterator[CheckMessage]:
    """Yield them; `where` names declaration and model."""
    wrong = list(_sources(declaration))
    yield from (
        Error(
            Text(WRONG, where=where, argument=argument, error=text_of(error)),
            hint=error.hint,
            obj=declaration.model,
            id=f"kinesis_bridge.{error.number}",
        )
        for argument, error in wrong
    )
    yield from _selected(declaration, where)
    yield from _shape(declaration, where, knows_names=not wrong)
    yield from _key(declaration, where)


def _sources(declaration: Declaration) -> Iterator[tuple[str, WrongSource]]:
    argument = "fields" if declaration.sources is not None else "schema"
    for name, given in declaration.named().items():
        if name in declaration.relations:
            continue
        try:
            resolve(declaration.model, given)
        except WrongSource as error:
            if argument == "schema":
                error.number = "E038"
            yield argument, error
    if isinstance(declaration.when, models.Q):
        try:
            models.QuerySet(declaration.model).filter(declaration.when)
        except (FieldError, TypeError, ValueError) as error:
            said = str(error).rstrip(".")
            hint = Text(_("It must be one that filter() takes."))
            yield "when", WrongSource(said, "E037", hint)


def _selected(declaration: Declaration, where: Text) -> Iterator[CheckMessage]:
    for name in declaration.select:
        if not _is_to_one(declaration.model, name):
            yield Error(
                Text(
                    _("{where}: select={name} is no foreign key or one-to-one field of {label}."),
                    where=where,
                    name=repr(name),
                    label=declaration.label,
                ),
                hint=Text(
                    _(
                        "There are: {names}. For many related rows a function has to ask the"
                        " database itself."
                    ),
                    names=_to_one(declaration.model),
                ),
                obj=declaration.model,
                id="kinesis_bridge.E036",
            )
    if declaration.select and not _has_functions(declaration):
        yield Error(
            Text(
                _("{where}: select= loads relations for functions, and there is none."),
                where=where,
            ),
            hint=Text(_("Leave it out: paths and expressions need none.")),
            obj=declaration.model,
            id="kinesis_bridge.E036",
        )


def _has_functions(declaration: Declaration) -> bool:
    if declaration.payload is not None or callable(declaration.when):
        return True
    try:
        return any(isinstance(one, Computed) for one in declaration.derived.values())
    except FieldDoesNotExist:  # said before
        return True


def _is_to_one(model: type[models.Model], path: str) -> bool:
    for step in path.replace("__", ".").split("."):
        related = _relations(model).get(step)
        if related is None:
            return False
        model = related
    return True


def _relations(model: type[models.Model]) -> dict[str, Any]:
    return {
        field.name: field.related_model
        for field in model._meta.get_fields()
        if (field.many_to_one or field.one_to_one) and isinstance(field.related_model, type)
    }


def _to_one(model: type[models.Model]) -> str:
    return ", ".join(_relations(model)) or Text(_("none"))


def _shape(declaration: Declaration, where: Text, *, knows_names: bool) -> Iterator[CheckMessage]:
    shape = declaration.schema
    if shape is None:
        return
    missing: list[str] = []
    try:
        json_schema(shape)
        required = required_of(shape)
    except (TypeError, NameError) as error:
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        yield Error(
            Text(
                _("{where}: schema={schema} cannot be checked: {reason}."),
                where=where,
                schema=shape.__name__,
                reason=reason,
            ),
            hint=Text(
                _("Write types that msgspec knows, with names that the module of the class has.")
            ),
            obj=declaration.model,
            id="kinesis_bridge.E039",
        )
        return
    if declaration.payload is None and knows_names:
        try:
            there = {*declaration.payload_fields, *declaration.relations, *declaration.derived}
        except FieldDoesNotExist:  # of exclude=, said before
            return
        missing = [name for name in names_of(shape) if name in required and name not in there]
    if missing:
        yield Error(
            Text(
                _("{where}: schema={schema} requires {names}, which fields= does not publish."),
                where=where,
                schema=shape.__name__,
                names=", ".join(missing),
            ),
            hint=Text(_("Publish it, or give it a default (NotRequired in a TypedDict).")),
            obj=declaration.model,
            id="kinesis_bridge.E038",
        )


def _key(declaration: Declaration, where: Text) -> Iterator[CheckMessage]:
    try:
        key = declaration.key_field
    except FieldDoesNotExist:  # said before
        return
    if key.null:
        yield CheckWarning(
            Text(
                _(
                    "{where}: key={key} may be null, and an event without a key is refused: a row"
                    " of which it is null cannot be saved."
                ),
                where=where,
                key=repr(declaration.key),
            ),
            hint=Text(
                _(
                    "Choose a field that always has a value (the primary key has), or make this"
                    " one null=False."
                )
            ),
            obj=declaration.model,
            id="kinesis_bridge.W002",
        )
