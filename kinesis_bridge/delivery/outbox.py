"""``outbox``: a row beside the model's own, in the same transaction; the relay sends it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from kinesis_bridge.conf.options import Option
from kinesis_bridge.exceptions import EventError

from .base import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from kinesis_bridge.event import Event

    from .coalesce import LateRow

MAX_ID_CHARACTERS = 255


class OutboxDelivery(Delivery):
    """Committed means published, at least once and in the order of the key, whatever dies.

    Needs ``manage.py migrate`` and a running ``manage.py kinesis_relay``.
    """

    transactional = True
    coalesces = True
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
        self.deliver_all([(event, payload)], using)

    def deliver_all(self, events: Sequence[tuple[Event, bytes]], using: str) -> None:
        """Write the events with the transaction that is open on database `using`."""
        for event, _ in events:
            if len(event.id) > MAX_ID_CHARACTERS:
                raise EventError(
                    f"The event's id has {len(event.id)} characters and the outbox keeps"
                    f" {MAX_ID_CHARACTERS}: leave it out, and it is a UUIDv7."
                )
        self._precommit.add(events, using)

    def deliver_rows(self, rows: Sequence[LateRow], using: str) -> None:
        """Write what the events become with the transaction that is open on database `using`."""
        self._precommit.add_rows(rows, using)

    def deliver_late(self, make: Callable[[], tuple[Event, bytes]], using: str) -> bool:
        """Write what `make` returns just before the commit, if there is to be one."""
        return bool(self._precommit.add_late(make, using))

    @cached_property
    def _precommit(self) -> ModuleType:
        # Not at the top: models may be imported only once the apps are there.
        from . import precommit  # noqa: PLC0415

        return precommit
