"""System checks: every wrong setting and declaration at once, each with a stable id.

===========  ==================================================================================
E001-E020    a setting: :mod:`kinesis_bridge.conf.rules`
E021         OPTIONS["SERIALIZER"] names no serializer
E022         a role's PRINCIPAL is no ARN of a role or user
E023         SCHEMAS is no absolute URI that ends in "/"
E024         STRICT is neither True nor False
E030         ``publishes(fields=...)`` or ``exclude=`` names a field the model does not have
E031         ``publishes(key=...)`` names a field the model does not have
E032         ``publishes(stream=...)`` names a stream the settings do not have
E033         ``publishes(changed=True)`` of a model that publishes a field named ``changed``
E034         a path in ``fields=`` has a step that is not there, or is no relation
E035         a path in ``fields=`` goes through a relation to many rows
E036         ``publishes(select=...)`` names no to-one relation, or is of no use
E037         an expression in ``fields=``, or ``when=Q(...)``, does not resolve
E038         ``publishes(schema=...)`` has names that the model or ``fields=`` has not
E039         ``publishes(schema=...)`` has types that msgspec does not know
E042         ``publishes(coalesce=True)`` on a stream whose delivery cannot do that
E043         ``publishes(coalesce=True)`` on a database without autocommit
E050-E053    (deploy) :mod:`kinesis_bridge.deploy_checks`
E060         LOGGING: a KinesisHandler's stream is not in the settings
E061         LOGGING: the delivery of a KinesisHandler's stream could make a logger wait
E070-E072    :mod:`kinesis_bridge.trigger_checks`
W001         ``publishes()`` without ``fields=`` publishes every column, also later ones
W002         ``publishes(key=...)`` names a field that may be null
W050-W054    (deploy) :mod:`kinesis_bridge.deploy_checks`
W070, W071   :mod:`kinesis_bridge.trigger_checks`
===========  ==================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, register
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, router
from django.utils.module_loading import import_string

from . import deploy_checks, serializers  # noqa: F401 - the first registers itself
from .check_messages import Error
from .check_messages import Warning as CheckWarning
from .conf import SETTING, find_problems, get_config
from .declaration_checks import WRONG, problems, where_is
from .declarations import CHANGED, declarations
from .declaring.sources import KNOWN
from .words import Text, text_of
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .declarations import Declaration


PROBLEM = _("{key} {reason}.")
EXAMPLE = _("Example: {example}")


@register()
def check_settings(**_given: Any) -> list[CheckMessage]:
    """Return one error for each wrong setting, then what each delivery has to say."""
    problems = find_problems()
    if problems:
        return [
            Error(
                Text(PROBLEM, key=problem.key, reason=problem.reason),
                hint=Text(EXAMPLE, example=problem.example),
                id=problem.id,
            )
            for problem in problems
        ]
    messages: list[CheckMessage] = []
    for stream in get_config().streams.values():
        if reason := _serializer_problem(stream.options["SERIALIZER"]):
            messages.append(
                Error(
                    Text(
                        PROBLEM,
                        key=f'{SETTING}["STREAMS"]["{stream.alias}"]["OPTIONS"]["SERIALIZER"]',
                        reason=reason,
                    ),
                    hint=Text(EXAMPLE, example='"cloudevents"'),
                    id="kinesis_bridge.E021",
                )
            )
        messages += import_string(stream.delivery_class).check(stream)
    return messages


def _serializer_problem(name: str) -> Text | None:
    try:
        found: object = serializers.get(name)
    except Exception as error:  # noqa: BLE001 - a dotted path runs code of anyone
        why = str(error.__cause__ or error).rstrip(".")
        return Text(_("names no serializer: {name} ({error})"), name=repr(name), error=why)
    return None if callable(found) else Text(_("names no callable: {name}"), name=repr(name))


@register()
def check_declarations(**_given: Any) -> list[CheckMessage]:
    """Return what is wrong with each ``@publishes``."""
    known = None if find_problems() else get_config().streams
    return [message for declaration in declarations() for message in _check(declaration, known)]


def _published(declaration: Declaration) -> set[str]:
    try:
        return {*declaration.payload_fields, *declaration.relations, *declaration.derived}
    except FieldDoesNotExist:  # said by E030 and those after it
        return set()


def _check(declaration: Declaration, streams: Any) -> Iterator[CheckMessage]:
    where = where_is(declaration.prefix, declaration)
    names = ", ".join(field.attname for field in declaration.model._meta.concrete_fields)
    yield from problems(declaration, where)
    for name, argument, number in (
        *((field, "exclude", "E030") for field in declaration.exclude),
        (declaration.key, "key", "E031"),
    ):
        try:
            declaration.field(name)
        except FieldDoesNotExist as error:
            yield Error(
                Text(WRONG, where=where, argument=argument, error=text_of(error)),
                hint=Text(KNOWN, names=names),
                obj=declaration.model,
                id=f"kinesis_bridge.{number}",
            )
    if streams is not None and declaration.stream not in streams:
        yield Error(
            Text(
                _("{where}: stream={stream} is not in the settings."),
                where=where,
                stream=repr(declaration.stream),
            ),
            hint=Text(
                _("{key} has: {names}."), key=f'{SETTING}["STREAMS"]', names=", ".join(streams)
            ),
            obj=declaration.model,
            id="kinesis_bridge.E032",
        )
    if declaration.changed and CHANGED in _published(declaration):
        yield Error(
            Text(
                _(
                    "{where}: changed=True, and a published field is named {name}: the data would"
                    " have it twice."
                ),
                where=where,
                name=repr(CHANGED),
            ),
            hint=Text(_("Leave the field out (exclude=), or publish without changed=.")),
            obj=declaration.model,
            id="kinesis_bridge.E033",
        )
    if declaration.coalesce:
        yield from _check_coalescing(declaration, where, streams)
    if declaration.fields is None and declaration.payload is None:
        yield CheckWarning(
            Text(
                _(
                    "{where}: no fields= are given, so every column leaves for the stream's"
                    " account."
                ),
                where=where,
            ),
            hint=Text(_('Name them, or write fields="__all__" if that is meant.')),
            obj=declaration.model,
            id="kinesis_bridge.W001",
        )


def _check_coalescing(
    declaration: Declaration, where: Text, streams: Any
) -> Iterator[CheckMessage]:
    stream = (streams or {}).get(declaration.stream)
    delivery: Any = stream and import_string(stream.delivery_class)
    if stream and delivery.transactional and not delivery.coalesces:
        yield Error(
            Text(
                _(
                    "{where}: coalesce=True, and the delivery of stream {stream}, {delivery},"
                    " writes each event at once: each update would be sent."
                ),
                where=where,
                stream=repr(declaration.stream),
                delivery=stream.delivery,
            ),
            hint=Text(
                _(
                    "Leave coalesce= out, publish to another stream, or let the delivery's"
                    " deliver_rows() wait for the commit and set its flag coalesces."
                )
            ),
            obj=declaration.model,
            id="kinesis_bridge.E042",
        )
    database = router.db_for_write(declaration.model)
    if not connections[database].settings_dict.get("AUTOCOMMIT", True):
        yield Error(
            Text(
                _(
                    "{where}: coalesce=True, and database {database} has no autocommit: nobody can"
                    " tell when its transactions end, so each update is sent."
                ),
                where=where,
                database=repr(database),
            ),
            hint=Text(
                _("Leave coalesce= out, or AUTOCOMMIT out of {key}."),
                key=f'DATABASES["{database}"]',
            ),
            obj=declaration.model,
            id="kinesis_bridge.E043",
        )
