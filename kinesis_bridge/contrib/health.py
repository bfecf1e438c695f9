"""Checks for django-health-check: the outbox, a relay, the credentials.

::

    path("health/", HealthCheckView.as_view(checks=[
        "kinesis_bridge.contrib.health.Outbox",
        ("kinesis_bridge.contrib.health.Relay", {"database": "default"}),
        "kinesis_bridge.contrib.health.Credentials",
    ]))

Needs ``pip install 'django-kinesis-bridge[health]'``, and ``"health_check"`` in INSTALLED_APPS for
the view's page; for the checks nothing goes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinesis_bridge.conf import get_config
from kinesis_bridge.contrib import needs
from kinesis_bridge.contrib.backlog import read_backlog
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.session import get_session

with needs("health"):
    from health_check.base import HealthCheck
    from health_check.exceptions import ServiceUnavailable, ServiceWarning

if TYPE_CHECKING:
    from kinesis_bridge.status import DatabaseStatus


@dataclass
class Outbox(HealthCheck):
    """The outbox can be read, and what waits in it is neither old nor much."""

    database: str | None = None
    """Alias of one database; None: each that has an outbox."""
    stream: str | None = None
    """Alias of one stream; None: each."""
    max_age_seconds: float = 300.0
    """Of the oldest event that waits."""
    max_events: int | None = None
    """That wait; None: any number, as long as they are young."""

    def run(self) -> None:
        """Raise where the limits are passed."""
        for status in _readable(self.database):
            for stream in status.streams:
                if self.stream not in {None, stream.stream}:
                    continue
                what = f"Stream {stream.stream} of database {status.database}"
                age = stream.age_seconds or 0.0
                if age > self.max_age_seconds:
                    raise ServiceUnavailable(
                        f"{what}: events waiting: {stream.pending}, the oldest for {age:.0f} s,"
                        f" the limit is {self.max_age_seconds:g} s."
                    )
                if self.max_events is not None and stream.pending > self.max_events:
                    raise ServiceUnavailable(
                        f"{what}: events waiting: {stream.pending}, the limit is {self.max_events}."
                    )


@dataclass
class Relay(HealthCheck):
    """A relay runs for each database that has an outbox: it says so every few seconds."""

    database: str | None = None
    """Alias of one database; None: each that has an outbox."""
    relays: int = 1
    """That there must be."""

    def run(self) -> None:
        """Raise where there are fewer."""
        for status in _readable(self.database):
            if len(status.relays) < self.relays:
                raise ServiceUnavailable(
                    f"Database {status.database}: {len(status.relays)} relays run, and"
                    f" {self.relays} should. Start: manage.py kinesis_relay"
                )


@dataclass
class DeadLetters(HealthCheck):
    """No more dead letters than were reckoned with."""

    database: str | None = None
    """Alias of one database; None: each that has an outbox."""
    max_letters: int = 0
    """Of all streams of a database."""

    def run(self) -> None:
        """Warn where there are more."""
        for status in _readable(self.database):
            letters = sum(stream.dead_letters for stream in status.streams)
            if letters > self.max_letters:
                raise ServiceWarning(
                    f"Database {status.database}: {letters} dead letters."
                    " Look: manage.py kinesis_deadletter list"
                )


@dataclass
class Credentials(HealthCheck):
    """The credentials of a role can be had: those in memory, as long as they serve; else by STS."""

    role: str | None = None
    """Alias of one; None: each of the settings."""

    def run(self) -> None:
        """Raise where there are none, with whose it is to mend."""
        for role in [self.role] if self.role else [*get_config().roles]:
            try:
                credentials = get_session(role).get_credentials()
                assert credentials is not None  # noqa: S101 - a role's are fetched when used  # nosec B101
                credentials.get_frozen_credentials()
            except AwsError as error:
                # Its name in docs/errors.md; what AWS said may name what this page must not.
                raise ServiceUnavailable(
                    f"Role {role}: no credentials ({error.name}, to be mended by: {error.side})."
                    " Look: manage.py kinesis_doctor"
                ) from error


def _readable(database: str | None) -> list[DatabaseStatus]:
    """Return what can be read; raise where one cannot, or there is none."""
    found = [one for one in read_backlog() if database in {None, one.database}]
    if not found:
        raise ServiceUnavailable(
            "No database has an outbox. Run: manage.py migrate"
            if database is None
            else f"Database {database} has no outbox. Run: manage.py migrate --database {database}"
        )
    for status in found:
        if status.error is not None:
            # Its own words may name hosts and users; this page may be anyone's.
            raise ServiceUnavailable(f"The outbox of database {status.database} cannot be read.")
    return found
