"""django-celery-outbox: a Celery app whose tasks wait in a table until the relay sends them."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import structlog  # type: ignore[import-not-found]
from django.core.management import call_command
from django_celery_outbox import OutboxCelery  # type: ignore[import-not-found]

from benchmarks.outbox.peers.models import Bare, row

_QUEUE = "celery"

# structlog prints every message unless told otherwise.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

celery = OutboxCelery("bench", broker="memory://")


def save(number: int) -> None:
    """A captured save."""
    values = row(number)
    order = Bare(**values)
    order.save()
    celery.send_task("orders.saved", kwargs={"id": order.pk, **values})


def warm() -> None:
    """Have a connection to the broker, and its queue."""
    with celery.connection_for_write() as connection:
        connection.default_channel.queue_declare(_QUEUE)


def drain(count: int) -> int | None:
    """Run its relay until all is sent; what the broker then has."""
    from django_celery_outbox.signals import (  # type: ignore[import-not-found]
        outbox_message_sent,
    )

    sent = 0

    def stop(**_: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == count:  # it ends when it has removed the batch
            os.kill(os.getpid(), signal.SIGTERM)

    outbox_message_sent.connect(stop)
    call_command("celery_outbox_relay", idle_time=0)
    with celery.connection_for_write() as connection:
        _, messages, _ = connection.default_channel.queue_declare(_QUEUE, passive=True)
    arrived: int = messages
    return arrived


def left() -> int:
    """How many were not sent; those sent are deleted."""
    from django_celery_outbox.models import CeleryOutbox  # type: ignore[import-not-found]

    found: int = CeleryOutbox.objects.count()
    return found
