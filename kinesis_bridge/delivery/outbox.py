"""``outbox``: a row beside the model's own, in the same transaction; the relay sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from kinesis_bridge.conf.options import Option
from kinesis_bridge.exceptions import EventError

from .base import Delivery

if TYPE_CHECKING:
    from kinesis_bridge.event import Event

MAX_ID_CHARACTERS = 255


class OutboxDelivery(Delivery):
    """Committed means published, at least once and in the order of the key, whatever dies.

    Needs ``manage.py migrate`` and a running ``manage.py kinesis_relay``.
    """

    transactional = True
    options = (
        Option(
            name="POISON",
            default="skip",
            choices=("skip", "block"),
            help="What an event that can never pass does to its key: skip lets the others pass,"
            " block holds them back until it is requeued or discarded.",
        ),
    )

    def deliver(self, event: Event, payload: bytes, using: str) -> None:
        """Write the event with the transaction that is open on database `using`."""
        # Not at the top: models may be imported only once the apps are there.
        from kinesis_bridge.models import lane_of  # noqa: PLC0415

        from .precommit import Row, add  # noqa: PLC0415

        if len(event.id) > MAX_ID_CHARACTERS:
            raise EventError(
                f"The event's id has {len(event.id)} characters and the outbox keeps"
                f" {MAX_ID_CHARACTERS}: leave it out, and it is a UUIDv7."
            )
        lane = lane_of(event.stream, event.key)
        row = Row(event.stream, lane, event.key, payload, event.id)
        add(connections[using], row)
