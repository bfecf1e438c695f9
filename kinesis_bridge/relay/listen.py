"""PostgreSQL's NOTIFY: the relay is woken by the commit that wrote events."""

from __future__ import annotations

import logging
import select
import threading
from typing import TYPE_CHECKING, Any

from django.db import Error, connections

from kinesis_bridge.delivery.insert import CHANNEL
from kinesis_bridge.logfields import fields

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("kinesis_bridge.relay")

LOOK_SECONDS = 1.0
RECONNECT_SECONDS = 1.0


class Listener(threading.Thread):
    """Listens on a connection of its own, and connects again when it breaks.

    Behind a pooler in transaction mode nothing is heard: there the relay's polling does it alone.
    """

    def __init__(self, database: str, heard: Callable[[], object]) -> None:
        super().__init__(name=f"kinesis-listen-{database}", daemon=True)
        self._database = database
        self._heard = heard
        self._ended = threading.Event()

    def stop(self) -> None:
        """End soon."""
        self._ended.set()

    def run(self) -> None:
        """Listen until stopped."""
        while not self._ended.is_set():
            connection: Any = connections.create_connection(self._database)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(f"LISTEN {CHANNEL}")
                self._heard()  # what was committed before is found by a look
                while not self._ended.is_set():
                    if _notified(connection.connection):
                        self._heard()
            except (Error, OSError, connection.Database.Error) as error:
                logger.debug(
                    "Listening on database %s ended: %s",
                    self._database,
                    error,
                    extra=fields(error, database=self._database),
                )
                self._ended.wait(RECONNECT_SECONDS)
            except Exception as error:
                logger.exception(
                    "No NOTIFY on database %s: the relay polls",
                    self._database,
                    extra=fields(error, database=self._database),
                )
                return
            finally:
                connection.close()


def _notified(raw: Any) -> bool:
    """Wait up to a second for notices; tell whether there was one."""
    if hasattr(raw, "pgconn"):  # psycopg 3; an error of its own ends the listening
        return any(True for _ in raw.notifies(timeout=LOOK_SECONDS, stop_after=1))
    ready, _, _ = select.select([raw], [], [], LOOK_SECONDS)  # psycopg2
    if ready:
        raw.poll()
        del raw.notifies[:]
    return bool(ready)
