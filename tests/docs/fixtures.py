"""What the blocks of the documents take for granted: names, models and rows."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import NotRequired, TypedDict

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, models
from django.db.models import Count, DecimalField, ExpressionWrapper, F, Q
from django.urls import path
from django.utils import timezone

from demo_project.shop import models as shop_models
from demo_project.shop.models import Customer, Order
from kinesis_bridge import event_context, get_client, get_session, publish, publishes
from kinesis_bridge.middleware import EventContextMiddleware
from kinesis_bridge.models import DeadLetter, RelayProcess
from kinesis_bridge.snapshot import Scope, declaration_of
from kinesis_bridge.snapshot.runs import new_runs

# Where the types of a schema are looked up: in the module that a block is run as.
shop_models.NotRequired = NotRequired


class Region(models.Model):
    code = models.CharField(max_length=2)

    class Meta:
        app_label = "docs"


class Buyer(models.Model):
    name = models.CharField(max_length=100)
    email = models.EmailField()
    region = models.ForeignKey(Region, null=True, on_delete=models.CASCADE)

    class Meta:
        app_label = "docs"


class Tag(models.Model):
    class Meta:
        app_label = "docs"


class OrderColumns(models.Model):
    """What the orders of the documents have, whose classes show only what matters there."""

    customer = models.ForeignKey(Buyer, on_delete=models.CASCADE, related_name="+")
    status = models.CharField(max_length=10)
    state = models.CharField(max_length=10)
    note = models.TextField(null=True)
    notes = models.TextField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    net = models.DecimalField(max_digits=10, decimal_places=2)
    tax = models.DecimalField(max_digits=10, decimal_places=2)
    placed = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)
    tags = models.ManyToManyField(Tag, related_name="+")
    labels = models.ManyToManyField(Tag, related_name="+")

    class Meta:
        abstract = True

    @property
    def label(self) -> str:
        return f"Order {self.pk}"


def names(arrived: list[bytes]) -> dict[str, object]:
    """Return what a block may use without importing it."""
    return {
        "__name__": "demo_project.shop.models",
        "models": SimpleNamespace(**{**vars(models), "Model": OrderColumns}),
        "KINESIS_BRIDGE": copy.deepcopy(settings.KINESIS_BRIDGE),
        "order": Order.objects.get(pk=1),
        "record": {"Data": arrived[0]} if arrived else None,
        "cursor": connection.cursor(),
        "page_somebody": print,
        "order_data": order_data,
        "Count": Count,
        "Customer": Customer,
        "Decimal": Decimal,
        "DecimalField": DecimalField,
        "EventContextMiddleware": EventContextMiddleware,
        "ExpressionWrapper": ExpressionWrapper,
        "F": F,
        "NotRequired": NotRequired,
        "Order": Order,
        "Q": Q,
        "TypedDict": TypedDict,
        "User": User,
        "dataclass": dataclass,
        "event_context": event_context,
        "get_client": get_client,
        "get_session": get_session,
        "path": path,
        "publish": publish,
        "publishes": publishes,
    }  # fmt: skip


def order_data(order: Order) -> dict[str, object]:
    return {"id": order.pk}


# Rows


def shop() -> None:
    """Make order 1, of customer 9."""
    customer = Customer.objects.create(pk=9, name="Ada", email="ada@example.com")
    Order.objects.create(pk=1, customer=customer, status="paid")


def dead_letters() -> None:
    """Make the dead letters 7 and 8."""
    DeadLetter.objects.all().delete()
    for number in (7, 8):
        DeadLetter.objects.create(
            pk=number, outbox_id=number, stream="default", lane=1, partition_key="9",
            event_id=f"e-{number}", payload=json.dumps({"id": number}).encode(),
            code="InvalidArgumentException", message="Too large.",
        )  # fmt: skip


def snapshot() -> None:
    """Make the unfinished snapshot 7."""
    (run,) = new_runs(Scope(declaration=declaration_of("shop.Order")), "default", 1)
    run.pk = 7
    run.save(force_insert=True)


def version_2() -> None:
    """Declare a second version of the order's events."""
    publishes("shop.order", fields=["id", "status"], version=2)(Order)


def a_relay() -> None:
    """Say that a relay runs."""
    now = timezone.now()
    RelayProcess.objects.all().delete()
    RelayProcess.objects.create(id="docs", host="web1", pid=1, started=now, seen=now)
