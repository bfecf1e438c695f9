"""JSON Schema (draft-07) of what no own field is behind: paths, expressions, functions, schema=."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from kinesis_bridge.declaring.shapes import json_schema, returned_by
from kinesis_bridge.declaring.sources import Expression, Path

from .fields import field_schema, nullable

if TYPE_CHECKING:
    from kinesis_bridge.declaring.sources import Source

    from .fields import Schema

_RECURSIVE = "As around it."


def source_schema(source: Source, using: str) -> Schema:
    """Return the schema of a derived value; ``{}``, anything, where nothing is known of it."""
    if isinstance(source, Path):
        schema = field_schema(source.fields[-1], using)
        return nullable(schema) if source.is_null else schema
    if isinstance(source, Expression):
        # NULL where any part of it is: what an expression makes is not known to be NOT NULL.
        return nullable(_computed(field_schema(source.output_field, using)))
    return returned_schema(returned_by(source.function))


def returned_schema(annotation: Any) -> Schema:
    """Return the schema of what a function is annotated to return; ``{}`` where that says none."""
    if annotation is None:
        return {}
    try:
        return shape_schema(annotation)
    except (TypeError, NameError):
        return {}


def shape_schema(shape: Any) -> Schema:
    """Return msgspec's schema of a type as draft-07, and with no reference in it.

    References would lead elsewhere in a document that has the schema as a part. A type within
    itself is described once: below it is anything. Raises as
    :func:`~kinesis_bridge.declaring.shapes.json_schema`.
    """
    whole = json_schema(shape)
    definitions = whole.pop("$defs", {})
    made: Schema = _inlined(whole, definitions, ())
    return made


def _inlined(part: Any, definitions: dict[str, Any], within: tuple[str, ...]) -> Any:
    if isinstance(part, list):
        return [_inlined(one, definitions, within) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[-1]
        others = {key: value for key, value in part.items() if key != "$ref"}
        if name in within:
            return {"description": _RECURSIVE}
        found = _inlined(copy.deepcopy(definitions[name]), definitions, (*within, name))
        return {**found, **_inlined(others, definitions, within)}
    return dict(_keyword(key, value, part, definitions, within) for key, value in part.items())


def _keyword(
    key: str,
    value: Any,
    part: dict[str, Any],
    definitions: dict[str, Any],
    within: tuple[str, ...],
) -> tuple[str, Any]:
    if key in {"default", "const", "enum", "examples"}:  # values, no schemas
        return key, value
    if key in {"properties", "patternProperties"}:  # by names, that are no keywords
        return key, {name: _inlined(one, definitions, within) for name, one in value.items()}
    # What the items of a tuple are has another name since 2020-12.
    if "prefixItems" in part:
        key = {"prefixItems": "items", "items": "additionalItems"}.get(key, key)
    return key, _inlined(value, definitions, within)


def _computed(schema: Schema) -> Schema:
    """Return it without the bounds of a column, which what is computed does not know."""
    return {
        key: value
        for key, value in schema.items()
        if key not in {"minimum", "maximum", "maxLength", "examples"}
    }
