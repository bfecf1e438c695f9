"""System checks of ``capture="triggers"``.

===========  ==================================================================================
E070         only Python can compute what is to be published
E071         the stream's delivery is not the outbox, which is where triggers write
E072         (database) triggers are missing, of an older declaration, or disabled
W070         the model's database is not PostgreSQL: nothing of it is published there
W071         the triggers' migrations would be written into an app that is not the site's
===========  ==================================================================================
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Tags, register
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, router
from django.utils.module_loading import import_string

from .capture.sql.event import EventSql
from .capture.sql.values import OnlyInPython
from .check_messages import Error
from .check_messages import Warning as CheckWarning
from .conf import SETTING, find_problems, get_config
from .declaration_checks import where_is
from .declarations import declarations
from .delivery.outbox import OutboxDelivery
from .outbox_checks import is_migrating
from .words import Text, joined, text_of
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .declarations import Declaration

_SHOWN = 3


def _triggered() -> list[Declaration]:
    """Return the declarations with triggers; none where the settings cannot be used."""
    if find_problems():
        return []
    known = get_config().streams
    found = [one for one in declarations() if one.capture == "triggers"]
    return [one for one in found if one.stream in known]


@register()
def check_triggers(**_given: Any) -> list[CheckMessage]:
    """Return what keeps a declaration from being captured by triggers."""
    return [message for declaration in _triggered() for message in _check(declaration)]


def _check(declaration: Declaration) -> Iterator[CheckMessage]:
    where = where_is(declaration.type, declaration)
    try:
        EventSql(declaration, lambda _error, message: message, "NULL")
    except OnlyInPython as error:
        yield Error(
            Text(
                _(
                    '{where}: capture="triggers", and PostgreSQL cannot compute what is to be'
                    " published: {error}."
                ),
                where=where,
                error=text_of(error),
            ),
            hint=Text(
                _(
                    "Leave it out, or say it by a field, a path, an expression or a Q; or choose"
                    ' capture="signals".'
                )
            ),
            obj=declaration.model,
            id="kinesis_bridge.E070",
        )
    except FieldDoesNotExist:  # said by E030 and its like
        return
    if not _has_outbox(declaration):
        delivery = get_config().stream(declaration.stream).delivery
        right = f'{SETTING}["STREAMS"]["{declaration.stream}"]["DELIVERY"] = "outbox"'
        yield Error(
            Text(
                _(
                    '{where}: capture="triggers" writes into the outbox, and stream {stream} has'
                    " DELIVERY {delivery}."
                ),
                where=where,
                stream=repr(declaration.stream),
                delivery=repr(delivery),
            ),
            hint=right,
            obj=declaration.model,
            id="kinesis_bridge.E071",
        )
    database = router.db_for_write(declaration.model)
    if connections[database].vendor != "postgresql":
        yield CheckWarning(
            Text(
                _(
                    '{where}: capture="triggers" needs PostgreSQL, and the model is written to'
                    " database {database} ({vendor}): nothing of it is published there."
                ),
                where=where,
                database=repr(database),
                vendor=connections[database].vendor,
            ),
            hint=Text(
                _('Use PostgreSQL for {database}, or capture="signals".'), database=repr(database)
            ),
            obj=declaration.model,
            id="kinesis_bridge.W070",
        )
    app = apps.get_app_config((declaration.proxy or declaration.model)._meta.app_label)
    if Path(app.path).is_relative_to(sysconfig.get_path("purelib")):
        yield CheckWarning(
            Text(
                _(
                    '{where}: capture="triggers", and makemigrations would write the triggers into'
                    " {app}, which is installed and not the site's own."
                ),
                where=where,
                app=app.name,
            ),
            hint=Text(_("Decorate a proxy in an app of yours: its Meta has proxy = True.")),
            obj=declaration.model,
            id="kinesis_bridge.W071",
        )


def _has_outbox(declaration: Declaration) -> bool:
    delivery = import_string(get_config().stream(declaration.stream).delivery_class)
    return isinstance(delivery, type) and issubclass(delivery, OutboxDelivery)


@register(Tags.database)
def check_installed(databases: Sequence[str] | None = None, **_given: Any) -> list[CheckMessage]:
    """Return one error for each declaration whose triggers are not those of `databases`."""
    found = _triggered()
    if not databases or not found or is_migrating():
        return []
    return [
        Error(
            joined(": ", [where_is(declaration.type, declaration), wrong]),
            hint=Text(
                _(
                    "Run: manage.py makemigrations, then: manage.py migrate --database {database}."
                    " For what was disabled or dropped past the migrations: manage.py pgtrigger"
                    " install --database {database}"
                ),
                database=database,
            ),
            obj=declaration.model,
            id="kinesis_bridge.E072",
        )
        for declaration in found
        if (database := router.db_for_write(declaration.model)) in databases
        and (wrong := drift_of(declaration, database))
    ]


def drift_of(declaration: Declaration, database: str) -> Text:
    """Return in words what is wrong with its triggers in `database`; empty if nothing is.

    Raises what the database raises.
    """
    if connections[database].vendor != "postgresql" or any(
        message.id == "kinesis_bridge.E070" for message in _check(declaration)
    ):
        return Text("")
    from .capture.triggers import drift  # noqa: PLC0415 - pgtrigger is an extra

    wrong = drift(declaration, database)
    if not wrong:
        return Text("")
    shown = list(wrong.items())[:_SHOWN]
    some = (Text("{name} ({state})", name=name, state=Text(state)) for name, state in shown)
    rest = len(wrong) - _SHOWN
    return Text(
        _(
            "its triggers in database {database} are not those of the declaration, so changes are"
            " lost or wrong: {some}{more}."
        ),
        database=repr(database),
        some=joined(", ", some),
        more=Text(_(" and {count} more"), count=rest) if rest > 0 else "",
    )
