"""``publishes(schema=...)``: a dataclass or TypedDict that says what the data is.

msgspec reads it: what it does not know, a schema cannot have.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from kinesis_bridge.exceptions import SchemaError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Callable

# As msgspec writes where: the path within the data, else a name that is missing at its top.
_PLACES = (re.compile(r"`\$\.(\w+)"), re.compile(r"missing required field `(\w+)`"))


def is_shape(given: object) -> bool:
    """Tell whether it is a dataclass or a TypedDict (not an instance of one)."""
    if not isinstance(given, type):
        return False
    # Not typing.is_typeddict: there is one in typing_extensions, too.
    is_typed = issubclass(given, dict) and hasattr(given, "__total__")
    return is_typed or dataclasses.is_dataclass(given)


def names_of(shape: type) -> tuple[str, ...]:
    """Return the names that data of this shape may have, in their order."""
    if dataclasses.is_dataclass(shape):
        return tuple(field.name for field in dataclasses.fields(shape))
    return tuple(shape.__annotations__)


def required_of(shape: type) -> set[str]:
    """Return the names that data of this shape must have; raises as :func:`json_schema`."""
    info: Any = msgspec.inspect.type_info(shape)
    return {field.encode_name for field in info.fields if field.required}


def returned_by(function: Callable[..., Any]) -> Any:
    """Return what a function is annotated to return; None where that is not known."""
    try:
        return typing.get_type_hints(function).get("return")
    except Exception:  # noqa: BLE001 - evaluates texts of anyone: a name may be there for checkers
        return None


def json_schema(shape: Any) -> dict[str, Any]:
    """Return msgspec's JSON Schema (2020-12) of a type; raises TypeError where it knows none.

    NameError where an annotation names what cannot be found.
    """
    return msgspec.json.schema(shape)


@cache
def _decoder(shape: type) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def check_fits(label: str, shape: type, data: bytes) -> None:
    """Refuse data, as JSON, that has not this shape: SchemaError naming model and field."""
    try:
        _decoder(shape).decode(data)
    except msgspec.ValidationError as error:
        found = [at[1] for place in _PLACES if (at := place.search(str(error)))]
        field = ".".join([label, *found[:1]])
        raise SchemaError(
            Text(
                _(
                    "{field} cannot be published. The data does not fit schema={schema}: {error}."
                    " Mend the value, or the schema with a new version=."
                ),
                field=field,
                schema=shape.__name__,
                error=str(error),
            )
        ) from error
