"""Which stream, in which database, a request of the page is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404

from kinesis_bridge.conf import StreamConfig, get_config
from kinesis_bridge.databases import outbox_databases
from kinesis_bridge.models import Stream, StreamQuerySet

if TYPE_CHECKING:
    from django.http import HttpRequest


@dataclass(frozen=True, kw_only=True)
class Target:
    """A stream of the settings, and a database with an outbox."""

    stream: StreamConfig
    database: str

    @property
    def rows(self) -> StreamQuerySet:
        """The streams of its database."""
        return StreamQuerySet(Stream, using=self.database)

    def row(self) -> Stream:
        """Return its row, which is made where it is missing; locked within a transaction."""
        return self.rows.locked(self.stream.alias)


def target_of(request: HttpRequest) -> Target:
    """Return what the request names; raise Http404 where there is no such stream or database."""
    given = request.POST if request.method == "POST" else request.GET
    try:
        stream = get_config().stream(given.get("stream", ""))
        [database] = outbox_databases(given.get("database", ""))
    except ImproperlyConfigured as error:
        raise Http404(str(error)) from error
    return Target(stream=stream, database=database)
