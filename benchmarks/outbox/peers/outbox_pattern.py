"""django-outbox-pattern: a decorator of the model, a publisher that speaks STOMP."""

from __future__ import annotations

from contextlib import suppress

from django.core.management import call_command
from django_outbox_pattern.choices import StatusChoice  # type: ignore[import-not-found]
from django_outbox_pattern.decorators import Config, publish  # type: ignore[import-not-found]
from django_outbox_pattern.models import Published  # type: ignore[import-not-found]
from django_outbox_pattern.producers import Producer  # type: ignore[import-not-found]

from benchmarks.outbox.peers.models import Order, row


@publish([Config(destination="/topic/orders")])
class Declared(Order):
    """Every save is published."""


def save(number: int) -> None:
    """A captured save."""
    Declared(**row(number)).save()


def warm() -> None:
    """Let the clock begin with nothing connected: the command connects for each round."""


def drain(count: int) -> int | None:  # noqa: ARG001 - others must know it
    """Run its command until it has nothing more to do and would wait."""

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    Producer._waiting = stop
    with suppress(SystemExit):  # its answer to the interrupt
        call_command("publish")
    return None


def left() -> int:
    """How many were not sent."""
    found: int = Published.objects.exclude(status=StatusChoice.SUCCEEDED).count()
    return found
