"""That a relay lives, which lanes it holds and whose credentials it has: its row, for everybody."""

from __future__ import annotations

import os
import socket
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from kinesis_bridge.event import new_id
from kinesis_bridge.models import RelayProcess
from kinesis_bridge.signals import credentials_refreshed

from .statistics import tolerated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime


class Presence:
    """Keeps the row of this relay in each of its databases.

    The credentials themselves never leave the session: the row has their role and their end.
    """

    def __init__(self) -> None:
        self._id = new_id()
        self._started = timezone.now()
        self._lock = threading.Lock()
        self._lanes: defaultdict[str, dict[str, set[int]]] = defaultdict(dict)
        self._credentials: dict[str, dict[str, str]] = {}
        credentials_refreshed.connect(self._refreshed)  # weakly: it ends with the relay

    def held(self, database: str, stream: str, lanes: Sequence[int]) -> None:
        """Note that this relay owned `lanes` for a batch."""
        with self._lock:
            self._lanes[database].setdefault(stream, set()).update(lanes)

    def _refreshed(
        self, *, role: str, role_arn: str, expires_at: datetime, session_arn: str, **_: Any
    ) -> None:
        self._credentials[role] = {
            "role_arn": role_arn,
            "session_arn": session_arn,
            "expires_at": expires_at.isoformat(),
        }

    def write(self, databases: Iterable[str]) -> None:
        """Say in each database that this relay lives."""
        for database in databases:
            with self._lock:
                held = self._lanes.pop(database, {})
            told = {
                "seen": timezone.now(),
                "lanes": {stream: sorted(lanes) for stream, lanes in held.items()},
                "credentials": dict(self._credentials),
            }
            with tolerated(database):
                relays = RelayProcess.objects.using(database)
                if not relays.filter(id=self._id).update(**told):
                    relays.create(
                        id=self._id,
                        host=socket.gethostname(),
                        pid=os.getpid(),
                        started=self._started,
                        **told,
                    )

    def end(self, databases: Iterable[str]) -> None:
        """Say that this relay is gone."""
        credentials_refreshed.disconnect(self._refreshed)
        for database in databases:
            with tolerated(database):
                RelayProcess.objects.using(database).filter(id=self._id).delete()
