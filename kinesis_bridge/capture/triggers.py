"""Triggers of PostgreSQL that write the events of a declared table, whoever writes the table.

Made with ``django-pgtrigger`` (the extra ``triggers``), which puts them into migrations: a changed
declaration, or a setting that stands in the events, is a migration to make.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pgtrigger
from pgtrigger import compiler
from pgtrigger.core import INSTALLED, OUTDATED, UNINSTALLED

from kinesis_bridge.declarations import declarations, declared
from kinesis_bridge.words import marked as _

from . import setting
from .sql.event import NOTIFY, SETTING
from .sql.update import SEPARATOR, UpdateSql, needs_old_rows
from .sql.values import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db import models

    from kinesis_bridge.declarations import Declaration
    from kinesis_bridge.exceptions import EventError

_OLD, _NEW = "kinesis_bridge_old", "kinesis_bridge_new"
_MOVED = "'kinesis_bridge.moved_' || TG_RELID"
"""A setting of the transaction: an update of that table gave rows other primary keys."""
_MOST_NAME = 40  # of pgtrigger's 47, with what it is for


def refused(_kind: type[EventError], message: str) -> str:
    """Return SQL that fails with the message that the SQL `message` makes: a DataError."""
    return f"kinesis_bridge_refuse({message})"


class EventTriggerSql(compiler.UpsertTriggerSql):  # type: ignore[misc]  # it has no types
    """What installs a trigger; migrations name it by its path.

    As pgtrigger's own, but for its ``ignore()``, which would lose events and costs each statement
    a savepoint.
    """

    def get_template(self) -> str:
        """Return the first version of the template: migrations that were made rely on it."""
        return """
            CREATE OR REPLACE FUNCTION kinesis_bridge_refuse(message text)
            RETURNS text AS $kinesis_bridge$
                BEGIN
                    RAISE EXCEPTION USING MESSAGE = message, ERRCODE = '22023';
                END;
            $kinesis_bridge$ LANGUAGE plpgsql;

            CREATE OR REPLACE FUNCTION {pgid}()
            RETURNS TRIGGER AS $kinesis_bridge$
                BEGIN
                    {func}
                    RETURN NULL;
                END;
            $kinesis_bridge$ LANGUAGE plpgsql;

            DROP TRIGGER IF EXISTS {pgid} ON {table};
            CREATE TRIGGER {pgid}
                {when} {operation} ON {table}
                {referencing}
                FOR EACH {level} {condition}
                EXECUTE FUNCTION {pgid}();

            COMMENT ON TRIGGER {pgid} ON {table} IS '{hash}';
        """


class EventTrigger(pgtrigger.Trigger):  # type: ignore[misc]
    """Writes the events of one kind of statement."""

    when = pgtrigger.After
    level = pgtrigger.Statement

    def __init__(self, declaration: Declaration, **given: Any) -> None:
        self.declaration = declaration
        purpose = str(given["name"])
        super().__init__(**given | {"name": f"{_name_of(declaration)}_{purpose}"})

    def compile(self, model: type[models.Model]) -> compiler.Trigger:
        """Return what a migration holds: `model` may be one that only a migration knows."""
        table = self.declaration.model._meta.db_table
        return compiler.Trigger(
            name=self.name,
            sql=EventTriggerSql(
                pgid=self.get_pgid(model),
                func=self._body(),
                table=table,
                when=self.when,
                operation=self.operation,
                referencing=self.referencing or "",
                level=self.level,
                condition=self.render_condition(model),
            ),
        )

    def _events(self) -> UpdateSql:
        # Made when it is asked for: all models must be there.
        return UpdateSql(self.declaration, refused, f"current_setting('{SETTING}', true)")

    def _body(self) -> str:
        events = self._events()
        match str(self.operation):
            case "INSERT":
                body = _told(events.insert(_NEW, "created"))
            case "DELETE":
                body = _told(events.insert(_OLD, "deleted"))
            case _:
                body = _update(events)
        return body


class _MovedTrigger(EventTrigger):
    """Notes that an update gave a row another primary key: the old row is deleted, to consumers.

    Only where the update's own trigger does not see the rows as they were. It costs nothing where
    no primary key changes.
    """

    level = pgtrigger.Row

    def _body(self) -> str:
        events = self._events()
        noted = f"coalesce(current_setting({_MOVED}, true), '') || {SEPARATOR}"
        note = f"PERFORM set_config({_MOVED}, {noted} || ({events.subject('NEW')}), true);"
        if "deleted" not in self.declaration.on:
            return note
        return f"{events.insert('(SELECT OLD.*)', 'deleted')};\n{note}"


def _told(insert: str) -> str:
    return f"{insert};\nIF FOUND THEN PERFORM {NOTIFY}; END IF;"


def _update(events: UpdateSql) -> str:
    if events.needs_old_rows:
        return _told(events.insert_changes(_OLD, _NEW))
    # Most updates leave every row its primary key: then no row is compared with what it was.
    noted = f"current_setting({_MOVED}, true)"
    moved = f"{_told(events.insert_moved(_NEW, noted))}\nPERFORM set_config({_MOVED}, '', true);"
    plain = _told(events.insert(_NEW, "updated"))
    return f"IF {noted} <> '' THEN\n{moved}\nELSE\n{plain}\nEND IF;"


def triggers_of(declaration: Declaration) -> Iterator[EventTrigger]:
    """Yield the triggers of a declaration: those that its changes need."""
    on, has_old = declaration.on, needs_old_rows(declaration)
    old, new = pgtrigger.Referencing(old=_OLD), pgtrigger.Referencing(new=_NEW)
    if "created" in on:
        yield EventTrigger(declaration, name="insert", operation=pgtrigger.Insert, referencing=new)
    if "deleted" in on:
        yield EventTrigger(declaration, name="delete", operation=pgtrigger.Delete, referencing=old)
    # Of an update something may be created or deleted, too: it may change what a row is.
    both = pgtrigger.Referencing(old=_OLD, new=_NEW) if has_old else new
    yield EventTrigger(declaration, name="update", operation=pgtrigger.Update, referencing=both)
    if not has_old:
        pk = declaration.model._meta.pk_fields
        names = [quoted(str(field.column)) for field in pk]
        differs = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in names)
        yield _MovedTrigger(
            declaration,
            name="moved",
            operation=pgtrigger.UpdateOf(*(str(field.column) for field in pk)),
            condition=pgtrigger.Condition(differs),
        )


def _name_of(declaration: Declaration) -> str:
    """Return what the names of its triggers begin with: of its type, and short enough."""
    plain = re.sub(r"[^a-z0-9]+", "_", declaration.prefix.lower()).strip("_")
    if len(plain) > _MOST_NAME - len("kinesis_"):
        digest = hashlib.sha256(declaration.prefix.encode()).hexdigest()[:8]
        plain = f"{plain[: _MOST_NAME - len('kinesis_') - 9]}_{digest}"
    return f"kinesis_{plain}"


def start() -> None:
    """Register the triggers of every model declared so far, and of each that is from now on."""
    setting.start()
    declared.connect(_on_declared, dispatch_uid="kinesis_bridge.capture.triggers")
    for declaration in declarations():
        _on_declared(declaration=declaration)


def _on_declared(*, declaration: Declaration, **_given: object) -> None:
    if declaration.capture == "triggers":
        register(declaration)


def register(declaration: Declaration) -> None:
    """Make pgtrigger, and so the migrations, know the triggers of a declaration."""
    for trigger in triggers_of(declaration):
        trigger.register(declaration.proxy or declaration.model)


def drift(declaration: Declaration, using: str) -> dict[str, str]:
    """Return what is wrong with the triggers in database `using`: by their names in it.

    ``missing``, ``of another declaration`` (that, or a setting that stands in the events, was
    changed since the last migration) or ``disabled``. Raises what the database raises.
    """
    model = declaration.proxy or declaration.model
    found: dict[str, str] = {}
    for trigger in triggers_of(declaration):
        status, enabled = trigger.get_installation_status(model, database=using)
        if status == UNINSTALLED:
            state = _("missing")
        elif status == OUTDATED:
            state = _("of another declaration")
        elif status == INSTALLED and not enabled:
            state = _("disabled")
        else:
            continue
        found[trigger.get_pgid(model)] = state
    return found
