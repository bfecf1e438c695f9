"""System checks of the outbox.

===========  ==================================================================================
E040         (database) a database that events are written to lacks the outbox's tables
E041         the alias of a stream with outbox delivery is too long for its column
===========  ==================================================================================
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Tags, register
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, router

from .check_messages import Error
from .conf import SETTING, find_problems, get_config
from .conf.types import DELIVERIES
from .databases import may_have_outbox, missing_tables
from .declarations import declarations
from .models import OutboxRecord
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Sequence


@register(Tags.database)
def check_outbox(databases: Sequence[str] | None = None, **_given: Any) -> list[CheckMessage]:
    """Return one error for each of `databases` that events are written to without tables."""
    aliases = _outbox_aliases()
    if not databases or not aliases or is_migrating():
        return []
    messages: list[CheckMessage] = []
    for database, writer in _written(aliases).items():
        if database not in databases:
            continue
        if not may_have_outbox(database):
            messages.append(
                Error(
                    Text(
                        _(
                            "{writer} to database {database}, and a router's allow_migrate keeps"
                            " the outbox's tables out of it: nothing could be published there."
                        ),
                        writer=writer,
                        database=repr(database),
                    ),
                    hint=Text(
                        _("Let the router allow kinesis_bridge, then: {command}"),
                        command=_migrate(database),
                    ),
                    id="kinesis_bridge.E040",
                )
            )
        elif missing := missing_tables(database):
            messages.append(
                Error(
                    Text(
                        _(
                            "{writer} to database {database}, which lacks the outbox's tables:"
                            " {tables}."
                        ),
                        writer=writer,
                        database=repr(database),
                        tables=", ".join(missing),
                    ),
                    hint=Text(_("Run: {command}"), command=_migrate(database)),
                    id="kinesis_bridge.E040",
                )
            )
    return messages


@register()
def check_outbox_aliases(**_given: Any) -> list[CheckMessage]:
    """Return one error for each alias that does not fit into its column."""
    longest = OutboxRecord._meta.get_field("stream").max_length or 0
    return [
        Error(
            Text(
                _("{key} has an alias of {count} characters: the outbox keeps {longest} at most."),
                key=f'{SETTING}["STREAMS"]["{alias}"]',
                count=len(alias),
                longest=longest,
            ),
            hint=Text(_("Give it a shorter alias; the stream's own name may stay as it is.")),
            id="kinesis_bridge.E041",
        )
        for alias in _outbox_aliases()
        if len(alias) > longest
    ]


def _outbox_aliases() -> set[str]:
    """Return the aliases of the streams with outbox delivery; none where the settings are wrong."""
    if find_problems():
        return set()
    paths = {DELIVERIES.get("outbox")}
    return {
        stream.alias
        for stream in get_config().streams.values()
        if stream.delivery == "outbox" or stream.delivery_class in paths
    }


def _written(aliases: set[str]) -> dict[str, Text]:
    """Return the databases whose outbox is written to, and by what."""
    written: dict[str, Text] = {}
    for declaration in declarations():
        if declaration.stream in aliases:
            database = router.db_for_write(declaration.model)
            said = Text(_("{label} is written"), label=declaration.label)
            written.setdefault(database, said)
    # Where publish() goes without using=. Kept out by a router, it is not meant to.
    if may_have_outbox(DEFAULT_DB_ALIAS):
        written.setdefault(DEFAULT_DB_ALIAS, Text(_("publish() writes")))
    return written


def _migrate(database: str) -> str:
    return f"manage.py migrate --database {database}"


def is_migrating() -> bool:
    """Tell whether ``migrate`` is asking.

    It runs the checks before it makes the tables: an error would keep it from making them, ever.
    Nothing that a check is given tells who asks; the command is found among its callers.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), migrate.Command):
            return True
        frame = frame.f_back
    return False
