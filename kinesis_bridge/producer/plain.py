"""One event, one record: the hot path of everything unaggregated, its loops written out."""

from __future__ import annotations

from collections import deque
from itertools import compress, islice
from operator import is_, is_not
from typing import TYPE_CHECKING

from .packing import Item
from .schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from kinesis_bridge.event import Record, Result

    from .schedule import Final, Limits, Request


class PlainSchedule(Schedule[Item]):
    """One event, one record; a lane per partition key. A unit is an item."""

    def __init__(
        self,
        records: Iterable[Record],
        limits: Limits,
        retry_seconds: float,
        shard_of: Callable[[Hashable], str | None] = lambda _: None,
    ) -> None:
        super().__init__(records, limits, retry_seconds, shard_of)
        self._typical = max(1, limits.bytes // 8)
        """Bytes of a record, as the last ones were; a large guess to begin with."""
        self._lanes: dict[Hashable, Item] = {}
        """The keys with a record due, delayed or under way, and that record."""
        self._behind: dict[Hashable, deque[Item]] = {}
        """What waits behind it, where anything does."""

    def items(self, unit: Item) -> list[Item]:
        """Return the one record."""
        return [unit]

    def _lane(self, unit: Item) -> Hashable:
        return unit[1].partition_key

    def _size(self, unit: Item) -> int:
        return unit[1].size

    def is_all(self, request: Request[Item]) -> bool:
        """Tell whether `request` is all there is left to send."""
        return self._source is None and self._open == len(request.units)

    def _fill(self, request: Request[Item]) -> None:
        units, due = request.units, self._due
        most = self._limits.records
        room = whole = self._limits.bytes
        while due and len(units) < most:
            room -= due[0][1].size
            if room < 0 and units:
                room += due[0][1].size
                break
            units.append(due.popleft())
        else:
            room = self._read(units, room)
        request.bytes = whole - room
        request.records = [item[1] for item in units]
        request.lanes = [record.partition_key for record in request.records]

    def _read(self, units: list[Item], room: int) -> int:
        """Take records from the source while the request has room; return the room left."""
        while self._source is not None and not self._full():
            missing = self._limits.records - len(units)
            # No more at once than is likely to fit: the source may hold large records.
            chunk = list(islice(self._source, min(missing, max(1, room // self._typical))))
            if not chunk:
                if missing:
                    self._source = None
                return room
            self._open += len(chunk)
            fresh, size = self._claim(chunk)
            self._typical = max(1, size // len(fresh)) if fresh else self._typical
            if size > room:
                return self._squeeze(fresh, units, room)
            units += fresh
            room -= size
        return room

    def _claim(self, chunk: list[Item]) -> tuple[list[Item], int]:
        """Return the records whose lane is free, now theirs, and their bytes.

        The others wait in their lane. By columns: a loop in Python would be most of a send.
        """
        records = [item[1] for item in chunk]
        keys = [record.partition_key for record in records]
        owners = list(map(self._lanes.setdefault, keys, chunk))
        # Of one chunk most are fresh, and identical lists compare fast.
        if owners != chunk:
            for item, key in compress(zip(chunk, keys, strict=True), map(is_not, owners, chunk)):
                self._behind.setdefault(key, deque()).append(item)
                self._waiting += 1
                self._waiting_bytes += item[1].size
            chunk = list(compress(chunk, map(is_, owners, chunk)))
            records = [item[1] for item in chunk]
            keys = [record.partition_key for record in records]
        return chunk, _size(keys, records)

    def _squeeze(self, fresh: list[Item], units: list[Item], room: int) -> int:
        """Add what fits, one by one; the rest goes with the next request."""
        for number, item in enumerate(fresh):
            size = item[1].size
            if size > room and units:
                self._due.extend(fresh[number:])
                break
            units.append(item)
            room -= size
        return room

    def _acknowledge(self, request: Request[Item], answers: Sequence[Result]) -> Final:
        behind, lanes = self._behind, request.lanes
        if behind and (followed := [lane for lane in lanes if lane in behind]):
            lanes = [lane for lane in lanes if lane not in behind]
            for lane in followed:
                self._free(lane)
        deque(map(self._lanes.__delitem__, lanes), 0)  # a loop that runs in C
        self._open -= len(answers)
        return [(request.units, answers)]

    def _free(self, lane: Hashable) -> None:
        waiting = self._behind.get(lane)
        if waiting is None:
            del self._lanes[lane]
            return
        item = self._lanes[lane] = waiting.popleft()
        if not waiting:
            del self._behind[lane]
        self._left(item)
        self._due.append(item)

    def _left(self, item: Item) -> None:
        self._waiting -= 1
        self._waiting_bytes -= item[1].size

    def _behind_of(self, lane: Hashable) -> list[Item]:
        del self._lanes[lane]
        items = list(self._behind.pop(lane, ()))
        for item in items:
            self._left(item)
        return items

    def _recall_waiting(self) -> list[Item]:
        items = [item for waiting in self._behind.values() for item in waiting]
        self._behind.clear()  # lanes under way stay theirs
        for item in items:
            self._left(item)
        return items


class RelaxedSchedule(PlainSchedule):
    """No order is kept: each record is its own lane, whatever its key."""

    def _lane(self, unit: Item) -> Hashable:
        return unit[0]

    def _fill(self, request: Request[Item]) -> None:
        super()._fill(request)
        request.lanes = [unit[0] for unit in request.units]

    def _read(self, units: list[Item], room: int) -> int:
        missing = 0 if self._full() else self._limits.records - len(units)
        while self._source is not None and missing:
            item = next(self._source, None)
            if item is None:
                self._source = None
                break
            self._open += 1
            self._lanes[item[0]] = item
            size = item[1].size
            if size > room and units:
                self._due.append(item)
                break
            room -= size
            units.append(item)
            missing -= 1
        return room


def _size(keys: list[str], records: list[Record]) -> int:
    """Return the bytes of all records, keys included: what Record.size adds up to, in one go."""
    text = "".join(keys)
    data = sum([len(record.data) for record in records])
    return data + (len(text) if text.isascii() else len(text.encode()))
