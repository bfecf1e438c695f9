"""The row that is saved: the same fields as ours has in ``benchmarks.outbox.app``."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.db import models


class Order(models.Model):
    """The fields of all."""

    customer = models.IntegerField()
    status = models.CharField(max_length=20)
    total = models.DecimalField(max_digits=10, decimal_places=2)
    note = models.CharField(max_length=100)

    class Meta:
        abstract = True


class Bare(Order):
    """Nobody is told."""


def row(number: int) -> dict[str, Any]:
    """The values of a row."""
    return {"customer": number % 100, "status": "new", "total": 9, "note": "x" * 60}


# It may declare a model, and receivers that must be known before the first event.
import_module(f"benchmarks.outbox.peers.{settings.PEER.module}")
