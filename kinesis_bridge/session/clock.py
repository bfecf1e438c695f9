"""How long credentials last, also where this machine's clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Of a Date header, which has whole seconds and is written somewhat before the reply.
PRECISION = timedelta(seconds=2)


def seconds_left(expires_at: datetime, *, date: str | None, asked_at: datetime) -> float:
    """Return the seconds from now to `expires_at`; 0 or less where they are over.

    `date` is the reply's Date header, `asked_at` when the request left by this machine's clock.
    Where AWS's clock is not between then and now, it counts and ours does not: a session that
    looked over for ever would be refreshed by every request.
    """
    now = datetime.now(UTC)
    theirs = _parse(date)
    if theirs is None or asked_at - PRECISION <= theirs <= now + PRECISION:
        theirs = now
    return (expires_at - theirs).total_seconds()


def _parse(date: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(date or "")
    except ValueError:
        return None  # a proxy's idea of a date
    # "-0000" says UTC and comes without a zone.
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def from_now(seconds: float) -> datetime:
    """Return the moment in so many seconds, by this machine's clock."""
    return datetime.now(UTC) + timedelta(seconds=seconds)
