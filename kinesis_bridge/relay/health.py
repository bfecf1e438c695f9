"""Whether a relay lives and works, as its threads show it: for orchestrators and load balancers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kinesis_bridge.exceptions import AwsError

if TYPE_CHECKING:
    from . import Relay
    from .worker import Worker

HANGS_AFTER = 60.0
"""Seconds that a thread may spend on one turn: more than sending, resting and reconnecting take."""


class Health:
    """Asks the threads of a relay; no database and no AWS, so that the answer comes at once."""

    def __init__(self, relay: Relay, *, hangs_after: float = HANGS_AFTER) -> None:
        """`hangs_after`: seconds beside those of ``--poll``."""
        self._relay = relay
        self._hangs_after = hangs_after + relay.rhythm.poll

    def liveness(self) -> dict[str, Any]:
        """Return ``ok``, and which loops make no progress: to be restarted."""
        now = time.monotonic()
        loops = [(one.name, one.turned) for one in self._relay.workers if not one.has_ended]
        loops.append(("main", self._relay.turned))
        hanging = [
            {"thread": name, "seconds": round(now - turned, 1)}
            for name, turned in loops
            if now - turned > self._hangs_after
        ]
        return {"ok": not hanging, "hanging": hanging}

    def readiness(self) -> dict[str, Any]:
        """Return ``ok``, and for each stream and database whether events go, or why not."""
        works = self._works()
        if self._relay.is_stopping:
            return {"ok": False, "reason": "stopping", "streams": works}
        return {"ok": all(work["ok"] for work in works), "streams": works}

    def _works(self) -> list[dict[str, Any]]:
        """Return one state for each stream and database: the worst of its threads'."""
        worst: dict[str, dict[str, Any]] = {}
        for worker in self._relay.workers:
            state = _state(worker)
            if not state["ok"] or worker.name not in worst:
                worst[worker.name] = state
        return list(worst.values())


def _state(worker: Worker) -> dict[str, Any]:
    where: dict[str, Any] = {"stream": worker.store.stream, "database": worker.store.database}
    if worker.is_paused:
        where["paused"] = True  # by somebody: the relay is well, and sends nothing
    error = worker.trouble
    if error is None:
        reason = None if worker.has_turned else "starting"
        return {**where, "ok": reason is None, **({"reason": reason} if reason else {})}
    if isinstance(error, AwsError):
        # Its row of docs/errors.md, and no message: that goes to the log, this to the network.
        return {
            **where,
            "ok": False,
            "reason": "outage",
            "error": error.name,
            "code": error.code,
            "side": error.side,
        }
    return {**where, "ok": False, "reason": "database", "error": type(error).__name__}
