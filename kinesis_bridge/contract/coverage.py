"""Which writes of a declared model become events on its database, and which do not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, models, router
from django.db.models import deletion

from kinesis_bridge.conf import get_config
from kinesis_bridge.declarations import CHANGES, declarations

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
    """How changes are seen: ``signals``, by what Django itself writes."""
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
    return Coverage(
        model=declaration.label,
        type=declaration.type,
        types=types_of(declaration),
        changes=declaration.on,
        key=declaration.key,
        fields=(*declaration.payload_fields, *declaration.relations),
        stream=declaration.stream,
        capture="signals",
        database=database,
        vendor=connections[database].vendor,
        captured=tuple(captured(declaration)),
        not_captured=tuple(not_captured(declaration, database)),
    )


def captured(declaration: Declaration) -> Iterator[str]:
    """Yield the kinds of writes that have events."""
    on = declaration.on
    makes, alters = "created" in on, "updated" in on
    if makes or alters:
        yield "save(), create(), get_or_create(), update_or_create(), forms, the admin"
    if alters:
        yield "QuerySet.update(), bulk_update()"
        if set_by_django := _set_by_django(declaration):
            yield f"what on_delete=SET_... writes: {set_by_django}"
        if published := ", ".join(declaration.relations):
            yield f"add(), remove(), set(), clear() from either side: {published}"
    # Django refuses it for children of multi-table inheritance.
    if (makes or alters) and not declaration.model._meta.parents:
        yield "bulk_create(), with ignore_conflicts and update_conflicts"
    if "deleted" in on:
        yield "delete() of instances and querysets, cascades"
    if "snapshot" in kinds_of(declaration):
        yield "rows that are there already: manage.py kinesis_snapshot"


def not_captured(declaration: Declaration, using: str) -> Iterator[str]:
    """Yield the kinds of writes that have no event where the rows are in database `using`."""
    meta = declaration.model._meta
    left_out = [change for change in CHANGES if change not in declaration.on]
    if left_out:
        yield f"rows that are {' or '.join(left_out)}: on= leaves them out"
    if declaration.when is not None:
        yield "rows of which when= does not hold; one that no longer meets it is deleted"
    if declaration.changed and "updated" in declaration.on:
        yield "writes that change nothing of what is published: changed=True"
    elif quiet := _unpublished(declaration):
        yield f"save(update_fields=...) and update() of unpublished fields alone: {quiet}"
    if relations := ", ".join(_many_to_many(declaration)):
        yield f"many-to-many changes: {relations}"
    yield "raw SQL, _raw_delete(), other programs that write the table"
    yield "data migrations: their historical models are not declared"
    yield "loaddata and other raw saves"
    if by_database := _by_database(declaration.model):
        yield f"what the database does by itself, on_delete=DB_...: {by_database}"
    if "created" in declaration.on or "updated" in declaration.on:
        yield from _of_bulk_create(meta.pk, meta.parents, using)


def _of_bulk_create(pk: Any, parents: Any, using: str) -> Iterator[str]:
    keys_of_database = isinstance(
        pk, models.AutoField | models.BigAutoField | models.SmallAutoField
    )
    if parents or not (keys_of_database or pk.has_db_default()):
        return
    lost = (
        "bulk_create() with ignore_conflicts or update_conflicts of rows whose primary key the"
        " database makes"
    )
    try:
        if not connections[using].features.can_return_rows_from_bulk_insert:
            yield f"{lost}: it returns no rows"
    except DatabaseError:
        yield f"{lost}, if it is MySQL and not MariaDB: it cannot be reached now"


def _unpublished(declaration: Declaration) -> str:
    seen = {declaration.key_field, *declaration.payload_fields.values()}
    if "updated" not in declaration.on or any(field.generated for field in seen):
        return ""  # a generated column may change with any other
    fields = declaration.model._meta.concrete_fields
    return ", ".join(f.name for f in fields if f not in seen and not f.primary_key)


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
    published = {declaration.key_field, *declaration.payload_fields.values()}
    return ", ".join(
        field.name
        for field in _foreign_keys(declaration.model)
        if field in published
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
