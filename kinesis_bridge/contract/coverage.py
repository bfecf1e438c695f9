"""Which writes of a declared model become events on its database, and which do not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, models, router
from django.db.models import deletion

from kinesis_bridge.capture.values import reader_of
from kinesis_bridge.conf import get_config
from kinesis_bridge.declarations import CHANGES, declarations
from kinesis_bridge.declaring.shapes import names_of
from kinesis_bridge.declaring.sources import Path
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from . import by_triggers
from .schema import kinds_of, types_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.declarations import Change, Declaration

_BY_DATABASE: Any = getattr(deletion, "DatabaseOnDelete", ())
"""Since Django 6.1."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """One declaration, and what becomes of its rows' changes."""

    model: str
    """``app_label.Model``."""
    type: str
    """Prefix of the events' types."""
    types: tuple[str, ...]
    """The types in full; with that of snapshots where the stream has an outbox."""
    changes: tuple[Change, ...]
    key: str
    """The field whose value is the partition key."""
    fields: tuple[str, ...]
    """Names in the data."""
    stream: str
    """Alias of the stream."""
    capture: str
    """How changes are seen: ``signals``, by what Django writes, or ``triggers`` of PostgreSQL."""
    database: str
    """Alias of the database that the model is written to, as the routers say."""
    vendor: str
    """Of that database: postgresql, mysql (MariaDB too) or sqlite."""
    captured: tuple[str, ...]
    not_captured: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return asdict(self)


def coverage(stream: str | None = None) -> list[Coverage]:
    """Return each declaration's coverage, of all streams or of one.

    Asks a MySQL database whether it is MariaDB; connects to no other. Raises ImproperlyConfigured
    for a stream that the settings do not have, FieldDoesNotExist for a field that a model has not.
    """
    if stream is not None:
        get_config().stream(stream)
    return [_of(one) for one in declarations() if stream in {None, one.stream}]


def _of(declaration: Declaration) -> Coverage:
    database = router.db_for_write(declaration.model)
    vendor = connections[database].vendor
    if declaration.capture == "triggers":
        seen = by_triggers.captured(declaration, vendor)
        unseen = by_triggers.not_captured(declaration, vendor)
    else:
        seen, unseen = captured(declaration), not_captured(declaration, database)
    return Coverage(
        model=declaration.label,
        type=declaration.prefix,
        types=types_of(declaration),
        changes=declaration.on,
        key=declaration.key,
        fields=_names(declaration),
        stream=declaration.stream,
        capture=declaration.capture,
        database=database,
        vendor=vendor,
        captured=tuple(seen),
        not_captured=tuple(unseen),
    )


def _names(declaration: Declaration) -> tuple[str, ...]:
    """Return the names in the data; of payload= without a schema they are not known."""
    if declaration.payload is not None:
        return () if declaration.schema is None else names_of(declaration.schema)
    return tuple(declaration.named()) or tuple(declaration.payload_fields)


def captured(declaration: Declaration) -> Iterator[str]:
    """Yield the kinds of writes that have events."""
    on = declaration.on
    makes, alters = "created" in on, "updated" in on
    if makes or alters:
        yield Text(_("save(), create(), get_or_create(), update_or_create(), forms, the admin"))
    if alters:
        yield "QuerySet.update(), bulk_update()"
        if set_by_django := _set_by_django(declaration):
            yield Text(_("what on_delete=SET_... writes: {fields}"), fields=set_by_django)
        if published := ", ".join(declaration.relations):
            yield Text(
                _("add(), remove(), set(), clear() from either side: {fields}"), fields=published
            )
    # Django refuses it for children of multi-table inheritance.
    if (makes or alters) and not declaration.model._meta.parents:
        yield Text(_("bulk_create(), with ignore_conflicts and update_conflicts"))
    if "deleted" in on:
        yield Text(_("delete() of instances and querysets, cascades"))
    if "snapshot" in kinds_of(declaration):
        yield Text(_("rows that are there already: manage.py kinesis_snapshot"))


def not_captured(declaration: Declaration, using: str) -> Iterator[str]:
    """Yield the kinds of writes that have no event where the rows are in database `using`."""
    meta = declaration.model._meta
    left_out = [change for change in CHANGES if change not in declaration.on]
    if left_out:
        yield Text(_("rows that are {changes}: on= leaves them out"), changes=" or ".join(left_out))
    if declaration.when is not None:
        yield Text(_("rows of which when= does not hold; one that no longer meets it is deleted"))
    if declaration.changed and "updated" in declaration.on:
        yield Text(_("writes that change nothing of what is published: changed=True"))
    elif quiet := _unpublished(declaration):
        yield Text(
            _("save(update_fields=...) and update() of unpublished fields alone: {fields}"),
            fields=quiet,
        )
    if relations := ", ".join(_many_to_many(declaration)):
        yield Text(_("many-to-many changes: {fields}"), fields=relations)
    if others := _of_others(declaration):
        yield Text(_("changes of related rows that are read: {fields}"), fields=others)
    yield Text(_("raw SQL, _raw_delete(), other programs that write the table"))
    yield Text(_("data migrations: their historical models are not declared"))
    yield Text(_("loaddata and other raw saves"))
    if by_database := _by_database(declaration.model):
        yield Text(
            _("what the database does by itself, on_delete=DB_...: {fields}"), fields=by_database
        )
    if "created" in declaration.on or "updated" in declaration.on:
        yield from _of_bulk_create(meta.pk, meta.parents, using)


def _of_bulk_create(pk: Any, parents: Any, using: str) -> Iterator[str]:
    keys_of_database = isinstance(
        pk, models.AutoField | models.BigAutoField | models.SmallAutoField
    )
    if parents or not (keys_of_database or pk.has_db_default()):
        return
    lost = Text(
        _(
            "bulk_create() with ignore_conflicts or update_conflicts of rows whose primary key the"
            " database makes"
        )
    )
    try:
        if not connections[using].features.can_return_rows_from_bulk_insert:
            yield Text(_("{lost}: it returns no rows"), lost=lost)
    except DatabaseError:
        if_mysql = _("{lost}, if it is MySQL and not MariaDB: it cannot be reached now")
        yield Text(if_mysql, lost=lost)


def _unpublished(declaration: Declaration) -> str:
    seen = {declaration.key_field, *declaration.payload_fields.values()}
    paths = [one for one in declaration.derived.values() if isinstance(one, Path)]
    is_open = declaration.payload is not None or len(paths) < len(declaration.derived)
    if "updated" not in declaration.on or is_open or any(field.generated for field in seen):
        return ""  # what is computed may change with any column
    seen |= {path.fields[0] for path in paths}
    fields = declaration.model._meta.concrete_fields
    return ", ".join(f.name for f in fields if f not in seen and not f.primary_key)


def _of_others(declaration: Declaration) -> str:
    """Name what is read of other rows, as far as it is known."""
    paths = [name for name, one in declaration.derived.items() if isinstance(one, Path)]
    return ", ".join([*paths, *declaration.select])


def _many_to_many(declaration: Declaration) -> Iterator[str]:
    """Yield the names of the relations that are not published, also of other models' own."""
    published = declaration.relations.values()
    for field in declaration.model._meta.get_fields():
        if field.many_to_many and field not in published:
            accessor = getattr(field, "get_accessor_name", None)
            yield (accessor and accessor()) or field.name


def _foreign_keys(model: type[models.Model]) -> Iterator[models.ForeignKey[Any, Any]]:
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey) and not field.remote_field.parent_link:
            yield field


def _set_by_django(declaration: Declaration) -> str:
    """Name the published foreign keys that a delete of their target sets."""
    others = (deletion.CASCADE, deletion.PROTECT, deletion.RESTRICT, deletion.DO_NOTHING)
    reader = reader_of(declaration)
    return ", ".join(
        field.name
        for field in _foreign_keys(declaration.model)
        if reader.is_touched([field.name])
        and field.remote_field.on_delete not in others
        and not isinstance(field.remote_field.on_delete, _BY_DATABASE)
    )


def _by_database(model: type[models.Model]) -> str:
    found = [
        (field.name, field.remote_field.on_delete)
        for field in _foreign_keys(model)
        if isinstance(field.remote_field.on_delete, _BY_DATABASE)
    ]
    return ", ".join(f"{name} ({on_delete.__name__})" for name, on_delete in found)
