"""Many events, one record: lanes that are packed before they are sent."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from .schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from kinesis_bridge.event import Record

    from .packing import Item, Packed, Packing
    from .schedule import Limits, Request

CHUNK = 256


class Unit(NamedTuple):
    """Some records of one lane, sent as one record and answered by one answer."""

    lane: Hashable
    items: list[Item]
    packed: Packed


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
        self._typical = max(1, limits.bytes // 8)
        """Bytes of a record, as the last ones were; a large guess to begin with."""
        self._lanes: dict[Hashable, deque[Item]] = {}
        """The lanes with anything open, and what waits in them."""
        self._ready: deque[Hashable] = deque()
        """Those of them that have nothing due, delayed or under way."""
        self._ahead: dict[Hashable, Unit] = {}
        """What is packed already of lanes with a unit under way: it goes next."""
        self._last: list[Hashable] = []
        """The lanes of the last request."""

    def items(self, unit: Unit) -> list[Item]:
        """Return the records packed into it."""
        return unit.items

    def _lane(self, unit: Unit) -> Hashable:
        return unit.lane

    def _size(self, unit: Unit) -> int:
        return unit.packed.size

    def _split(self, unit: Unit) -> bool:
        """Try its first half alone: only one of its records need be at fault."""
        middle = len(unit.items) // 2
        if not middle:
            return False
        # In front of what waits, and that is also what was packed ahead of its turn.
        ahead = self._ahead.pop(unit.lane, None)
        rest = unit.items[middle:] + (ahead.items if ahead else [])
        self._lanes[unit.lane].extendleft(reversed(rest))
        self._waiting += len(rest)
        self._waiting_bytes += sum(len(item[1].data) for item in rest)
        items, packed = self._packing.take(unit.lane, deque(unit.items[:middle]))
        self._due.append(Unit(unit.lane, items, packed))
        self.retried += 1
        return True

    def repack(self, packing: Packing) -> None:
        """Make the lanes anew, by `packing`; only while nothing is under way."""
        items = self.recall()
        self._packing = packing
        self._troubles.clear()
        self._lanes.clear()
        self._ready.clear()
        self._queue(items)

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
            if unit.packed.size > room and units:
                self._due.appendleft(unit)
                break
            room -= unit.packed.size
            units.append(unit)
        request.bytes = self._limits.bytes - room
        request.packed = [unit.packed for unit in units]
        request.lanes = [unit.lane for unit in units]
        self._last = request.lanes or self._last  # an empty request is none

    def look_ahead(self) -> None:
        """Put together the next unit of each lane of the last request, where it would be full.

        By this thread, which waits: the one that sends would compete with it for the interpreter.
        """
        self._read()
        for lane in self._last:
            queue = self._lanes.get(lane)
            if queue and lane not in self._ahead and self._is_plenty(queue):
                self._ahead[lane] = unit = self._pack(lane)
                unit.packed.record()
        self._last = []

    def _is_plenty(self, queue: deque[Item]) -> bool:
        return len(queue) * self._typical >= self._packing.max_bytes

    def _pack(self, lane: Hashable) -> Unit:
        items, packed = self._packing.take(lane, self._lanes[lane])
        self._leave(items)
        return Unit(lane, items, packed)

    def _read(self) -> None:
        """Fill the window from the source."""
        limits = self._limits
        while self._source is not None and not self._full():
            # No more at once than is likely to fit: the source may hold large records.
            room = max(0, limits.buffered_bytes - self._waiting_bytes) // self._typical
            free = limits.buffered_records - self._waiting
            chunk = list(islice(self._source, max(1, min(CHUNK, room, free))))
            if not chunk:
                self._source = None
                return
            self._open += len(chunk)
            self._typical = max(1, self._queue(chunk) // len(chunk))

    def _queue(self, items: list[Item]) -> int:
        """Put records into their lanes; return the bytes of their data."""
        queues, records = self._lanes, [item[1] for item in items]
        lanes = self._packing.lanes(records)
        found = dict.fromkeys(lanes)
        for lane in found:
            if lane not in queues:
                queues[lane] = deque()
                self._ready.append(lane)
        if len(found) == 1:
            queues[lanes[0]].extend(items)
        else:
            deque(map(deque.append, map(queues.__getitem__, lanes), items), 0)  # a loop in C
        size = sum([len(record.data) for record in records])
        self._waiting += len(items)
        self._waiting_bytes += size
        return size

    def _free(self, lane: Hashable) -> None:
        if (ahead := self._ahead.pop(lane, None)) is not None:
            self._due.append(ahead)
        elif self._lanes[lane]:
            self._ready.append(lane)
        else:
            del self._lanes[lane]

    def _behind_of(self, lane: Hashable) -> list[Item]:
        items = list(self._lanes.pop(lane))
        self._leave(items)
        ahead = self._ahead.pop(lane, None)
        return ahead.items + items if ahead else items

    def _leave(self, items: list[Item]) -> None:
        self._waiting -= len(items)
        self._waiting_bytes -= sum([len(item[1].data) for item in items])

    def _recall_waiting(self) -> list[Item]:
        items = [item for queue in self._lanes.values() for item in queue]
        for queue in self._lanes.values():  # lanes under way stay theirs
            queue.clear()
        for lane in self._ready:
            del self._lanes[lane]
        self._ready.clear()
        self._leave(items)
        items += [item for unit in self._ahead.values() for item in unit.items]
        self._ahead.clear()
        return items
