"""Versioned types: the URI of their data's schema, in the envelope and at its own place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.declarations import Declaration, Kind

    from .fields import Schema


def with_uri(
    envelope: Schema, declared: Sequence[tuple[Declaration, Kind]], *, is_alone: bool
) -> Schema:
    """Return an envelope's schema with ``dataschema``, where its events have that.

    `is_alone`: no other stream has events of the type. Then the schema has an ``$id``, too: that
    must be of one schema alone.
    """
    uris = {declaration.dataschema for declaration, _ in declared}
    if uris == {None}:
        return envelope
    named = sorted(uri for uri in uris if uri is not None)
    # No constant: what was written before the setting changed is still valid.
    uri: Schema = {
        "type": "string",
        "minLength": 1,
        "format": "uri",
        "description": "Of the schema that the data fits.",
        "examples": named,
    }
    properties = {**envelope["properties"], "dataschema": uri}
    required = envelope["required"] if None in uris else [*envelope["required"], "dataschema"]
    made = {**envelope, "properties": properties, "required": required}
    is_one = is_alone and len(uris) == 1
    return {"$id": f"{named[0]}.{declared[0][1]}", **made} if is_one else made
