"""System checks: every wrong setting and declaration at once, each with a stable id.

===========  ==================================================================================
E001-E020    a setting: :mod:`kinesis_bridge.conf.rules`
E021         OPTIONS["SERIALIZER"] names no serializer
E022         a role's PRINCIPAL is no ARN of a role or user
E030         ``publishes(fields=...)`` or ``exclude=`` names a field the model does not have
E031         ``publishes(key=...)`` names a field the model does not have
E032         ``publishes(stream=...)`` names a stream the settings do not have
E033         ``publishes(changed=True)`` of a model that publishes a field named ``changed``
E050-E053    (deploy) :mod:`kinesis_bridge.deploy_checks`
E060, E061   a KinesisHandler's stream: :mod:`kinesis_bridge.logs`
W001         ``publishes()`` without ``fields=`` publishes every column, also later ones
W050-W054    (deploy) :mod:`kinesis_bridge.deploy_checks`
===========  ==================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import FieldDoesNotExist
from django.utils.module_loading import import_string

from . import deploy_checks, serializers  # noqa: F401 - the first registers itself
from .conf import SETTING, find_problems, get_config
from .declarations import ALL_FIELDS, CHANGED, declarations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .declarations import Declaration


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """Return one error for each wrong setting, then what each delivery has to say."""
    problems = find_problems()
    if problems:
        return [
            Error(
                f"{problem.key} {problem.reason}.",
                hint=f"Example: {problem.example}",
                id=problem.id,
            )
            for problem in problems
        ]
    messages: list[CheckMessage] = []
    for stream in get_config().streams.values():
        if reason := _serializer_problem(stream.options["SERIALIZER"]):
            messages.append(
                Error(
                    f'{SETTING}["STREAMS"]["{stream.alias}"]["OPTIONS"]["SERIALIZER"] {reason}.',
                    hint='Example: "cloudevents"',
                    id="kinesis_bridge.E021",
                )
            )
        messages += import_string(stream.delivery_class).check(stream)
    return messages


def _serializer_problem(name: str) -> str | None:
    try:
        found: object = serializers.get(name)
    except Exception as error:  # noqa: BLE001 - a dotted path runs code of anyone
        return f"names no serializer: {name!r} ({str(error.__cause__ or error).rstrip('.')})"
    return None if callable(found) else f"names no callable: {name!r}"


@register()
def check_declarations(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with each ``@publishes``."""
    known = None if find_problems() else get_config().streams
    return [message for declaration in declarations() for message in _check(declaration, known)]


def _is_relation(declaration: Declaration, name: str) -> bool:
    return any(name == field.name for field in declaration.model._meta.many_to_many)


def _published(declaration: Declaration) -> set[str]:
    try:
        return set(declaration.payload_fields)
    except FieldDoesNotExist:  # said by E030
        return set()


def _check(declaration: Declaration, streams: Any) -> Iterator[CheckMessage]:
    where = f"publishes({declaration.type!r}) on {declaration.label}"
    names = ", ".join(field.attname for field in declaration.model._meta.concrete_fields)
    fields = () if declaration.fields == (ALL_FIELDS,) else declaration.fields or ()
    for name, argument, number in (
        *((field, "fields", "E030") for field in fields if not _is_relation(declaration, field)),
        *((field, "exclude", "E030") for field in declaration.exclude),
        (declaration.key, "key", "E031"),
    ):
        try:
            declaration.field(name)
        except FieldDoesNotExist as error:
            yield Error(
                f"{where}: {argument}= is wrong: {error}.",
                hint=f"The model has: {names}.",
                obj=declaration.model,
                id=f"kinesis_bridge.{number}",
            )
    if streams is not None and declaration.stream not in streams:
        yield Error(
            f"{where}: stream={declaration.stream!r} is not in the settings.",
            hint=f'{SETTING}["STREAMS"] has: {", ".join(streams)}.',
            obj=declaration.model,
            id="kinesis_bridge.E032",
        )
    if declaration.changed and CHANGED in _published(declaration):
        yield Error(
            f"{where}: changed=True, and a published field is named {CHANGED!r}: the data would"
            " have it twice.",
            hint="Leave the field out (exclude=), or publish without changed=.",
            obj=declaration.model,
            id="kinesis_bridge.E033",
        )
    if declaration.fields is None:
        yield CheckWarning(
            f"{where}: no fields= are given, so every column leaves for the stream's account.",
            hint='Name them, or write fields="__all__" if that is meant.',
            obj=declaration.model,
            id="kinesis_bridge.W001",
        )
