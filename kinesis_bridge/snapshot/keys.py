"""Primary keys: as text of the command line, as JSON of the progress table, in equal parts."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ValidationError
from django.db import models

from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ISO = (date, datetime, time)


class KeyForm:
    """How the primary keys of one model are written down. Composite ones too, as lists."""

    def __init__(self, model: type[models.Model]) -> None:
        pk = model._meta.pk
        assert pk is not None  # noqa: S101 - every concrete model has one  # nosec B101
        self._label = f"{model._meta.label}.{pk.name}"
        self.is_composite = isinstance(pk, models.CompositePrimaryKey)
        parts: Sequence[models.Field[Any, Any]] = (
            cast("Sequence[models.Field[Any, Any]]", pk.fields)
            if isinstance(pk, models.CompositePrimaryKey)
            else [pk]
        )
        self._fields = [target(field) for field in parts]
        self.is_integer = not self.is_composite and isinstance(self._fields[0], models.IntegerField)

    def dump(self, key: Any) -> Any:
        """Return what JSON keeps of a primary key; raise SnapshotError where it cannot."""
        values = key if self.is_composite else [key]
        written = [_written(value) for value in values]
        read = [field.to_python(value) for field, value in zip(self._fields, written, strict=True)]
        if any(one != other for one, other in zip(read, values, strict=True)):
            raise SnapshotError(
                Text(
                    _(
                        "{label}: the primary key {key} cannot be written down and read again, so a"
                        " snapshot could not be resumed."
                    ),
                    label=self._label,
                    key=repr(key),
                )
            )
        return written if self.is_composite else written[0]

    def load(self, written: Any) -> Any:
        """Return the primary key again."""
        values = written if self.is_composite else [written]
        read = [field.to_python(value) for field, value in zip(self._fields, values, strict=True)]
        return tuple(read) if self.is_composite else read[0]

    def parse_range(self, text: str) -> tuple[Any, Any]:
        """Return both ends of ``FROM:TO`` as JSON keeps them; None for one that is left out."""
        ends = text.split(":")
        if self.is_composite or len(ends) != 2 or not any(ends):
            said = (
                _("--range {text}: {label} is a composite primary key, and has no ranges.")
                if self.is_composite
                else _("--range {text}: write FROM:TO, 1000:2000 for instance, or 1000: or :2000.")
            )
            raise SnapshotError(Text(said, text=text, label=self._label))
        try:
            start, stop = (
                self.dump(self._fields[0].to_python(end)) if end else None for end in ends
            )
        except ValidationError as error:
            said = _("--range {text}: no value of {label}: {error}")
            why = " ".join(error.messages)
            raise SnapshotError(Text(said, text=text, label=self._label, error=why)) from error
        if None not in {start, stop} and self.load(start) >= self.load(stop):
            raise SnapshotError(
                Text(_("--range {text} is empty: FROM comes before TO."), text=text)
            )
        return start, stop

    def cuts(self, first: int, last: int, parts: int) -> list[int]:
        """Return where each part starts, and where the last one ends (exclusive)."""
        if not self.is_integer:
            raise SnapshotError(
                Text(
                    _(
                        "--part splits integer primary keys alone, and {label} is none. Give each"
                        " machine its --range FROM:TO, or run one snapshot."
                    ),
                    label=self._label,
                )
            )
        count = last + 1 - first
        return [first + count * number // parts for number in range(parts + 1)]


def target(field: models.Field[Any, Any]) -> models.Field[Any, Any]:
    """Return the field whose values a foreign key holds; other fields as they are."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return field


def _written(value: Any) -> Any:
    if isinstance(value, _ISO):
        return value.isoformat()
    if isinstance(value, (Decimal, uuid.UUID)):
        return str(value)
    return value if isinstance(value, (int, str)) else str(value)
