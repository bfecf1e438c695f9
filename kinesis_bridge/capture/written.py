"""The events that triggers wrote within a block of a test: read back from the outbox.

They are rows of the transaction under test: what is rolled back is not among them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from django.db import connections, router
from django.db.models import Max

from kinesis_bridge.context import Context
from kinesis_bridge.declarations import declarations
from kinesis_bridge.event import Event
from kinesis_bridge.models import OutboxRecord

_OWN = {
    "specversion", "id", "type", "source", "time", "datacontenttype", "dataschema", "partitionkey",
    "subject", "data",
}  # fmt: skip


class Written:
    """What triggers write from now on, on the databases that are open."""

    def __init__(self) -> None:
        found = {router.db_for_write(one.model) for one in declarations() if _has_triggers(one)}
        aliases = [alias for alias in found if connections[alias].vendor == "postgresql"]
        # Of one that is not open nothing is known: who opens it in the block writes to it first.
        self._after = {
            alias: _last(alias) if connections[alias].connection is not None else 0
            for alias in aliases
        }
        self._types = {one.prefix for one in declarations() if _has_triggers(one)}
        self._ended: list[Event] | None = None

    def events(self) -> list[Event]:
        """Return them, in their order; once the block has ended those of its end."""
        if self._ended is not None:
            return self._ended
        return [event for alias, after in self._after.items() for event in self._of(alias, after)]

    def end(self) -> None:
        """Keep those of now: the test's transaction is about to be rolled back."""
        self._ended = self.events()

    def _of(self, alias: str, after: int) -> list[Event]:
        if connections[alias].connection is None:
            return []
        rows = OutboxRecord.objects.using(alias).filter(id__gt=after).order_by("id")
        events = [_event(row) for row in rows]
        return [event for event in events if event.type.rpartition(".")[0] in self._types]


def _has_triggers(declaration: Any) -> bool:
    return bool(declaration.capture == "triggers")


def _last(alias: str) -> int:
    return OutboxRecord.objects.using(alias).aggregate(last=Max("id"))["last"] or 0


def _event(row: OutboxRecord) -> Event:
    body = orjson.loads(bytes(row.payload))
    context = {name: value for name, value in body.items() if name not in _OWN}
    return Event(
        id=row.event_id,
        type=body["type"],
        source=body["source"],
        subject=body.get("subject"),
        time=datetime.fromisoformat(body["time"]),
        key=row.partition_key,
        data=body["data"],
        stream=row.stream,
        dataschema=body.get("dataschema"),
        context=Context(context) if context else None,
    )
