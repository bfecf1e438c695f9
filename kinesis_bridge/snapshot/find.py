"""Which declaration a snapshot is of, and whether its events go by the outbox."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections, router
from django.utils.module_loading import import_string

from kinesis_bridge.conf import get_config
from kinesis_bridge.databases import missing_tables, outbox_databases
from kinesis_bridge.declarations import Declaration, declarations, declarations_of
from kinesis_bridge.delivery.outbox import OutboxDelivery
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db import models


def declaration_of(
    label: str,
    *,
    type: str | None = None,  # noqa: A002 - as in publishes()
    stream: str | None = None,
) -> Declaration:
    """Return the one declaration of a model, ``app_label.Model``, that fits.

    Raises SnapshotError where there is none or more than one, or where its stream's delivery is not
    the outbox; ImproperlyConfigured for a stream that the settings do not know.
    """
    model = _model(label)
    concrete = model._meta.concrete_model or model
    found = [one for one in declarations_of(concrete) if one.model is concrete]
    if not found:
        raise SnapshotError(_undeclared(concrete))
    fit = [one for one in found if type in {None, one.prefix} and stream in {None, one.stream}]
    if len(fit) != 1:
        said = (
            _("{label}: it is declared more than once. Choose by --type and --stream: {names}.")
            if fit
            else _(
                "{label}: none of its declarations fits. Choose by --type and --stream: {names}."
            )
        )
        raise SnapshotError(Text(said, label=concrete._meta.label, names=_listed(found)))
    _check_delivery(fit[0].stream)
    return fit[0]


def database_of(declaration: Declaration, database: str | None) -> str:
    """Return the alias of the database to read and write; raise where it has no outbox.

    Default: the one that the routers write the model to, since a replica keeps no locks.
    """
    alias = database or router.db_for_write(declaration.model)
    outbox_databases(alias)
    if missing := missing_tables(alias):
        raise SnapshotError(
            Text(
                _("Database {database} lacks {tables}. Run: manage.py migrate --database {alias}"),
                database=repr(alias),
                tables=", ".join(missing),
                alias=alias,
            )
        )
    features = connections[alias].features
    if features.has_select_for_update and not features.has_select_for_update_skip_locked:
        raise SnapshotError(
            Text(
                _(
                    "Database {database} knows no SKIP LOCKED: a snapshot needs PostgreSQL, MySQL"
                    " 8, MariaDB 10.6 or SQLite."
                ),
                database=repr(alias),
            )
        )
    return alias


def _model(label: str) -> type[models.Model]:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        known = sorted({one.label for one in declarations()})
        raise SnapshotError(
            Text(
                _("There is no model {label}. Write app_label.Model; declared are: {known}."),
                label=repr(label),
                known=", ".join(known) or Text(_("none")),
            )
        ) from None


def _undeclared(model: type[models.Model]) -> Text:
    label = model._meta.label
    parents = sorted({one.label for one in declarations_of(model)})
    if parents:
        return Text(
            _(
                "{label} is not declared, but {parents} is: its events are of that table. Run:"
                " manage.py kinesis_snapshot {first}"
            ),
            label=label,
            parents=reduce(_and, parents),
            first=parents[0],
        )
    said = _("{label} is not declared: nothing of it is published. See @publishes(...).")
    return Text(said, label=label)


def _and(one: str, other: str) -> str:
    return Text(_("{one} and {other}"), one=one, other=other)


def _listed(found: Sequence[Declaration]) -> str:
    return ", ".join(f"--type {one.prefix} --stream {one.stream}" for one in found)


def _check_delivery(alias: str) -> None:
    config = get_config().stream(alias)
    delivery = import_string(config.delivery_class)
    if not (isinstance(delivery, type) and issubclass(delivery, OutboxDelivery)):
        raise SnapshotError(
            Text(
                _(
                    'Stream {stream} has DELIVERY "{delivery}", and a snapshot needs the outbox:'
                    " only that keeps its events in order with those of changes made meanwhile. Set"
                    " {setting}."
                ),
                stream=repr(alias),
                delivery=config.delivery,
                setting=f'KINESIS_BRIDGE["STREAMS"]["{alias}"]["DELIVERY"] = "outbox"',
            )
        )
