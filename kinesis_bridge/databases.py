"""Which databases have an outbox; asked by the relay, by the status and by the commands."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections, router, transaction

from .exceptions import KinesisBridgeError
from .models import OutboxRecord
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator

UNREADABLE = (Error, ImproperlyConfigured)
"""What a database raises that cannot be reached, or whose settings name no engine."""


def outbox_databases(database: str | None = None) -> list[str]:
    """Return the aliases of the databases that have an outbox.

    They are those into which the routers let the outbox migrate and in which its table exists. One
    that cannot be reached is among them, since nobody knows what it has: whoever opens it is told.

    With `database` only that alias; raises ``ImproperlyConfigured`` where it has no outbox.
    """
    if database is None:
        return [alias for alias in connections if may_have_outbox(alias) and _has_outbox(alias)]
    if database not in connections:
        raise ImproperlyConfigured(
            Text(
                _("{key} has no {alias}; there are: {known}."),
                key="DATABASES",
                alias=repr(database),
                known=", ".join(map(repr, connections)),
            )
        )
    if not may_have_outbox(database):
        raise ImproperlyConfigured(
            Text(
                _(
                    "Database {database} has no outbox: a router's allow_migrate keeps"
                    " kinesis_bridge out of it. Choose another database, or let the router allow"
                    " it."
                ),
                database=repr(database),
            )
        )
    if not _has_outbox(database):
        raise ImproperlyConfigured(
            Text(
                _(
                    "Database {database} has no outbox: its tables are missing."
                    " Run: manage.py migrate --database {alias}"
                ),
                database=repr(database),
                alias=database,
            )
        )
    return [database]


def some_outbox_databases(database: str | None = None) -> list[str]:
    """Return :func:`outbox_databases`; raise ``ImproperlyConfigured`` where there are none."""
    if aliases := outbox_databases(database):
        return aliases
    raise ImproperlyConfigured(
        Text(_("No database has an outbox: its tables are missing. Run: manage.py migrate"))
    )


def may_have_outbox(alias: str) -> bool:
    """Tell whether the routers let the outbox's tables into a database."""
    return bool(router.allow_migrate_model(alias, OutboxRecord))


def missing_tables(alias: str) -> list[str]:
    """Return which tables of this app a database lacks; raises what the database raises."""
    there = _tables(alias)
    models = apps.get_app_config(OutboxRecord._meta.app_label).get_models()
    return [table for model in models if (table := model._meta.db_table) not in there]


@contextmanager
def reading(alias: str) -> Iterator[None]:
    """Let what fails in the block fail alone; to be caught around it.

    PostgreSQL answers nothing more in a transaction in which a query has failed, and its COMMIT
    rolls back. Where one is open (ATOMIC_REQUESTS), the block has a savepoint of its own.
    """
    open_already = connections[alias].in_atomic_block
    with transaction.atomic(using=alias) if open_already else nullcontext():
        yield


def why_unreadable(alias: str, error: Exception) -> str:
    """Say why a database could not be read: what `migrate` would make, else what it raised."""
    try:
        with reading(alias):
            missing = _missing(alias)
    except UNREADABLE:
        missing = []
    if not missing:
        return str(error).strip()
    return Text(
        _("It lacks {tables}. Run: manage.py migrate --database {database}"),
        tables=", ".join(missing),
        database=alias,
    )


def _missing(alias: str) -> list[str]:
    """Return the tables that a database lacks, and the columns, as ``table.column``."""
    lacking = missing_tables(alias)
    connection = connections[alias]
    with connection.cursor() as cursor:
        for model in apps.get_app_config(OutboxRecord._meta.app_label).get_models():
            table = model._meta.db_table
            if table not in lacking:
                there = connection.introspection.get_table_description(cursor, table)
                names = {column.name for column in there}
                wanted = (field.column for field in model._meta.concrete_fields)
                lacking += [f"{table}.{column}" for column in wanted if column not in names]
    return lacking


def _has_outbox(alias: str) -> bool:
    try:
        return OutboxRecord._meta.db_table in _tables(alias)
    except UNREADABLE:
        return True


def _tables(alias: str) -> set[str]:
    connection = connections[alias]
    with connection.cursor() as cursor:
        return set(connection.introspection.table_names(cursor))


@contextmanager
def explained(alias: str) -> Iterator[None]:
    """Raise KinesisBridgeError, with the alias, for what the database raises in the block."""
    try:
        yield
    except Error as error:
        said = _("Database {database} failed, and nothing was changed: {error}")
        raise KinesisBridgeError(
            Text(said, database=repr(alias), error=str(error).strip())
        ) from error
