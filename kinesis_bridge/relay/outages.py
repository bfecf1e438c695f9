"""The streams' last outages in words: rows for those who look from outside the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from kinesis_bridge.models import Stream, StreamQuerySet

from .statistics import tolerated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .outage import Outage, StreamState


class Outages:
    """Writes what the states of the streams are: each outage while it lasts, and its end once."""

    def __init__(self, states: Sequence[StreamState]) -> None:
        self._states = states
        self._told: dict[tuple[str, str], Outage] = {}

    def write(self, databases: Iterable[str]) -> None:
        """Tell each database which streams take no events, and which of them take events again."""
        working = [state.alias for state in self._states if state.has_worked()]
        for database in databases:
            with tolerated(database):
                for state in self._states:
                    self._write(database, state)
                if working:
                    # Where a relay died amid an outage, nobody else would end it.
                    lasting = Stream.objects.using(database).filter(
                        alias__in=working, began__isnull=False, ended=None
                    )
                    lasting.update(ended=timezone.now())

    def _write(self, database: str, state: StreamState) -> None:
        outage, place = state.last, (database, state.alias)
        if outage is None or (outage.ended and self._told.get(place) == outage):
            return
        with transaction.atomic(using=database):
            row = StreamQuerySet(Stream, using=database).locked(state.alias)
            # Other relays meet the same one: it began when the first of them did.
            lasts = row.began is not None and row.ended is None
            row.began = min(row.began, outage.began) if lasts and row.began else outage.began
            row.ended = outage.ended
            row.outage, row.side = outage.error.name, outage.error.side
            row.cause, row.fix = str(outage.error.message), str(outage.error.hint)
            row.save(
                using=database,
                update_fields=["began", "ended", "outage", "side", "cause", "fix"],
            )
        self._told[place] = outage
