"""System checks: every wrong setting and declaration at once, each with a stable id.

===========  ==================================================================================
E001-E020    a setting: :mod:`kinesis_bridge.conf.rules`
E021         OPTIONS["SERIALIZER"] names no serializer
E030         ``publishes(fields=...)`` names a field the model does not have
E031         ``publishes(key=...)`` names a field the model does not have
E032         ``publishes(stream=...)`` names a stream the settings do not have
E050         (deploy) LOCAL_AWS is on
W001         ``publishes()`` without ``fields=`` publishes every column, also later ones
===========  ==================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.utils.module_loading import import_string

from . import serializers
from .conf import SETTING, find_problems, get_config
from .declarations import declarations

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
        try:
            serializers.get(stream.options["SERIALIZER"])
        except ImproperlyConfigured as error:
            messages.append(
                Error(f'{SETTING}["STREAMS"]["{stream.alias}"]: {error}', id="kinesis_bridge.E021")
            )
        messages += import_string(stream.delivery_class).check(stream)
    return messages


@register()
def check_declarations(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with each ``@publishes``."""
    known = None if find_problems() else get_config().streams
    return [message for declaration in declarations() for message in _check(declaration, known)]


def _check(declaration: Declaration, streams: Any) -> Iterator[CheckMessage]:
    where = f"publishes({declaration.type!r}) on {declaration.label}"
    names = ", ".join(field.attname for field in declaration.model._meta.concrete_fields)
    for attribute, argument, number in (
        ("payload_fields", "fields", "E030"),
        ("key_field", "key", "E031"),
    ):
        try:
            getattr(declaration, attribute)
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
    if declaration.fields is None:
        yield Warning(
            f"{where}: no fields= are given, so every column leaves for the stream's account.",
            hint='Name them, or write fields="__all__" if that is meant.',
            obj=declaration.model,
            id="kinesis_bridge.W001",
        )


@register(Tags.security, deploy=True)
def check_deploy(**_: Any) -> list[CheckMessage]:
    """Refuse to deploy with the emulator on."""
    if find_problems() or not get_config().local_aws:
        return []
    return [
        Error(
            f'{SETTING}["LOCAL_AWS"] is on: nothing would reach AWS.',
            hint="Set it to False (KINESIS_LOCAL_AWS) on a real site.",
            id="kinesis_bridge.E050",
        )
    ]
