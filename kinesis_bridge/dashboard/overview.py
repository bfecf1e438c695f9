"""Everything that the page shows, of every database: what waits, was sent, was refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from django.db.models import Count, Max, Q
from django.utils import timezone

from kinesis_bridge.conf import get_config
from kinesis_bridge.databases import UNREADABLE, reading, why_unreadable
from kinesis_bridge.models import DeadLetter, RelayProcess, Stream
from kinesis_bridge.status import ALIVE, OLD_SECONDS, DatabaseStatus, StreamStatus, read_status

from .seldom import Seldom
from .series import Point, Sums, Window, latency, minutes, points, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kinesis_bridge.conf import StreamConfig

State = Literal[
    "unknown", "paused", "no-relay", "outage", "behind", "sending", "up-to-date", "not-used"
]
RECENT = timedelta(minutes=5)
_ByStream = dict[str, dict[datetime, Sums]]
MOST_REASONS = 500
"""Of a database: the most frequent."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a relay says of the credentials that it has of a stream's role."""

    relay: str
    """``host:pid``."""
    arn: str
    """``arn:aws:sts::<B>:assumed-role/<role>/<session>``."""
    expires_in: float
    """Seconds by AWS's clock and ours; below 0 where they have ended."""

    @property
    def name(self) -> str:
        """RoleSessionName: what account B reads in CloudTrail."""
        return self.arn.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Dead letters that AWS refused with the same code."""

    code: str
    message: str
    """What it said to the last of them."""
    letters: int
    blocking: int
    """Those among them that hold up later events of their key."""
    last: datetime


@dataclass(frozen=True, kw_only=True)
class StreamView:
    """One stream in one database."""

    database: str
    status: StreamStatus
    config: StreamConfig | None
    """None: the settings have no such stream."""
    row: Stream | None
    """Its pause and its last outage; None where there was neither."""
    role_arn: str | None
    """None: the site's own credentials write."""
    sessions: tuple[Session, ...]
    points: tuple[Point, ...]
    window: Sums
    """Of all points."""
    p50: float | None
    """Of the last five minutes, in seconds."""
    p95: float | None
    lanes: int
    """Lanes that relays held since they spoke before, at most five seconds."""
    reasons: tuple[Reason, ...]
    relays: int
    """How many are alive in its database."""

    @property
    def outage(self) -> Stream | None:
        """The last outage, if there was one."""
        return self.row if self.row is not None and self.row.began is not None else None

    @property
    def state(self) -> State:
        """The first thing to know of it."""
        status, outage = self.status, self.outage
        if not status.known:
            return "unknown"
        if self.row is not None and self.row.paused is not None:
            return "paused"
        by_outbox = self.config is not None and self.config.delivery == "outbox"
        if not (by_outbox or status.pending):
            return "not-used"
        if not self.relays:
            return "no-relay"
        if outage is not None and outage.ended is None:
            return "outage"
        if (status.age_seconds or 0) > OLD_SECONDS:
            return "behind"
        return "sending" if status.pending else "up-to-date"

    @property
    def again(self) -> int:
        """Records of the window that were sent again, within their batch or in another."""
        return self.window["retried"] + self.window["resent"]

    @property
    def moved(self) -> bool:
        """Whether there is anything to draw."""
        return any(self.window.values())


@dataclass(frozen=True, kw_only=True)
class RelayView:
    """A relay that is alive, as its row says."""

    host: str
    pid: int
    started: datetime
    seen: datetime
    lanes: Mapping[str, Sequence[int]]
    """Stream -> lanes that it held since it spoke before."""


@dataclass(frozen=True, kw_only=True)
class DatabaseView:
    """One database; where it cannot be read, only why."""

    database: str
    error: str | None = None
    relays: tuple[RelayView, ...] = ()
    streams: tuple[StreamView, ...] = ()


def overview(window: Window) -> list[DatabaseView]:
    """Return what there is to see of every database.

    Raises ``ImproperlyConfigured`` where the settings are wrong or no database has an outbox.
    """
    return [_database(status, window) for status in _status()]


def _database(status: DatabaseStatus, window: Window) -> DatabaseView:
    alias = status.database
    if status.error is not None:
        return DatabaseView(database=alias, error=status.error)
    try:
        with reading(alias):
            return _readable(status, window)
    except UNREADABLE as error:
        return DatabaseView(database=alias, error=why_unreadable(alias, error))


def _readable(status: DatabaseStatus, window: Window) -> DatabaseView:
    alias, config = status.database, get_config()
    now = datetime.now(UTC)
    sums, lately = _statistics_of((alias, window))
    rows = {row.alias: row for row in Stream.objects.using(alias)}
    reasons = _reasons_of(alias)
    alive = timezone.now() - ALIVE
    relays = list(RelayProcess.objects.using(alias).filter(seen__gte=alive).order_by("host", "pid"))

    def view(stream: StreamStatus) -> StreamView:
        known = config.streams.get(stream.stream)
        role = config.role_of(known) if known else None
        of_stream = sums.get(stream.stream, {})
        recent = total(lately.get(stream.stream, {}).values())
        return StreamView(
            database=alias,
            status=stream,
            config=known,
            row=rows.get(stream.stream),
            role_arn=role.role_arn if role else None,
            sessions=tuple(_sessions(relays, role.alias, now)) if role else (),
            points=tuple(points(window, of_stream, now)),
            window=total(of_stream.values()),
            p50=latency(recent, 0.5),
            p95=latency(recent, 0.95),
            lanes=len(
                {lane for relay in relays for lane in (relay.lanes or {}).get(stream.stream, ())}
            ),
            reasons=tuple(reasons.get(stream.stream, ())),
            relays=len(relays),
        )

    return DatabaseView(
        database=alias,
        relays=tuple(
            RelayView(
                host=relay.host,
                pid=relay.pid,
                started=relay.started,
                seen=relay.seen,
                lanes=relay.lanes or {},
            )
            for relay in relays
        ),
        streams=tuple(view(stream) for stream in status.streams),
    )


def _statistics(alias: str, window: Window) -> tuple[_ByStream, _ByStream]:
    """Return the sums of the window, and those of the last minutes."""
    now = datetime.now(UTC)
    return minutes(alias, window.starts(now)[0], window.summed), minutes(alias, now - RECENT)


def _sessions(relays: Iterable[RelayProcess], role: str, now: datetime) -> Iterable[Session]:
    for relay in relays:
        if told := (relay.credentials or {}).get(role):
            yield Session(
                relay=f"{relay.host}:{relay.pid}",
                arn=told["session_arn"],
                expires_in=(datetime.fromisoformat(told["expires_at"]) - now).total_seconds(),
            )


def _reasons(alias: str) -> dict[str, list[Reason]]:
    """Return why there are dead letters, by stream; the most frequent first."""
    letters = DeadLetter.objects.using(alias)
    groups = list(
        letters.order_by()
        .values("stream", "code")
        .annotate(
            letters=Count("id"),
            blocking=Count("id", filter=Q(blocks=True)),
            last=Max("failed"),
            newest=Max("id"),
        )
        .order_by("-letters", "code")[:MOST_REASONS]
    )
    newest = letters.filter(pk__in=[group["newest"] for group in groups])
    messages = dict(newest.values_list("pk", "message"))
    found: dict[str, list[Reason]] = {}
    for group in groups:
        found.setdefault(group["stream"], []).append(
            Reason(
                code=group["code"],
                message=messages.get(group["newest"], ""),
                letters=group["letters"],
                blocking=group["blocking"],
                last=group["last"],
            )
        )
    return found


# These count rows, of which there may be millions.
_status = Seldom(
    lambda _: read_status(lanes=False),
    is_failure=lambda found: any(one.error is not None for one in found),
)
_statistics_of = Seldom(lambda about: _statistics(*about))
_reasons_of = Seldom(_reasons)
