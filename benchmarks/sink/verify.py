"""Did everything arrive, once, in order? Counting over what a sink accepted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.sink.client import Accepted

#: (key, event id) of an accepted record; a list of them where a record holds many events.
Events = tuple[Hashable, Hashable] | list[tuple[Hashable, Hashable]]


@dataclass(kw_only=True)
class KeyVerdict:
    """The counts of one key, in events."""

    lost: int = 0
    """Expected, never accepted."""
    duplicated: int = 0
    """Accepted again, every further time: at-least-once delivery may do so."""
    reordered: int = 0
    """Accepted for the first time after an event that was expected later had been accepted."""
    unexpected: int = 0
    """Accepted, but not expected (of this key)."""


@dataclass(kw_only=True)
class Verdict(KeyVerdict):
    """The counts of all keys together."""

    accepted: int = 0
    """All accepted events, repeats included."""
    expected: int = 0
    """All expected events."""
    keys: dict[Hashable, KeyVerdict] = field(default_factory=dict)
    """The keys with anything to report, duplicates included."""

    @property
    def ok(self) -> bool:
        """Nothing lost, reordered or unexpected. Duplicates are allowed."""
        return not (self.lost or self.reordered or self.unexpected)

    @property
    def exact(self) -> bool:
        """``ok``, and nothing twice."""
        return self.ok and not self.duplicated


def event_of(data: bytes) -> Events:
    """(key, event id) of ``{"key": ..., "n": ...}``, the default of ``check``."""
    document: Any = orjson.loads(data)
    return document["key"], document["n"]


def check(
    accepted: Iterable[Accepted],
    expected: Mapping[Any, Sequence[Any]],
    extract: Callable[[bytes], Events] = event_of,
) -> Verdict:
    """Compare what was accepted, in that order, with the events expected of each key, in order.

    ``extract`` gets a record's data and returns its (key, event id), or a list of such pairs for an
    aggregated record. Event ids are unique within a key. Order is judged by first occurrences only:
    a repeat of an event that was accepted before is a duplicate, never a reordering.
    """
    places: dict[Hashable, dict[Hashable, int]] = {}
    for key, events in expected.items():
        places[key] = {event: place for place, event in enumerate(events)}
        if len(places[key]) != len(events):
            raise ValueError(f"the events expected of key {key!r} are not unique")
    keys: dict[Hashable, KeyVerdict] = {}
    seen: dict[Hashable, set[Hashable]] = {}
    latest: dict[Hashable, int] = {}
    total = 0
    for record in accepted:
        found = extract(record.data)
        for key, event in found if isinstance(found, list) else [found]:
            total += 1
            place = places.get(key, {}).get(event)
            known = seen.setdefault(key, set())
            if place is None:
                keys.setdefault(key, KeyVerdict()).unexpected += 1
            elif event in known:
                keys.setdefault(key, KeyVerdict()).duplicated += 1
            else:
                known.add(event)
                if place < latest.get(key, -1):
                    keys.setdefault(key, KeyVerdict()).reordered += 1
                else:
                    latest[key] = place
    for key, wanted in places.items():
        missing = len(wanted) - len(seen.get(key, ()))
        if missing:
            keys.setdefault(key, KeyVerdict()).lost = missing
    return Verdict(
        lost=sum(verdict.lost for verdict in keys.values()),
        duplicated=sum(verdict.duplicated for verdict in keys.values()),
        reordered=sum(verdict.reordered for verdict in keys.values()),
        unexpected=sum(verdict.unexpected for verdict in keys.values()),
        accepted=total,
        expected=sum(map(len, places.values())),
        keys=keys,
    )
