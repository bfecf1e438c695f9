"""Many events, one record: lanes that are packed before they are sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from .schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from kinesis_bridge.event import Record

    from .packing import Item, Packing
    from .schedule import Limits, Request


class Unit(NamedTuple):
    """Some records of one lane, sent as one record and answered by one answer."""

    lane: Hashable
    items: list[Item]
    record: Record


class PackedSchedule(Schedule[Unit]):
    """Records packed by their lane: reads a window, then packs as much of each lane as fits."""

    def __init__(
        self,
        records: Iterable[Record],
        limits: Limits,
        retry_seconds: float,
        packing: Packing,
        shard_of: Callable[[Hashable], str | None] = lambda _: None,
    ) -> None:
        super().__init__(records, limits, retry_seconds, shard_of)
        self._packing = packing
        self._lanes: dict[Hashable, deque[Item]] = {}
        """The lanes with anything open, and what waits in them."""
        self._ready: deque[Hashable] = deque()
        """Those of them that have nothing due, delayed or under way."""

    def items(self, unit: Unit) -> list[Item]:
        """Return the records packed into it."""
        return unit.items

    def _lane(self, unit: Unit) -> Hashable:
        return unit.lane

    def _size(self, unit: Unit) -> int:
        return unit.record.size

    def _split(self, unit: Unit) -> bool:
        """Try its first half alone: only one of its records need be at fault."""
        middle = len(unit.items) // 2
        if not middle:
            return False
        rest = unit.items[middle:]
        self._lanes[unit.lane].extendleft(reversed(rest))
        self._waiting += len(rest)
        self._waiting_bytes += sum(len(item[1].data) for item in rest)
        items, record = self._packing.take(unit.lane, deque(unit.items[:middle]))
        self._due.append(Unit(unit.lane, items, record))
        self.retried += 1
        return True

    def repack(self, packing: Packing) -> None:
        """Make the lanes anew, by `packing`; only while nothing is under way."""
        items = self.recall()
        self._packing = packing
        self._troubles.clear()
        self._lanes.clear()
        self._ready.clear()
        for item in items:
            self._queue(item)

    def _fill(self, request: Request[Unit]) -> None:
        self._read()
        units = request.units
        room = self._limits.bytes
        while len(units) < self._limits.records:
            if self._due:
                unit = self._due.popleft()
            elif self._ready:
                unit = self._pack(self._ready.popleft())
            else:
                break
            if unit.record.size > room and units:
                self._due.appendleft(unit)
                break
            room -= unit.record.size
            units.append(unit)
        request.bytes = self._limits.bytes - room
        request.records = [unit.record for unit in units]
        request.lanes = [unit.lane for unit in units]

    def _pack(self, lane: Hashable) -> Unit:
        items, record = self._packing.take(lane, self._lanes[lane])
        self._leave(items)
        return Unit(lane, items, record)

    def _read(self) -> None:
        """Fill the window from the source."""
        source, limits, most = self._source, self._limits, self._limits.buffered_bytes
        if source is None or self._full():
            return
        for item in source:
            self._open += 1
            self._queue(item)
            if self._waiting >= limits.buffered_records or self._waiting_bytes >= most:
                return
        self._source = None

    def _queue(self, item: Item) -> None:
        record = item[1]
        self._waiting += 1
        self._waiting_bytes += len(record.data)
        lane = self._packing.lane(record)
        queue = self._lanes.get(lane)
        if queue is None:
            self._lanes[lane] = deque((item,))
            self._ready.append(lane)
        else:
            queue.append(item)

    def _free(self, lane: Hashable) -> None:
        if self._lanes[lane]:
            self._ready.append(lane)
        else:
            del self._lanes[lane]

    def _behind(self, lane: Hashable) -> list[Item]:
        items = list(self._lanes.pop(lane))
        self._leave(items)
        return items

    def _leave(self, items: list[Item]) -> None:
        self._waiting -= len(items)
        self._waiting_bytes -= sum(len(item[1].data) for item in items)

    def _recall_waiting(self) -> list[Item]:
        items = [item for queue in self._lanes.values() for item in queue]
        for queue in self._lanes.values():  # lanes under way stay theirs
            queue.clear()
        for lane in self._ready:
            del self._lanes[lane]
        self._ready.clear()
        self._leave(items)
        return items
