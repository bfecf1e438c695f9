"""What waits, what failed and who works, for each database and stream. Reads only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models import Count, Q
from django.utils import timezone

from .conf import get_config
from .databases import UNREADABLE, reading, some_outbox_databases, why_unreadable
from .models import (
    DeadLetter,
    Lane,
    OutboxQuerySet,
    OutboxRecord,
    RelayProcess,
    Stream,
    sent_since,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from .conf import BridgeConfig

ALIVE = timedelta(seconds=15)
"""A relay that said nothing for longer is taken for dead; it says something every 5 seconds."""
MINUTE = timedelta(minutes=1)
OLD_SECONDS = 300.0
"""What waits longer than this while a relay runs is not only slow: somebody should look."""


@dataclass(frozen=True, kw_only=True)
class RelayStatus:
    """A relay that is alive."""

    host: str
    pid: int
    started: datetime
    seen: datetime
    """When it last said that it runs."""


@dataclass(frozen=True, kw_only=True)
class StreamStatus:
    """One stream in one database."""

    stream: str
    """Its alias."""
    known: bool
    """Whether the settings have this alias; rows of one that they lack are never sent."""
    ordering: str | None
    """OPTIONS["ORDERING"]: ``per_key`` or ``relaxed``; None where the settings lack the stream."""
    pending: int
    """Events that are committed and not yet acknowledged."""
    oldest: datetime | None
    """When the oldest of them was published; None where nothing waits."""
    age_seconds: float | None
    """How long ago that was."""
    lanes_owned: int | None
    """Lanes that relays hold at this moment; None where the database cannot tell (SQLite), or was
    not asked."""
    dead_letters: int
    blocking: int
    """Dead letters among them that hold up later events of their key."""
    sent_last_minute: int
    """Events acknowledged, in whole tens of seconds."""
    paused: datetime | None
    """Since when somebody has paused it: no relay sends its events; None: nobody has."""


@dataclass(frozen=True, kw_only=True)
class DatabaseStatus:
    """One database."""

    database: str
    """Its alias."""
    reachable: bool
    error: str | None = None
    """Why it could not be read; None: it was."""
    relays: tuple[RelayStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()


def read_status(
    database: str | None = None, stream: str | None = None, *, lanes: bool = True
) -> list[DatabaseStatus]:
    """Return the state of every database that has an outbox, or of one; of every stream, or of one.

    To count the `lanes` that are owned, those that are free are locked for a moment.

    Raises ``ImproperlyConfigured`` where there is no such database or no outbox, and for a stream
    that neither the settings nor the rows have. A database that cannot be read is in the answer.
    """
    config = get_config()
    found = [_read(alias, config, stream, lanes=lanes) for alias in some_outbox_databases(database)]
    if stream is not None and not any(status.streams or status.error for status in found):
        config.stream(stream)  # raises, and names those there are
    return found


def _read(alias: str, config: BridgeConfig, stream: str | None, *, lanes: bool) -> DatabaseStatus:
    reachable = False
    try:
        connections[alias].ensure_connection()
        reachable = True
        with reading(alias):
            return DatabaseStatus(
                database=alias,
                reachable=True,
                relays=tuple(_relays(alias)),
                streams=tuple(_streams(alias, config, stream, lanes=lanes)),
            )
    except UNREADABLE as error:
        why = why_unreadable(alias, error)
        return DatabaseStatus(database=alias, reachable=reachable, error=why)


def _relays(alias: str) -> Iterator[RelayStatus]:
    alive = RelayProcess.objects.using(alias).filter(seen__gte=timezone.now() - ALIVE)
    for relay in alive.order_by("host", "pid"):
        yield RelayStatus(host=relay.host, pid=relay.pid, started=relay.started, seen=relay.seen)


def _streams(
    alias: str, config: BridgeConfig, only: str | None, *, lanes: bool
) -> Iterator[StreamStatus]:
    now = timezone.now()
    outbox = OutboxQuerySet(OutboxRecord, using=alias)
    backlog = (outbox if only is None else outbox.filter(stream=only)).backlog()
    dead = _dead_letters(alias)
    sent = sent_since(now - MINUTE, alias)
    owned = _lanes_owned(alias) if lanes else None
    paused = dict(
        Stream.objects.using(alias).filter(paused__isnull=False).values_list("alias", "paused")
    )
    for name in _in_order(config.streams, {*backlog, *dead}):
        if only not in {None, name}:
            continue
        known = config.streams.get(name)
        waiting = backlog.get(name)
        letters, blocking = dead.get(name, (0, 0))
        yield StreamStatus(
            stream=name,
            known=known is not None,
            ordering=known.options["ORDERING"] if known else None,
            pending=waiting.pending if waiting else 0,
            oldest=waiting.oldest if waiting else None,
            # Written by the database's clock and read by ours, which may be behind it.
            age_seconds=max(0.0, (now - waiting.oldest).total_seconds()) if waiting else None,
            lanes_owned=None if owned is None else owned[name],
            dead_letters=letters,
            blocking=blocking,
            sent_last_minute=sent.get(name, 0),
            paused=paused.get(name),
        )


def _in_order(known: Collection[str], with_rows: set[str]) -> list[str]:
    """Those of the settings as they stand there, then those that only rows have."""
    return [*known, *sorted(with_rows.difference(known))]


def _dead_letters(alias: str) -> dict[str, tuple[int, int]]:
    rows = DeadLetter.objects.using(alias).order_by().values_list("stream")
    counts = rows.annotate(letters=Count("id"), blocking=Count("id", filter=Q(blocks=True)))
    return {stream: (letters, blocking) for stream, letters, blocking in counts}


def _lanes_owned(alias: str) -> Counter[str] | None:
    """Count the lanes whose rows are locked: those that cannot be had now.

    What can be had is held for the moment of the query: a relay that comes for it then comes again.
    """
    if not connections[alias].features.has_select_for_update_skip_locked:
        return None
    lanes = Lane.objects.using(alias).order_by()
    with transaction.atomic(using=alias):
        owned = dict(lanes.values_list("id", "stream"))
        free = lanes.select_for_update(skip_locked=True).values_list("id", flat=True)
        for lane in list(free):
            owned.pop(lane, None)
        transaction.set_rollback(True, using=alias)
    return Counter(owned.values())
