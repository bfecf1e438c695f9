"""Which declaration a snapshot is of, and whether its events go by the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections, router
from django.utils.module_loading import import_string

from kinesis_bridge.conf import get_config
from kinesis_bridge.databases import missing_tables, outbox_databases
from kinesis_bridge.declarations import Declaration, declarations, declarations_of
from kinesis_bridge.delivery.outbox import OutboxDelivery

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
    fit = [one for one in found if type in {None, one.type} and stream in {None, one.stream}]
    if len(fit) != 1:
        what = "none of its declarations fits" if not fit else "it is declared more than once"
        raise SnapshotError(
            f"{concrete._meta.label}: {what}. Choose by --type and --stream: {_listed(found)}."
        )
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
            f"Database {alias!r} lacks {', '.join(missing)}."
            f" Run: manage.py migrate --database {alias}"
        )
    features = connections[alias].features
    if features.has_select_for_update and not features.has_select_for_update_skip_locked:
        raise SnapshotError(
            f"Database {alias!r} knows no SKIP LOCKED: a snapshot needs PostgreSQL, MySQL 8,"
            " MariaDB 10.6 or SQLite."
        )
    return alias


def _model(label: str) -> type[models.Model]:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        known = sorted({one.label for one in declarations()})
        raise SnapshotError(
            f"There is no model {label!r}. Write app_label.Model; declared are:"
            f" {', '.join(known) or 'none'}."
        ) from None


def _undeclared(model: type[models.Model]) -> str:
    parents = sorted({one.label for one in declarations_of(model)})
    if parents:
        return (
            f"{model._meta.label} is not declared, but {' and '.join(parents)} is: its events are"
            f" of that table. Run: manage.py kinesis_snapshot {parents[0]}"
        )
    return f"{model._meta.label} is not declared: nothing of it is published. See @publishes(...)."


def _listed(found: Sequence[Declaration]) -> str:
    return ", ".join(f"--type {one.type} --stream {one.stream}" for one in found)


def _check_delivery(alias: str) -> None:
    config = get_config().stream(alias)
    delivery = import_string(config.delivery_class)
    if not (isinstance(delivery, type) and issubclass(delivery, OutboxDelivery)):
        raise SnapshotError(
            f'Stream {alias!r} has DELIVERY "{config.delivery}", and a snapshot needs the outbox:'
            " only that keeps its events in order with those of changes made meanwhile. Set"
            f' KINESIS_BRIDGE["STREAMS"]["{alias}"]["DELIVERY"] = "outbox".'
        )
