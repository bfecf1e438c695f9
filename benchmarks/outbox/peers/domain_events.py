"""django-domain-events: typed events, fired; receivers, called by the relay."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.core.management import call_command
from django_domain_events import (  # type: ignore[import-not-found]
    DURABLE,
    event,
    fire,
    receiver,
)

from benchmarks.outbox.peers import kinesis
from benchmarks.outbox.peers.models import Bare, row

_BATCH = 50  # its default


@event
@dataclass(frozen=True, slots=True)
class OrderSaved:
    """An order was saved."""

    id: int
    customer: int
    status: str
    total: int
    note: str


@receiver(OrderSaved, mode=DURABLE)
def publish(saved: OrderSaved) -> None:
    """Tell it."""
    kinesis.put(asdict(saved))


def save(number: int) -> None:
    """A captured save."""
    values = row(number)
    order = Bare(**values)
    order.save()
    fire(OrderSaved(id=order.pk, **values))


warm = kinesis.warm


def drain(count: int) -> int | None:
    """Run its relay for as many batches as there are."""
    call_command("deliver_events", passes=-(-count // _BATCH))
    return None


def left() -> int:
    """How many were not delivered."""
    from django_domain_events.models import DeliveryRecord  # type: ignore[import-not-found]
    from django_domain_events.types.delivery_status import (  # type: ignore[import-not-found]
        DeliveryStatus,
    )

    found: int = DeliveryRecord.objects.exclude(status=DeliveryStatus.SUCCEEDED).count()
    return found
