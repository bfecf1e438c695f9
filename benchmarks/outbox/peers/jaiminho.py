"""django-jaiminho: a decorated function is called later, by the relay."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from jaiminho.models import Event  # type: ignore[import-not-found]
from jaiminho.send import save_to_outbox  # type: ignore[import-not-found]

from benchmarks.outbox.peers import kinesis
from benchmarks.outbox.peers.models import Bare, row


@save_to_outbox
def publish(payload: dict[str, Any]) -> None:
    """Tell that an order was saved."""
    kinesis.put(payload)


def save(number: int) -> None:
    """A captured save."""
    values = row(number)
    order = Bare(**values)
    order.save()
    publish({"id": order.pk, **values})


warm = kinesis.warm


def drain(count: int) -> int | None:  # noqa: ARG001 - others must know it
    """Run its command, which ends when all is sent."""
    call_command("events_relay")
    return None


def left() -> int:
    """How many were not sent; those sent are deleted."""
    found: int = Event.objects.count()
    return found
