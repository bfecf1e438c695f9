"""Which databases have an outbox; asked by the relay, by the status and by the commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections, router

from .exceptions import KinesisBridgeError
from .models import OutboxRecord

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
        known = ", ".join(map(repr, connections))
        raise ImproperlyConfigured(f"DATABASES has no {database!r}; there are: {known}.")
    if not may_have_outbox(database):
        raise ImproperlyConfigured(
            f"Database {database!r} has no outbox: a router's allow_migrate keeps kinesis_bridge"
            " out of it. Choose another database, or let the router allow it."
        )
    if not _has_outbox(database):
        raise ImproperlyConfigured(
            f"Database {database!r} has no outbox: its tables are missing."
            f" Run: manage.py migrate --database {database}"
        )
    return [database]


def some_outbox_databases(database: str | None = None) -> list[str]:
    """Return :func:`outbox_databases`; raise ``ImproperlyConfigured`` where there are none."""
    if aliases := outbox_databases(database):
        return aliases
    raise ImproperlyConfigured(
        "No database has an outbox: its tables are missing. Run: manage.py migrate"
    )


def may_have_outbox(alias: str) -> bool:
    """Tell whether the routers let the outbox's tables into a database."""
    return bool(router.allow_migrate_model(alias, OutboxRecord))


def missing_tables(alias: str) -> list[str]:
    """Return which tables of this app a database lacks; raises what the database raises."""
    there = _tables(alias)
    models = apps.get_app_config(OutboxRecord._meta.app_label).get_models()
    return [table for model in models if (table := model._meta.db_table) not in there]


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
        raise KinesisBridgeError(
            f"Database {alias!r} failed, and nothing was changed: {str(error).strip()}"
        ) from error
