"""``STRICT``: a statement that writes a declared model's table past its capture raises.

Each connection's statements are looked at before they are run, and Django's own ways of writing,
which are captured, say which tables they write. Nothing of this is there while ``STRICT`` is off.

It leans on names inside Django: ``connection.execute_wrappers``, ``atomic_blocks`` and
``make_cursor``, ``Model._do_insert`` and ``_do_update``, ``Collector.data`` and ``fast_deletes``.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed
from django.db import connections, models
from django.db.backends.base.creation import BaseDatabaseCreation
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.signals import connection_created
from django.db.models import sql
from django.db.models.deletion import Collector
from django.db.models.signals import m2m_changed

from kinesis_bridge.conf import SETTING, is_strict
from kinesis_bridge.declarations import declarations, declared, signalled
from kinesis_bridge.exceptions import UncapturedWrite

from .statements import writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

    from kinesis_bridge.declarations import Declaration

    from .statements import Write

    Tables = frozenset[str]
    """Names of tables, casefolded: databases differ in what case means."""

_UID = "kinesis_bridge.capture.strict"
_RELATING = "_kinesis_bridge_relating"
_NOTHING: Tables = frozenset()
_is_on = False
_is_installed = False
_captured: ContextVar[Tables] = ContextVar("kinesis_bridge.captured", default=_NOTHING)
"""The tables whose capture is under way right now."""
_is_allowed: ContextVar[bool] = ContextVar("kinesis_bridge.uncaptured", default=False)


@contextmanager
def allow_uncaptured() -> Iterator[None]:
    """Let statements pass within the block that write declared tables and have no events.

    For writes that are meant so, where ``STRICT`` is on; where it is off it does nothing.
    """
    token = _is_allowed.set(True)
    try:
        yield
    finally:
        _is_allowed.reset(token)


def start() -> None:
    """Begin where ``STRICT`` is on, and follow the setting: tests change it."""
    setting_changed.connect(_on_setting_changed, dispatch_uid=_UID)
    _follow()


def _on_setting_changed(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        _follow()


def _follow() -> None:
    global _is_on, _is_installed  # noqa: PLW0603 - the state of this module
    _is_on = is_strict()
    if not _is_on:
        return
    if not _is_installed:
        _is_installed = True
        _install()
    for connection in connections.all(initialized_only=True):
        _watch(connection=connection)


def _install() -> None:
    for owner, name, wrap in (
        (models.Model, "_do_insert", _marking(_tables_of_instance)),
        (models.Model, "_do_update", _marking(_tables_of_instance)),
        (models.QuerySet, "update", _marking(_tables_of_query)),
        (models.QuerySet, "bulk_create", _telling_bulk_create),
        (sql.UpdateQuery, "update_batch", _marking(_tables_of_query)),
        (Collector, "delete", _marking(_tables_of_collector)),
        # What makes a test database, what empties it, and what fills a column that is NULL no more.
        (BaseDatabaseCreation, "create_test_db", _allowing),
        (BaseDatabaseOperations, "execute_sql_flush", _allowing),
        (BaseDatabaseSchemaEditor, "_alter_field", _allowing),
    ):
        method = getattr(owner, name)
        setattr(owner, name, wraps(method)(wrap(method)))
    connection_created.connect(_watch, dispatch_uid=_UID)
    declared.connect(_on_declared, dispatch_uid=_UID)
    for declaration in declarations():
        _on_declared(declaration=declaration)


# What is captured


def is_by_signals(declaration: Declaration) -> bool:
    """Tell whether its capture sees what Django itself writes, and nothing else."""
    return declaration.capture == "signals"


def _watched() -> dict[str, str]:
    """Return the tables that are captured by signals, and what to say of a write to each."""
    found: dict[str, str] = {}
    for declaration in filter(is_by_signals, declarations()):
        for name, field in declaration.relations.items():
            found[_name(_through(field))] = (
                f"it holds the many-to-many field {declaration.label}.{name}, whose changes are"
                f" published as {declaration.type}.updated: use add(), remove(), set() or clear()"
                " of the field, or declare the model of this table, too"
            )
    for declaration in filter(is_by_signals, declarations()):
        found[_name(declaration.model)] = (
            f"it is the table of {declaration.label}, published as {declaration.type}, and this"
            " statement did not come from save(), delete(), update() or bulk_create() of that"
            " model, but from raw SQL, _raw_delete() or a model of a migration: write through"
            f" {declaration.label}, or publish() the change by hand"
        )
    return found


def _name(model: type[models.Model]) -> str:
    return model._meta.db_table.replace('"', "").rpartition(".")[2].casefold()


def _through(field: models.ManyToManyField[Any, Any]) -> type[models.Model]:
    through: type[models.Model] = field.remote_field.through  # type: ignore[assignment]
    return through


def _tables_of(model: type[models.Model]) -> Tables:
    return frozenset(_name(declaration.model) for declaration in signalled(model))


def _tables_of_instance(instance: models.Model) -> Tables:
    return _tables_of(type(instance))


def _tables_of_query(query: Any) -> Tables:
    return _tables_of(query.model)


def _tables_of_collector(collector: Any) -> Tables:
    deleted = {*collector.data, *(rows.model for rows in collector.fast_deletes)}
    tables = {table for model in deleted for table in _tables_of(model)}
    concrete = {model._meta.concrete_model for model in deleted}
    for declaration in declarations():
        for field in declaration.relations.values():
            if concrete & {declaration.model, field.related_model}:  # its deletion is watched
                tables.add(_name(_through(field)))
    return frozenset(tables)


def _marking(tables_of: Callable[[Any], Tables]) -> Callable[..., Any]:
    """Return what makes a method say which tables are captured while it runs."""

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not _is_on:
                return method(self, *args, **kwargs)
            token = _captured.set(_captured.get() | tables_of(self))
            try:
                return method(self, *args, **kwargs)
            finally:
                _captured.reset(token)

        return wrapper

    return wrap


def _allowing(method: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with allow_uncaptured():
            return method(*args, **kwargs)

    return wrapper


def _telling_bulk_create(bulk_create: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    marked = _marking(_tables_of_query)(bulk_create)

    def wrapper(  # Django's own signature
        self: Any,
        objs: Iterable[models.Model],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> list[Any]:
        if _is_on and (ignore_conflicts or update_conflicts) and not _is_allowed.get():
            objs = list(objs)
            _refuse_untold(self, objs)
        given = (batch_size, ignore_conflicts, update_conflicts, *args)
        made: list[Any] = marked(self, objs, *given, **kwargs)
        return made

    return wrapper


def _refuse_untold(queryset: Any, objs: list[Any]) -> None:
    """Raise where nobody can tell which rows a ``bulk_create`` with conflicts inserts."""
    wanted = [
        one for one in signalled(queryset.model) if one.when or {"created", "updated"} & {*one.on}
    ]
    queryset._for_write = True  # noqa: SLF001 - as bulk_create() does
    connection = connections[queryset.db]
    if not wanted or connection.features.can_return_rows_from_bulk_insert:
        return
    if all(obj.pk is not None and not hasattr(obj.pk, "resolve_expression") for obj in objs):
        return
    raise UncapturedWrite(
        f"bulk_create() with conflicts on {wanted[0].label} is not captured: {connection.vendor}"
        " does not tell which rows it inserted, so those without a primary key would have no event."
        f" Give the rows keys (a UUID), or save them one by one.{_OTHERWISE}"
    )


# What changes relations


def _on_declared(*, declaration: Declaration, **_: object) -> None:
    for field in declaration.relations.values():
        m2m_changed.connect(_on_relating, sender=_through(field), dispatch_uid=_UID)


def _on_relating(*, sender: type[models.Model], action: str, using: str, **_: object) -> None:
    """Note that Django is about to write a many-to-many field's table, and within which block.

    Not until ``post_add``: the other direction of a symmetrical one is written after that.
    """
    if _is_on and action.startswith("pre_"):
        connection = connections[using]
        blocks = connection.atomic_blocks
        # add() opens one around the one in which it tells of the first direction.
        block = blocks[-2] if action == "pre_add" and len(blocks) > 1 else blocks[-1]
        noted = [one for one in connection.__dict__.get(_RELATING, ()) if one[0] in blocks]
        connection.__dict__[_RELATING] = [*noted, (block, _name(sender))]


def _related(connection: BaseDatabaseWrapper) -> Tables:
    noted = connection.__dict__.get(_RELATING, ())
    return frozenset(table for block, table in noted if block in connection.atomic_blocks)


# What is written


def _watch(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    """Look at what `connection` is told to run; a second call changes nothing."""
    if not _is_on or _check in connection.execute_wrappers:
        return
    connection.execute_wrappers.insert(0, _check)
    if connection.vendor == "postgresql":
        for name in ("make_cursor", "make_debug_cursor"):
            setattr(connection, name, _watching_copies(getattr(connection, name), connection))


def _check(
    execute: Callable[..., Any], statement: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    _refuse(statement, context["connection"])
    return execute(statement, params, many, context)


def _watching_copies(
    make: Callable[[Any], Any], connection: BaseDatabaseWrapper
) -> Callable[[Any], Any]:
    """Return what makes cursors whose COPY is looked at: it goes past ``execute_wrappers``."""

    def wrapper(cursor: Any) -> Any:
        made = make(cursor)
        for name in ("copy", "copy_expert"):  # of psycopg 3, and of psycopg2
            if hasattr(cursor, name):
                made.__dict__[name] = _checked(getattr(made, name), connection)
        return made

    return wrapper


def _checked(copy: Callable[..., Any], connection: BaseDatabaseWrapper) -> Callable[..., Any]:
    def wrapper(statement: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse(statement, connection)
        return copy(statement, *args, **kwargs)

    return wrapper


def _refuse(statement: Any, connection: BaseDatabaseWrapper) -> None:
    if not _is_on or _is_allowed.get():
        return
    text = _text_of(statement, connection)
    if text.endswith(" WHERE 0 = 1"):  # take_write_lock(): it writes nothing
        return
    for write in writes(text, connection.vendor):
        table = write.table.casefold()
        why = _watched().get(table)
        if why is not None and table not in _captured.get() | _related(connection):
            raise _error(write, why)


def _text_of(statement: Any, connection: BaseDatabaseWrapper) -> str:
    if isinstance(statement, bytes):
        return statement.decode(errors="replace")
    if hasattr(statement, "as_string"):  # composed by psycopg
        return str(statement.as_string(connection.connection))
    return str(statement)


_OTHERWISE = (
    " If it is to have no event: with kinesis_bridge.allow_uncaptured()."
    f' ({SETTING}["STRICT"] is on.)'
)


def _error(write: Write, why: str) -> UncapturedWrite:
    # Not the statement: it may hold data.
    return UncapturedWrite(
        f"{write.verb} of table {write.table} is not captured, so it would have no event: {why}."
        f"{_OTHERWISE}"
    )
