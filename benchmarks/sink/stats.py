"""Counters of one sink."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any


class Stats:
    """What happened so far; ``snapshot`` is the JSON document of ``GET /_sink/stats``."""

    def __init__(self, mode: str, *, measured: bool) -> None:
        self.mode = mode
        self.measured = measured  # whether data bytes and units are summed at all
        self.operations: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.record_errors: Counter[str] = Counter()
        self.shards: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Start counting again."""
        self.connections = self.requests = self.body_bytes = 0
        self.records = self.data_bytes = self.units = 0
        for counter in (
            self.operations,
            self.faults,
            self.errors,
            self.record_errors,
            self.shards,
        ):
            counter.clear()
        self._started = time.monotonic()
        self._cpu = time.process_time()

    def snapshot(self) -> dict[str, Any]:
        """
        ``requests``: of the AWS APIs, whole ones, refused ones included; ``operations``: the same
        by name. ``body_bytes``: of their HTTP bodies. ``records``: accepted ones; ``bytes``: their
        data before base64, and ``units``: their PUT payload units (25 KiB each), both null where
        fast mode does not read bodies. ``shards``: accepted records by "stream/shard", where known.
        ``faults``: injected ones by kind (per record for throttle, throttle_shard and internal).
        ``errors``: refused requests by code. ``record_errors``: refused entries by code.
        ``seconds``: since start or reset; ``cpu_seconds``: of the whole process in that time.
        """
        return {
            "mode": self.mode,
            "seconds": round(time.monotonic() - self._started, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
            "connections": self.connections,
            "requests": self.requests,
            "operations": dict(self.operations),
            "body_bytes": self.body_bytes,
            "records": self.records,
            "bytes": self.data_bytes if self.measured else None,
            "units": self.units if self.measured else None,
            "shards": dict(self.shards),
            "faults": dict(self.faults),
            "errors": dict(self.errors),
            "record_errors": dict(self.record_errors),
            "assume_role": self.operations["AssumeRole"],
        }
