"""The events that every benchmark sends, the same at every run. Standard library only.

An event's data is JSON with its key and its number, as ``benchmarks.sink.event_of`` reads it,
padded to the wanted size.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_POOL = 1000  # payloads that repeat


@dataclass(frozen=True, kw_only=True)
class Events:
    """Which events: ``count`` of them, of ``size`` bytes, over ``keys`` keys drawn uniformly."""

    count: int
    size: int = 200
    keys: int = 10_000
    seed: int = 1
    distinct: bool = True
    """False: the data repeats after 1,000 events, so that a measured process does not hold hundreds
    of megabytes of data that is none of the producer's."""

    def make(self) -> list[tuple[str, bytes]]:
        """Pairs of partition key and data, in the order to be sent."""
        keys = self._keys()
        if self.distinct:
            return [(key, payload(key, n, self.size)) for n, key in enumerate(keys)]
        pool = [payload("pool", n, self.size) for n in range(_POOL)]
        return [(key, pool[n % _POOL]) for n, key in enumerate(keys)]

    def expected(self) -> dict[str, list[int]]:
        """The numbers of each key's events, in order: what ``benchmarks.sink.check`` wants."""
        expected: dict[str, list[int]] = {}
        for n, key in enumerate(self._keys()):
            expected.setdefault(key, []).append(n)
        return expected

    def _keys(self) -> list[str]:
        draw = random.Random(self.seed)
        names = [f"key-{n:05d}" for n in range(self.keys)]
        return [names[draw.randrange(self.keys)] for _ in range(self.count)]


def payload(key: str, n: int, size: int) -> bytes:
    """One event's data, exactly ``size`` bytes where that leaves room for its key and number."""
    start = f'{{"key":"{key}","n":{n},"pad":"'
    return f'{start}{"x" * max(0, size - len(start) - 2)}"}}'.encode()
