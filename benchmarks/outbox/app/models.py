"""The same row: not declared, declared, by triggers, and with the least that a trigger can do."""

from django.db import models

from kinesis_bridge import publishes


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


@publishes("bench.order", key="customer", fields=["id", "customer", "status", "total", "note"])
class Declared(Order):
    """Every change is published."""


@publishes(
    "bench.triggered",
    key="customer",
    fields=["id", "customer", "status", "total", "note"],
    capture="triggers",
)
class Triggered(Order):
    """Every change is published by the database."""


class Floor(Order):
    """Its triggers write a constant: see ``benchmarks.outbox.floor``."""
