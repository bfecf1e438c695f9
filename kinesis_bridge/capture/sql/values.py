"""A column's value as JSON text and as plain text: what Python writes of it, in SQL.

The counterpart of :mod:`kinesis_bridge.capture.values` and :mod:`kinesis_bridge.serializers`; the
tests hold them against each other, field by field.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.db import models

from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Callable

    _Field = models.Field[Any, Any]
    _Make = Callable[[str], str]


class OnlyInPython(Exception):
    """Nothing in SQL says what Python would write: the message says of what, and why."""


def literal(text: str) -> str:
    """Return `text` as a literal of PostgreSQL; the same whatever standard_conforming_strings."""
    quoted = text.replace("'", "''")
    return f"E'{quoted}'".replace("\\", "\\\\") if "\\" in text else f"'{quoted}'"


def quoted(name: str) -> str:
    """Return a name of a table or a column in quotes; as Django, one that has them as it is."""
    if name.startswith('"') and name.endswith('"'):  # "schema"."table"
        return name
    return '"{}"'.format(name.replace('"', '""'))


def json_of(field: _Field, column: str) -> str:
    """Return SQL for the JSON text of the value that `column` holds; raise OnlyInPython.

    `column` is SQL that names it (``n."total"``). Of NULL it is ``null``.
    """
    json = _json_of(field, column)
    # A generated column is never NOT NULL, whatever the field says.
    return f"coalesce({json}, 'null')" if field.null or field.generated else json


def text_of(field: _Field, column: str) -> str:
    """Return SQL for the value as Python's ``str`` has it, for keys and subjects.

    Raises OnlyInPython for what PostgreSQL would write in another way: events of one key would
    take two lanes.
    """
    field = _value_field(field)
    _check(field)
    for kind, make in _TEXTS.items():
        if isinstance(field, kind):
            return make(column)
    raise OnlyInPython(Text(_("{field} as text is known to Python only"), field=_named(field)))


def is_bare(field: _Field) -> bool:
    """Tell whether its text needs no escapes in JSON, and is never empty."""
    return isinstance(_value_field(field), (models.IntegerField, models.UUIDField))


def differs(field: _Field, one: str, other: str) -> str:
    """Return SQL that tells whether two values are not the same, NULL being one of them."""
    field = _value_field(field)
    if isinstance(field, (models.CharField, models.TextField, models.FileField)):
        # Equal by the column's collation is not the same.
        one, other = f'{one} COLLATE "C"', f'{other} COLLATE "C"'
    elif not any(kind in _JSONS for kind in type(field).__mro__):  # it may have no equality
        one, other = f"{one}::text", f"{other}::text"
    return f"({one}) IS DISTINCT FROM ({other})"


def refusal(field: _Field, column: str) -> str | None:
    """Return SQL that is true of a value that JSON has no form for; None: it has all."""
    field = _value_field(field)
    if isinstance(field, models.FloatField):
        return f"{column} IN ('NaN', 'Infinity', '-Infinity')"
    if isinstance(field, models.DecimalField):
        return f"{column} = 'NaN'"
    return None


def most_bytes(field: _Field) -> int | None:
    """Return how many bytes the JSON of a value has at most; None: nobody knows."""
    field = _value_field(field)
    if isinstance(field, (models.TextField, models.JSONField, models.BinaryField)):
        return None
    if isinstance(field, models.DecimalField):
        digits = cast("int | None", field.max_digits)
        return None if digits is None else digits + 4
    if isinstance(field, (models.CharField, models.FileField, models.FilePathField)):
        return None if field.max_length is None else 6 * field.max_length + 2
    return 64 if any(kind in _SMALL for kind in type(field).__mro__) else None


def _json_of(field: _Field, column: str) -> str:
    field = _value_field(field)
    _check(field)
    if _is_array(field):
        return _array(field, column)
    for kind in type(field).__mro__:
        make = _JSONS.get(kind)
        if make is not None:
            return make(field)(column)
    said = _("{field} has a form in JSON that Python alone knows")
    raise OnlyInPython(Text(said, field=_named(field)))


def _check(field: _Field) -> None:
    """Refuse a field of a third party that converts its values itself."""
    methods = (getattr(type(field), name, None) for name in ("to_python", "from_db_value"))
    if not all(method is None or method.__module__.startswith("django.") for method in methods):
        said = _("{field} converts its values in Python")
        raise OnlyInPython(Text(said, field=_named(field)))


def _named(field: _Field) -> str:
    name = getattr(field, "name", None)
    return f"{type(field).__name__} {name!r}" if name else type(field).__name__


def _value_field(field: _Field) -> _Field:
    """Return the field whose values the column has: behind foreign keys and generated columns."""
    while True:
        if isinstance(field, models.ForeignKey):
            field = field.target_field
        elif isinstance(field, models.GeneratedField):
            field = cast("_Field", field.output_field)
        else:
            return field


# -- JSON, by kind of field


def _always(form: str) -> Callable[[_Field], _Make]:
    return lambda _field: form.format


def _datetime(_field: _Field) -> _Make:
    def make(column: str) -> str:
        if not settings.USE_TZ:  # kept in TIME_ZONE
            column = f"({column} AT TIME ZONE {literal(settings.TIME_ZONE)})"
        text = f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
        return f"'\"' || replace({text}, '.000000', '') || '+00:00\"'"

    return make


def _duration(_field: _Field) -> _Make:
    def make(column: str) -> str:
        # duration_iso_string: whole days, and the rest within a day.
        micros = f"(extract(epoch FROM {column}) * 1000000)::bigint"
        rest = f"make_interval(secs => mod(abs({micros}), 86400000000) / 1000000.0)"
        clock = f"replace(to_char({rest}, 'HH24\"H\"MI\"M\"SS.US'), '.000000', '')"
        sign = f"CASE WHEN {micros} < 0 THEN '-' ELSE '' END"
        return f"'\"' || {sign} || 'P' || abs({micros}) / 86400000000 || 'DT' || {clock} || 'S\"'"

    return make


def _is_array(field: _Field) -> bool:
    # Not imported for it: with it comes psycopg, which a site on another database has no use for.
    module = sys.modules.get("django.contrib.postgres.fields.array")
    return module is not None and isinstance(field, module.ArrayField)


def _array(field: Any, column: str) -> str:
    base = field.base_field
    if type(base) not in _IN_ARRAYS:
        raise OnlyInPython(Text(_("an array of {field}"), field=_named(base)))
    return f"to_json({column})::text"


_TEXT = _always("to_json({0}::text)::text")
_PLAIN = _always("{0}::text")
_JSONS: dict[type, Callable[[_Field], _Make]] = {
    models.BinaryField: _always("'\"' || translate(encode({0}, 'base64'), E'\\n', '') || '\"'"),
    models.BooleanField: _PLAIN,
    models.CharField: _TEXT,
    models.DateField: _always("'\"' || to_char({0}, 'YYYY-MM-DD') || '\"'"),
    models.DateTimeField: _datetime,
    models.DecimalField: _always("'\"' || {0} || '\"'"),
    models.DurationField: _duration,
    models.FileField: _TEXT,
    models.FilePathField: _TEXT,
    models.FloatField: _PLAIN,
    models.GenericIPAddressField: _always("'\"' || host({0}) || '\"'"),
    models.IntegerField: _PLAIN,
    models.JSONField: _PLAIN,
    models.TextField: _TEXT,
    models.TimeField: _always(
        "'\"' || replace(to_char({0}, 'HH24:MI:SS.US'), '.000000', '') || '\"'"
    ),
    models.UUIDField: _always("'\"' || {0} || '\"'"),
}
_SMALL = {
    models.BooleanField,
    models.DateField,
    models.DurationField,
    models.FloatField,
    models.GenericIPAddressField,
    models.IntegerField,
    models.TimeField,
    models.UUIDField,
}
_IN_ARRAYS = {
    models.BooleanField,
    models.CharField,
    models.TextField,
    models.UUIDField,
    models.IntegerField,
    models.BigIntegerField,
    models.SmallIntegerField,
    models.PositiveIntegerField,
    models.PositiveBigIntegerField,
    models.PositiveSmallIntegerField,
}
_TEXTS: dict[type, _Make] = {
    models.BooleanField: "CASE WHEN {0} THEN 'True' WHEN NOT {0} THEN 'False' END".format,
    models.CharField: "{0}::text".format,
    models.TextField: "{0}::text".format,
    models.DecimalField: "{0}::text".format,
    models.IntegerField: "{0}::text".format,
    models.UUIDField: "{0}::text".format,
}
