"""JSON Schema (draft-07, AsyncAPI's own) of each event that the declarations can publish.

Open for what comes later: a reader must bear new fields in ``data`` and new extension attributes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models, router
from django.utils.module_loading import import_string

from kinesis_bridge import serializers
from kinesis_bridge.conf import get_config
from kinesis_bridge.context import MAX_TRACESTATE
from kinesis_bridge.declarations import CHANGED, declarations
from kinesis_bridge.delivery.outbox import OutboxDelivery
from kinesis_bridge.event import MAX_KEY_CHARACTERS

from .derived import shape_schema, source_schema
from .fields import DATE_TIME, UUID_PATTERN, field_schema
from .versions import with_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.declarations import Declaration, Kind

    from .fields import Schema

DIALECT = "http://json-schema.org/draft-07/schema#"
CLOUDEVENTS = "application/cloudevents+json"
_HEX = "[0-9a-f]"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One type of event on one stream."""

    type: str
    """``shop.order.created``."""
    stream: str
    """Alias of the stream."""
    content_type: str
    """Media type of a record's bytes."""
    schema: Schema
    """Of a record, once it is parsed as JSON."""
    models: tuple[str, ...]
    """Labels of the models: more than one where they are declared with one type."""


def kinds_of(declaration: Declaration) -> tuple[Kind, ...]:
    """Return what can happen to a row: the declared changes, and snapshots from an outbox."""
    delivery = import_string(get_config().stream(declaration.stream).delivery_class)
    if isinstance(delivery, type) and issubclass(delivery, OutboxDelivery):
        return (*declaration.on, "snapshot")
    return declaration.on


def types_of(declaration: Declaration) -> tuple[str, ...]:
    """Return the types of the events: ``shop.order.created`` and so on."""
    return tuple(declaration.event_type(kind) for kind in kinds_of(declaration))


def messages(stream: str | None = None) -> Iterator[Message]:
    """Yield each type of event of each stream, or of one, in the order of declaring.

    Raises ImproperlyConfigured for a stream that the settings do not have.
    """
    if stream is not None:
        get_config().stream(stream)
    found: dict[tuple[str, str], list[tuple[Declaration, Kind]]] = {}
    for declaration in declarations():
        if stream in {None, declaration.stream}:
            for kind in kinds_of(declaration):
                place = (declaration.event_type(kind), declaration.stream)
                found.setdefault(place, []).append((declaration, kind))
    places = Counter(type_ for type_, _ in found)
    for (type_, alias), declared in found.items():
        data = [data_schema(declaration, kind) for declaration, kind in declared]
        whole = data[0] if len(data) == 1 else {"anyOf": data}
        has_subject = all(_has_subject(declaration) for declaration, _ in declared)
        content_type, schema = _as_written(type_, alias, whole, has_subject=has_subject)
        if content_type == CLOUDEVENTS:
            schema = with_uri(schema, declared, is_alone=places[type_] == 1)
        yield Message(
            type=type_,
            stream=alias,
            content_type=content_type,
            schema={"title": type_, **schema},
            models=tuple(declaration.label for declaration, _ in declared),
        )


def versioned_data(prefix: str) -> Schema | None:
    """Return what is to be found at the ``dataschema`` of events: the schema of their data alone.

    `prefix` is their type without the change, ``shop.order.v2``; None: no version of it is
    declared.
    """
    declared = [one for one in declarations() if one.version and one.prefix == prefix]
    if not declared:
        return None
    data = []
    for declaration in declared:
        schema = data_schema(declaration, "updated")
        # One for all changes.
        schema["required"] = [name for name in schema.get("required", []) if name != CHANGED]
        data.append(schema)
    whole = data[0] if len(data) == 1 else {"anyOf": data}
    return {"$id": declared[0].dataschema, **whole, "title": prefix}


def data_schema(declaration: Declaration, kind: Kind) -> Schema:
    """Return the schema of what is published of a row."""
    whole = row_schema(declaration)
    if declaration.changed and kind == "updated":
        required = whole.get("required", [])
        properties = whole.get("properties", {})
        changed: Schema = {
            "type": "object",
            "description": "What changed: the old value and the new one.",
            "properties": {
                name: _pair(schema, may_go=name not in required)
                for name, schema in properties.items()
            },
            "minProperties": 1,
        }
        whole["properties"] = {**properties, CHANGED: changed}
        whole["required"] = [*required, CHANGED]
    return whole


def row_schema(declaration: Declaration) -> Schema:
    """Return the schema of a row's data, whatever happened to the row."""
    if declaration.schema is not None:
        return shape_schema(declaration.schema)
    if declaration.payload is not None:
        return {"type": "object"}
    using = router.db_for_write(declaration.model)
    fields = {
        name: field_schema(field, using) for name, field in declaration.payload_fields.items()
    }
    for name, relation in declaration.relations.items():
        fields[name] = {
            "type": "array",
            "items": field_schema(relation.related_model._meta.pk, using),
            "description": "Primary keys of the related rows, in their order.",
        }
    for name, source in declaration.derived.items():
        fields[name] = source_schema(source, using)
    return {"type": "object", "properties": fields, "required": list(fields)}


def _pair(schema: Schema, *, may_go: bool) -> Schema:
    old = {"anyOf": [schema, {"type": "null"}]} if schema else {}
    new = old if may_go else schema
    return {"type": "array", "items": [old, new], "minItems": 2, "maxItems": 2}


def _as_written(type_: str, alias: str, data: Schema, *, has_subject: bool) -> tuple[str, Schema]:
    name = get_config().stream(alias).options["SERIALIZER"]
    serializer = serializers.get(name)
    if serializer is serializers.cloudevents:
        return CLOUDEVENTS, _envelope(type_, data, has_subject=has_subject)
    if serializer is serializers.bare_json:
        return "application/json", data
    return "application/octet-stream", {
        "description": f"Written by the site's own serializer {name}: its form is not known here."
    }


def _envelope(type_: str, data: Schema, *, has_subject: bool) -> Schema:
    """CloudEvents 1.0 in structured mode, JSON Event Format for CloudEvents, v1.0.2."""
    text: Schema = {"type": "string", "minLength": 1}
    properties: Schema = {
        "specversion": {"const": "1.0"},
        "id": {
            "type": "string",
            "format": "uuid",
            "pattern": UUID_PATTERN,
            "description": "A repeat has the same id: drop doubles by it.",
        },
        # No constant: what was written before the setting changed is still valid.
        "source": {**text, "format": "uri-reference", "examples": [get_config().source]},
        "type": {"const": type_},
        "subject": {**text, "description": "The row's primary key."},
        "time": {**DATE_TIME, "description": "When the row was changed."},
        "datacontenttype": {"const": "application/json"},
        "partitionkey": {
            **text,
            "maxLength": MAX_KEY_CHARACTERS,
            "description": "The events of one key keep their order.",
        },
        "requestid": text,
        "userid": text,
        "traceparent": {
            "type": "string",
            "pattern": f"^00-{_HEX}{{32}}-{_HEX}{{16}}-{_HEX}{{2}}$",
            "description": "W3C Trace Context.",
        },
        "tracestate": {**text, "maxLength": MAX_TRACESTATE},
        "data": data,
    }
    optional = {"requestid", "userid", "traceparent", "tracestate"}
    optional |= set() if has_subject else {"subject"}
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        # Extension attributes, whatever they are called: CloudEvents 1.0.2, "Type System".
        "additionalProperties": {"type": ["string", "integer", "boolean"]},
    }


def _has_subject(declaration: Declaration) -> bool:
    """Tell whether the primary key is never an empty text."""
    pk: models.Field[Any, Any] | None = declaration.model._meta.pk
    while isinstance(pk, models.ForeignKey):
        pk = pk.target_field
    never_empty = (models.IntegerField, models.UUIDField, models.CompositePrimaryKey)
    return isinstance(pk, never_empty)
