"""Which rows a snapshot is of: all, or those that --where, --since and --range leave."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, time
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.db import models
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from kinesis_bridge.words import Text, text_of
from kinesis_bridge.words import marked as _

from .errors import SnapshotError
from .keys import KeyForm, target

if TYPE_CHECKING:
    from kinesis_bridge.declarations import Declaration

    _Field = models.Field[Any, Any]

_COMPARED = {"exact", "gt", "gte", "lt", "lte"}
_LISTED = {"in", "range"}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The rows of one declaration that are asked for. Raises SnapshotError for what makes no sense.

    Its texts are those of the command line: so they are kept with the run, and read again.
    """

    declaration: Declaration
    where: tuple[str, ...] = ()
    """``FIELD[__LOOKUP]=VALUE``, all of them."""
    since: str | None = None
    """ISO 8601: rows changed then or later."""
    since_field: str | None = None
    """The field that tells; default: the only one with auto_now."""
    key_range: str | None = None
    """``FROM:TO`` of primary keys, half-open."""

    def __post_init__(self) -> None:
        assert self.ends is not None  # noqa: S101 - read now, so that it is refused now  # nosec B101
        self.rows("default")

    @cached_property
    def keys(self) -> KeyForm:
        """How the model's primary keys are written."""
        return KeyForm(self.declaration.model)

    @cached_property
    def ends(self) -> tuple[Any, Any]:
        """Both ends of the range as JSON keeps them; None: open."""
        return (None, None) if self.key_range is None else self.keys.parse_range(self.key_range)

    @property
    def is_whole(self) -> bool:
        """Whether it has every row between any two of its own."""
        return not self.where and self.since is None

    @cached_property
    def texts(self) -> dict[str, Any]:
        """What was asked, as JSON; :meth:`of_texts` reads it."""
        return {
            "where": sorted(self.where),
            "since": self.since,
            "since_field": self.since_field,
            "range": self.key_range,
        }

    @classmethod
    def of_texts(cls, declaration: Declaration, texts: dict[str, Any]) -> Scope:
        """Return the scope that :attr:`texts` tell of."""
        return cls(
            declaration=declaration,
            where=tuple(texts["where"]),
            since=texts["since"],
            since_field=texts["since_field"],
            key_range=texts["range"],
        )

    def digest(self, number: int, parts: int) -> str:
        """Return a text that the same part of the same scope has, and no other."""
        one = self.declaration
        whole = [one.label, one.prefix, one.stream, self.texts, number, parts]
        return sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def all_rows(self, using: str) -> models.QuerySet[models.Model]:
        """Return every row of the model: no manager's queryset, since a manager may hide some."""
        return models.QuerySet(self.declaration.model, using=using)

    def rows(self, using: str) -> models.QuerySet[models.Model]:
        """Return the rows that --where and --since leave, in the order of primary keys."""
        rows = self.all_rows(using).order_by("pk")
        model = self.declaration.model
        for text in self.where:
            name, sign, value = text.partition("=")
            if not sign or not name:
                said = _("--where {text}: write FIELD=VALUE or FIELD__LOOKUP=VALUE.")
                raise SnapshotError(Text(said, text=text))
            crosses, given = _converted(model, name, value, text)
            rows = _filtered(rows, {name: given}, text)
            if crosses:  # a row of each related one otherwise
                rows = rows.distinct()
        if self.since is not None:
            rows = rows.filter(**self._since(self.since))
        elif self.since_field is not None:
            raise SnapshotError(Text(_("--since-field without --since: say since when.")))
        return rows

    def _since(self, text: str) -> dict[str, Any]:
        field = _since_field(self.declaration.model, self.since_field)
        try:
            moment = parse_datetime(text)
            day = None if moment else parse_date(text)
        except ValueError as error:
            said = _("--since {text}: {error}.")
            raise SnapshotError(Text(said, text=text, error=str(error))) from error
        if moment is None and day is None:
            said = _("--since {text}: write ISO 8601, 2026-11-01T12:00:00Z for instance.")
            raise SnapshotError(Text(said, text=text))
        moment = _aware(moment or datetime.combine(day, time()))  # type: ignore[arg-type]
        is_moment = isinstance(field, models.DateTimeField)
        return {f"{field.name}__gte": moment if is_moment else moment.date()}


def _since_field(model: type[models.Model], name: str | None) -> _Field:
    dated = [field for field in model._meta.concrete_fields if isinstance(field, models.DateField)]
    if name is not None:
        for field in dated:
            if name == field.name:
                return field
        raise SnapshotError(
            Text(
                _("--since-field {name}: {label} has no date field of that name; it has: {known}."),
                name=name,
                label=model._meta.label,
                known=", ".join(field.name for field in dated) or Text(_("none")),
            )
        )
    changed = [field for field in dated if field.auto_now]
    if len(changed) != 1:
        said = (
            _(
                "--since: {label} has more than one field with auto_now=True, so say which one"
                " tells when a row was changed: --since-field FIELD."
            )
            if changed
            else _(
                "--since: {label} has no field with auto_now=True, so say which one tells when a"
                " row was changed: --since-field FIELD."
            )
        )
        raise SnapshotError(Text(said, label=model._meta.label))
    return changed[0]


def _converted(model: type[models.Model], name: str, value: str, text: str) -> tuple[bool, Any]:
    """Return whether the lookup leaves the table, and what to filter for."""
    crosses, field, rest = _resolved(model, name)
    lookup = rest[-1] if rest else "exact"
    try:
        if lookup == "isnull":
            return crosses, _boolean(value)
        if lookup in _LISTED:
            parts = value.split(",")
            return crosses, [_value(field, part, is_own=len(rest) == 1) for part in parts]
        return crosses, _value(
            field, value, is_own=not rest or rest in [[one] for one in _COMPARED]
        )
    except (ValueError, ValidationError) as error:
        raise SnapshotError(_refused(text, error)) from error


def _resolved(model: type[models.Model], name: str) -> tuple[bool, _Field | None, list[str]]:
    """Return whether `name` crosses a relation, the last field in it, and what follows."""
    crosses, field, meta = False, None, model._meta
    parts = name.split("__")
    while parts:
        try:
            found: Any = meta.pk if parts[0] == "pk" else meta.get_field(parts[0])
        except FieldDoesNotExist:
            break
        crosses |= field is not None or not found.concrete
        field = found if found.concrete else None
        parts = parts[1:]
        if not found.is_relation or found.related_model is None:
            break
        meta = found.related_model._meta
    return crosses, field, parts


def _value(field: _Field | None, text: str, *, is_own: bool) -> Any:
    """Return the text as the field's own value, where Django's lookups would not take the text."""
    if isinstance(field, models.JSONField):
        return _json(text)
    if field is None or not is_own:
        return text
    field = target(field)
    if isinstance(field, models.BooleanField):
        return _boolean(text)
    if isinstance(field, models.DateTimeField):
        return _aware(field.to_python(text))
    return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError(Text(_("{text} is neither true nor false."), text=repr(text))) from None


def _aware(moment: datetime) -> datetime:
    from django.conf import settings  # noqa: PLC0415

    if settings.USE_TZ and timezone.is_naive(moment):
        return timezone.make_aware(moment, timezone.get_default_timezone())
    if not settings.USE_TZ and timezone.is_aware(moment):
        return timezone.make_naive(moment, timezone.get_default_timezone())
    return moment


def _filtered(
    rows: models.QuerySet[models.Model], filters: dict[str, Any], text: str
) -> models.QuerySet[models.Model]:
    try:
        return rows.filter(**filters)
    except (FieldError, ValueError, TypeError, ValidationError) as error:
        raise SnapshotError(_refused(text, error)) from error


def _refused(text: str, error: Exception) -> Text:
    said = " ".join(error.messages) if isinstance(error, ValidationError) else text_of(error)
    return Text(_("--where {text}: {error}"), text=text, error=said)
