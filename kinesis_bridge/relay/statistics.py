"""What a relay did, for its own end and, every few seconds, for everybody: rows of statistics."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import Error, IntegrityError, connections, transaction
from django.db.models import F
from django.utils import timezone

from kinesis_bridge.models import RelayProcess, StreamStatistic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .store import Store

logger = logging.getLogger("kinesis_bridge.relay")

SECONDS_A_ROW = 10
KEPT = timedelta(hours=24)
KEPT_RELAYS = timedelta(hours=1)


@contextmanager
def tolerated(database: str) -> Iterator[None]:
    """Let the database fail in the block: what is told there is told again in a moment."""
    try:
        yield
    except Error as error:
        logger.debug("Nothing told to database %s: %s", database, error)
        connections[database].close()


@dataclass
class Totals:
    """What a relay did since it started."""

    sent: int = 0
    dead_lettered: int = 0
    retried: int = 0
    """Rows that stayed for another batch."""
    batches: int = 0


class Statistics:
    """Counts batches, and adds them to the rows of its databases."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._lock = threading.Lock()
        self._rows: defaultdict[str, Counter[tuple[str, datetime, str]]] = defaultdict(Counter)

    def count(
        self,
        store: Store,
        *,
        sent: int,
        size: int,
        dead: int,
        rows: int,
        began: float,
        more: Mapping[str, int] | None = None,
    ) -> None:
        """Add one batch: `rows` read, of which `sent` went and `dead` never will.

        `more` are further fields of StreamStatistic to be added to.
        """
        ago = timedelta(seconds=time.monotonic() - began)
        start = _start(timezone.now() - ago)
        left = rows - sent - dead
        with self._lock:
            self.totals.batches += 1
            self.totals.sent += sent
            self.totals.dead_lettered += dead
            self.totals.retried += left
            counter = self._rows[store.database]
            for name, number in (
                ("sent", sent),
                ("bytes", size),
                ("retried", left),
                ("dead_lettered", dead),
                *(more or {}).items(),
            ):
                if number:
                    counter[store.stream, start, name] += number

    def write(self, databases: Iterable[str]) -> None:
        """Write what was counted since the last time."""
        for database in databases:
            with self._lock:
                counted = self._rows.pop(database, Counter())
            try:
                with tolerated(database):
                    self._write(database, counted)
            finally:
                if counted:  # not written: next time
                    with self._lock:
                        self._rows[database].update(counted)

    def _write(self, database: str, counted: Counter[tuple[str, datetime, str]]) -> None:
        now = timezone.now()
        rows: defaultdict[tuple[str, datetime], dict[str, int]] = defaultdict(dict)
        for (stream, start, name), number in counted.items():
            rows[stream, start][name] = number
        statistics = StreamStatistic.objects.using(database)
        for (stream, start), numbers in rows.items():
            added = {name: F(name) + number for name, number in numbers.items()}
            if not statistics.filter(stream=stream, start=start).update(**added):
                try:
                    with transaction.atomic(using=database):
                        statistics.create(stream=stream, start=start, **numbers)
                except IntegrityError:  # another relay was first
                    statistics.filter(stream=stream, start=start).update(**added)
            for name in numbers:  # written: not once more, should the next row fail
                del counted[stream, start, name]
        statistics.filter(start__lt=now - KEPT).delete()
        RelayProcess.objects.using(database).filter(seen__lt=now - KEPT_RELAYS).delete()


def _start(moment: datetime) -> datetime:
    second = moment.second - moment.second % SECONDS_A_ROW
    return moment.replace(second=second, microsecond=0)
