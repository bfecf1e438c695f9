"""Lost, duplicated, reordered, phantom: what arrived against the rows there are. Pure.

A row's event is known by the row's token. That the row's number tells the order of its key was seen
to by the writers; order is judged by first occurrences, as ``benchmarks.sink.check`` does it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from benchmarks.sink import Accepted

_EXAMPLES = 5  # of each kind


class Row(NamedTuple):
    """One committed row."""

    key: str
    number: int
    token: str


class Arrival(NamedTuple):
    """One event that the stream took."""

    partition_key: str
    event_id: str
    key: str
    number: int
    token: str


class TruthError(RuntimeError):
    """The rows themselves are not what the writers promise: nothing can be judged by them."""


@dataclass(kw_only=True)
class Damage:
    """The counts of one key, in events."""

    lost: int = 0
    """Committed, never arrived."""
    duplicated: int = 0
    """The same event again, every further time: at-least-once delivery may do so."""
    reordered: int = 0
    """Arrived for the first time after an event that was committed later had arrived."""
    phantom: int = 0
    """Arrived, but no row has it: rolled back, or a second event of one row, or another's key."""

    @property
    def ok(self) -> bool:
        """Nothing but duplicates."""
        return not (self.lost or self.reordered or self.phantom)


@dataclass(kw_only=True)
class Verdict(Damage):
    """The counts of all keys together."""

    events: int = 0
    """Committed rows."""
    arrived: int = 0
    """Everything that the stream took, repeats included."""
    keys: dict[str, Damage] = field(default_factory=dict)
    """Those with anything to report, duplicates included."""
    examples: list[str] = field(default_factory=list)
    """The first few of what is wrong, in words."""


def judge(rows: Iterable[Row], arrivals: Iterable[Arrival]) -> Verdict:
    """Compare; ``arrivals`` in the order of acceptance, ``rows`` in any.

    Raises TruthError where the rows of a key are not numbered 1, 2, 3 and so on.
    """
    places = _places(rows)
    keys: defaultdict[str, Damage] = defaultdict(Damage)
    examples: defaultdict[str, list[str]] = defaultdict(list)
    ids: dict[str, str] = {}
    latest: dict[str, int] = {}
    arrived = 0
    for arrival in arrivals:
        arrived += 1
        known = ids.get(arrival.token)
        wrong = _phantom(arrival, places.get(arrival.token), known)
        if wrong:
            keys[arrival.key].phantom += 1
            examples["phantom"].append(f"phantom: {wrong}: {_name(arrival)}")
        elif known is not None:
            keys[arrival.key].duplicated += 1
        else:
            ids[arrival.token] = arrival.event_id
            before = latest.get(arrival.key, 0)
            if arrival.number < before:
                keys[arrival.key].reordered += 1
                examples["reordered"].append(f"reordered: after {before}: {_name(arrival)}")
            latest[arrival.key] = max(before, arrival.number)
    for token, row in places.items():
        if token not in ids:
            keys[row.key].lost += 1
            examples["lost"].append(f"lost: key {row.key}, number {row.number}")
    return Verdict(
        lost=sum(damage.lost for damage in keys.values()),
        duplicated=sum(damage.duplicated for damage in keys.values()),
        reordered=sum(damage.reordered for damage in keys.values()),
        phantom=sum(damage.phantom for damage in keys.values()),
        events=len(places),
        arrived=arrived,
        keys=dict(keys),
        examples=[text for kind in sorted(examples) for text in examples[kind][:_EXAMPLES]],
    )


def _places(rows: Iterable[Row]) -> dict[str, Row]:
    places: dict[str, Row] = {}
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.token in places:
            raise TruthError(f"two rows have the token {row.token}")
        places[row.token] = row
        numbers[row.key].append(row.number)
    for key, of_key in numbers.items():
        if sorted(of_key) != list(range(1, len(of_key) + 1)):
            raise TruthError(f"the rows of key {key} are not numbered 1 to {len(of_key)}")
    return places


def _phantom(arrival: Arrival, row: Row | None, event_id: str | None) -> str:
    """Say what is wrong with an arrival beside its place; nothing where all is well."""
    if row is None:
        return "rolled back" if arrival.number < 0 else "no row"
    if (arrival.key, arrival.number) != (row.key, row.number):
        return f"its row is key {row.key}, number {row.number}"
    if arrival.partition_key != row.key:
        return f"sent under partition key {arrival.partition_key}"
    if event_id is not None and event_id != arrival.event_id:
        return f"a second event of its row, the first was {event_id}"
    return ""


def _name(arrival: Arrival) -> str:
    return f"key {arrival.key}, number {arrival.number}, event {arrival.event_id}"


def arrivals_of(accepted: Iterable[Accepted]) -> Iterator[Arrival]:
    """Yield the events of a sink's records, in order; aggregated ones are unpacked."""
    from kinesis_bridge.aggregation import is_aggregated, unpack_data

    for record in accepted:
        if is_aggregated(record.data):
            for packed in unpack_data(record.data):
                yield _arrival(packed.partition_key, packed.data)
        else:
            yield _arrival(record.partition_key, record.data)


def _arrival(partition_key: str, data: bytes) -> Arrival:
    try:
        event: Any = orjson.loads(data)
        row = event["data"]
        found = str(row["key"]), int(row["number"]), str(row["token"])
        return Arrival(partition_key, str(event["id"]), *found)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        # Whatever this is, no row has it.
        return Arrival(partition_key, repr(data[:80]), partition_key, 0, "")
