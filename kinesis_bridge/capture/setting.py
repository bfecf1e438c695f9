"""Tells triggers who and why: the context of now, as a setting of the transaction.

Before the first write of a transaction one ``set_config(..., is_local)`` goes to the database, and
another one only where the context has changed since; none where there is no context. It ends with
the transaction, so a pooler may give the connection to anybody else then.

It leans on a name inside Django: ``connection.run_on_commit`` is another list after each commit,
roll-back, and roll-back to a savepoint, which is when the database forgets the setting.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.backends.signals import connection_created

from kinesis_bridge.context import as_json, context_told

from .sql.event import SETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

_NONE = "{}"
_UID = "kinesis_bridge.capture.setting"
_SET = f"SELECT set_config('{SETTING}', %s, true)"
# A comment may stand before anything.
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|MERGE|WITH|COPY|CALL|DO|/\*|--)", re.IGNORECASE)


def start() -> None:
    """Watch every connection to PostgreSQL, those that are open and those to come."""
    connection_created.connect(_on_created, dispatch_uid=_UID)
    for connection in connections.all(initialized_only=True):
        _on_created(connection=connection)


def _on_created(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "postgresql" and not any(
        isinstance(wrapper, _Telling) for wrapper in connection.execute_wrappers
    ):
        connection.execute_wrappers.append(_Telling(connection))


class _Telling:
    """Goes around each statement of one connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._told: tuple[object, str] = (None, _NONE)
        """What was set, and what Django's list was then."""

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        if isinstance(sql, str) and not _WRITES.match(sql):
            return execute(sql, params, many, context)
        connection = self._connection
        text = as_json(context_told(connection.alias))
        if connection.in_atomic_block:
            self._tell(execute, text, context)
        elif text != _NONE:
            if connection.get_autocommit():
                with transaction.atomic(using=connection.alias):
                    self._tell(execute, text, context)
                    return execute(sql, params, many, context)
            # The site ends its transactions itself, and nobody says when.
            execute(_SET, [text], False, context)
        return execute(sql, params, many, context)

    def _tell(self, execute: Callable[..., Any], text: str, context: Any) -> None:
        connection = self._connection
        told_in, told = self._told
        if (told if told_in is connection.run_on_commit else _NONE) != text:
            execute(_SET, [text], False, context)
            self._told = (connection.run_on_commit, text)
