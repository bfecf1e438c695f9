"""JSON Schema (draft-07) of a field's value as :mod:`kinesis_bridge.serializers` writes it.

Only what is always so: what the database holds to, not what forms check (choices, an e-mail's
form).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import connections, models

if TYPE_CHECKING:
    from collections.abc import Callable

    Schema = dict[str, Any]
    _Field = models.Field[Any, Any]

# RFC 3339, "Internet Date/Time Format". Patterns beside formats: validators may ignore the latter.
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
UUID_PATTERN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
DATE_TIME: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": f"^{_DATE}T{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})$",
}


def field_schema(field: _Field, using: str) -> Schema:
    """Return the schema of a published field whose rows are in database `using`; connects to none.

    ``{}``, anything, for what has no type of its own in JSON: JSONField, and fields of third
    parties that convert their values themselves.
    """
    if isinstance(field, models.CompositePrimaryKey):
        columns = cast("tuple[_Field, ...]", field.fields)
        parts = [field_schema(column, using) for column in columns]
        return {"type": "array", "items": parts, "minItems": len(parts), "maxItems": len(parts)}
    schema = _value_schema(field, using)
    if not schema:
        return {}
    kind = {"string": str, "integer": int}.get(schema["type"])
    examples = [value for value, _ in field.flatchoices if type(value) is kind]
    if examples:
        # No enum: the database takes others, and a new one needs no migration.
        schema["examples"] = examples
    # A generated column is never NOT NULL, whatever the field says.
    return nullable(schema) if field.null or field.generated else schema


def nullable(schema: Schema) -> Schema:
    """Return a field's schema that takes null, too."""
    if not isinstance(schema.get("type"), str):  # it does, or is anything
        return schema
    if schema["type"] == "array":  # of parts: a relation to a composite primary key
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _value_schema(field: _Field, using: str) -> Schema:
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    if isinstance(field, models.GeneratedField):
        field = cast("_Field", field.output_field)
        if isinstance(field, models.DecimalField):  # as the database computes it: any places
            return _decimal(None)
    for kind in type(field).__mro__:
        make = _MAKERS.get(kind)
        if make is not None:
            return make(field, using) if _is_djangos(field) else {}
    return {}


def _is_djangos(field: _Field) -> bool:
    """Tell whether a value is of the type that Django's own field gives."""
    methods = (getattr(type(field), name, None) for name in ("to_python", "from_db_value"))
    return all(method is None or method.__module__.startswith("django.") for method in methods)


def _text(field: _Field, using: str) -> Schema:
    schema: Schema = {"type": "string"}
    # SQLite holds texts of any length in a varchar.
    if field.max_length is not None and connections[using].vendor != "sqlite":
        schema["maxLength"] = field.max_length
    return schema


def _integer(field: _Field, using: str) -> Schema:
    schema: Schema = {"type": "integer"}
    try:
        least, most = connections[using].ops.integer_field_range(field.get_internal_type())
    except KeyError:  # a kind of a third party
        return schema
    if least is not None:
        schema["minimum"] = least
    if most is not None:
        schema["maximum"] = most
    return schema


def _decimal_of(field: _Field, _using: str) -> Schema:
    assert isinstance(field, models.DecimalField)  # noqa: S101 - by _MAKERS  # nosec B101
    schema = _decimal(field.decimal_places)
    if field.max_digits is not None:
        schema["description"] = (
            f"A decimal number of at most {field.max_digits} digits,"
            f" {field.decimal_places} of them after the point."
        )
    return schema


def _decimal(places: int | None) -> Schema:
    fraction = r"(\.[0-9]+)?" if places is None else rf"\.[0-9]{{{places}}}" if places else ""
    return {"type": "string", "pattern": f"^-?[0-9]+{fraction}$"}


def _of(**schema: Any) -> Callable[[_Field, str], Schema]:
    return lambda _field, _using: dict(schema)


_MAKERS: dict[type, Callable[[_Field, str], Schema]] = {
    models.BinaryField: _of(
        type="string",
        contentEncoding="base64",
        pattern="^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$",
    ),
    models.BooleanField: _of(type="boolean"),
    models.CharField: _text,
    models.DateField: _of(type="string", format="date", pattern=f"^{_DATE}$"),
    models.DateTimeField: _of(**DATE_TIME),
    models.DecimalField: _decimal_of,
    # draft-07 has no such format, and RFC 3339's knows no sign.
    models.DurationField: _of(
        type="string",
        pattern=r"^-?P[0-9]+DT[0-9]{2}H[0-9]{2}M[0-9]{2}(\.[0-9]+)?S$",
        description="ISO 8601: days, hours, minutes and seconds.",
    ),
    models.FileField: _text,
    models.FilePathField: _text,
    models.FloatField: _of(type="number"),
    models.GenericIPAddressField: _of(type="string"),
    models.IntegerField: _integer,
    models.TextField: _of(type="string"),  # max_length is the form's alone
    # draft-07's format "time" wants an offset, which these have not.
    models.TimeField: _of(type="string", pattern=f"^{_TIME}$"),
    models.UUIDField: _of(type="string", format="uuid", pattern=UUID_PATTERN),
}
