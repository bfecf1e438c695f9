"""What the page shows, as it happens: arrivals and the state, for any number of browsers."""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.db import Error as DatabaseFailure
from django.db import close_old_connections, connection

from demo_project.shop.models import Customer, Order
from kinesis_bridge.diagnosis import Path, explain_named
from kinesis_bridge.models import OutboxRecord
from kinesis_bridge.status import read_status

from . import control, reader
from .ledger import ledger

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.25
QUIET_SECONDS = 1.0
"""The state is sent this often though it is the same: the page sees that it is connected."""
ROWS = 60
"""Arrivals that a page is shown at once; of more only the last."""
ORDERS = 6


class Feed:
    """Looks at everything in one thread, however many look at it."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._arrivals: deque[dict[str, Any]] = deque(maxlen=ROWS)
        self._count = 0
        self._names: dict[int, str] = {}
        self._state: dict[str, Any] | None = None

    def start(self) -> None:
        """Read the stream and look at the outbox, in threads, until the process ends."""
        reader.read(self._arrived)
        threading.Thread(target=self._look, name="live-feed", daemon=True).start()

    def messages(self) -> Iterator[str]:
        """Yield server-sent events, for ever: ``arrivals`` and ``state``."""
        yield "retry: 500\n\n"
        known, shown, sent_at = 0, None, 0.0
        while True:
            with self._news:
                self._news.wait_for(
                    lambda known=known, shown=shown: (  # type: ignore[misc]
                        self._count > known or self._state is not shown
                    ),
                    QUIET_SECONDS,
                )
                fresh = [one for one in self._arrivals if one["number"] > known]
                missed, known = self._count - known - len(fresh), self._count
                state = self._state
            if fresh:
                yield _message("arrivals", {"rows": fresh, "missed": missed})
            now = time.monotonic()
            if state is not None and (state != shown or now - sent_at > QUIET_SECONDS):
                shown, sent_at = state, now
                yield _message("state", {**state, "now": time.time()})

    def _arrived(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if not isinstance(event, dict) or "id" not in event:
            return  # written by hand
        first = ledger.arrived(event["id"])
        with self._news:
            self._count += 1
            self._arrivals.append(
                {
                    "number": self._count,
                    "repeat": not first,
                    "shard": record["shard_id"],
                    "at": record["arrived"].timestamp(),
                    "customer": self._names.get(event["data"].get("customer_id"), ""),
                    "event": event,
                }
            )
            self._news.notify_all()

    def _look(self) -> None:
        while True:
            try:
                close_old_connections()
                state = self._now()
            except (DatabaseFailure, control.NoSupervisor) as error:
                logger.warning("The live page has no fresh state: %s", error)
                connection.close()
            else:
                with self._news:
                    if state != self._state:
                        self._state = state
                        self._news.notify_all()
            time.sleep(LOOK_SECONDS)

    def _now(self) -> dict[str, Any]:
        state = control.state()
        waiting = set(OutboxRecord.objects.values_list("event_id", flat=True))
        [database] = read_status("default", "default", lanes=False)
        [stream] = database.streams
        if state["relay"] is None:
            # The doctor's own words.
            missing = explain_named(
                "relay-missing", Path(hop="outbox"), database="'default'", pending=len(waiting)
            )
            state["trouble"] = {
                "name": missing.name,
                "code": "SIGKILL",
                "side": missing.side,
                "cause": missing.message,
                "fix": missing.hint,
            }
        if not self._names:
            self._names = dict(Customer.objects.values_list("pk", "name"))
        return {
            **state,
            **asdict(ledger.verdict(waiting)),
            "waiting": len(waiting),
            "oldest": None if stream.age_seconds is None else round(stream.age_seconds),
            "dead": stream.dead_letters,
            "placed": Order.objects.count(),
            "orders": [
                {"id": pk, "customer": name, "status": status, "total": str(total)}
                for pk, name, status, total in Order.objects.order_by("-pk").values_list(
                    "pk", "customer__name", "status", "total"
                )[:ORDERS]
            ],
        }


def _message(kind: str, document: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(document)}\n\n"


feed = Feed()
