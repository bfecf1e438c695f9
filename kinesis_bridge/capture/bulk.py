"""Writes of many rows of a declared model at once: wraps Django's own methods, once for all.

Whatever manager or queryset class a model has, its writes end in these; a model that is not
declared pays for a look into a dictionary. Deletes need nothing: a receiver of ``post_delete`` ends
Django's fast deletes.
"""

from __future__ import annotations

from functools import wraps

from django.db import models
from django.db.models import sql
from django.db.models.deletion import Collector

from .deleting import note_collector
from .inserts import capture_bulk_create
from .updates import capture_update, capture_update_batch


def start() -> None:
    """Wrap the methods; a second call changes nothing."""
    for owner, name, wrap in (
        (models.QuerySet, "update", capture_update),
        (models.QuerySet, "bulk_create", capture_bulk_create),
        (sql.UpdateQuery, "update_batch", capture_update_batch),
        (Collector, "delete", note_collector),
    ):
        method = getattr(owner, name)
        if not getattr(method, "_kinesis_bridge", False):
            wrapper = wraps(method)(wrap(method))
            wrapper._kinesis_bridge = True  # type: ignore[attr-defined]  # noqa: SLF001 - our mark
            setattr(owner, name, wrapper)
