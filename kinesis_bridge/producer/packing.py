"""What goes into one aggregated record: ``AGGREGATE="key"`` and ``"shard"``. Pure: no I/O.

A *lane* is what keeps an order: at most one unit of a lane is under way at a time. It is the
partition key, or with ``AGGREGATE="shard"`` the shard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from operator import itemgetter
from typing import TYPE_CHECKING

from kinesis_bridge.aggregation import OVERHEAD, Packer
from kinesis_bridge.event import Record

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Hashable, Sequence

    from kinesis_bridge.aggregation import ShardMap

REMEMBERED_KEYS = 50_000
_RECORD = itemgetter(1)
Item = tuple[int, Record]
"""A record and its number in the order given."""


class Packed:
    """A record to be: put together ahead of its turn, or else by the thread that sends it."""

    __slots__ = ("_packer", "_record", "is_one", "size")

    def __init__(self, record: Record, packer: Packer | None = None) -> None:
        """Take a record as it is, or with the data that `packer` builds."""
        self._record, self._packer = record, packer
        self.is_one = packer is None
        """Whether it is a record as it was given, packed with no other."""
        self.size = record.size + (packer.size if packer else 0)
        """Bytes of the whole record, its key included."""

    def record(self) -> Record:
        """Return the record, put together once."""
        if self._packer is not None:
            outer, data = self._record, self._packer.build()
            self._record = Record(outer.partition_key, data, outer.explicit_hash_key)
            self._packer = None
        return self._record


class Packing(ABC):
    """Decides the lanes, and what of a lane goes into the next record."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is the most that one record may hold, its own key included."""
        self.max_bytes = max_bytes

    @abstractmethod
    def lane(self, record: Record) -> Hashable:
        """Return the lane of a record."""

    def lanes(self, records: Sequence[Record]) -> list[Hashable]:
        """Return the lane of each record."""
        return [self.lane(record) for record in records]

    @abstractmethod
    def outer(self, lane: Hashable, first: Record) -> Record:
        """Return the record that carries a lane's records, without its data."""

    def take(self, lane: Hashable, queue: deque[Item]) -> tuple[list[Item], Packed]:
        """Remove from the head of `queue`, which is not empty, what fits into one record.

        Returns it with what is to be sent. One that fits with no other goes as it is.
        """
        outer = self.outer(lane, queue[0][1])
        packer = Packer(max(OVERHEAD + 1, self.max_bytes - outer.size))
        fitting = packer.extend(map(_RECORD, queue))
        items = [queue.popleft() for _ in range(max(1, fitting))]
        if fitting <= 1:
            return items, Packed(items[0][1])
        return items, Packed(outer, packer)


class ByKey(Packing):
    """Runs of one key in one record: whatever the shards are, all of it is in the right one."""

    def lane(self, record: Record) -> Hashable:
        """Return the partition key and the explicit hash key: both decide the shard."""
        key, hash_key = record.partition_key, record.explicit_hash_key
        return key if hash_key is None else (key, hash_key)

    def outer(self, lane: Hashable, first: Record) -> Record:  # noqa: ARG002 - for ByShard
        """Return a record of the same key."""
        return Record(first.partition_key, b"", first.explicit_hash_key)


class ByShard(Packing):
    """Whole shards packed. The map must be fresh: the KCL drops a record packed for another shard.

    The lane is the shard's id; the outer record carries the shard's first hash key.
    """

    def __init__(self, max_bytes: int, shards: ShardMap) -> None:
        super().__init__(max_bytes)
        self.shards = shards
        self._starts: dict[Hashable, str] = {
            shard.shard_id: shard.explicit_hash_key for shard in shards
        }
        self._known: dict[str, str] = {}

    def lanes(self, records: Sequence[Record]) -> list[Hashable]:
        """Return the lane of each record; fast where their keys are known."""
        if len(self._starts) == 1:
            return [*self._starts] * len(records)
        lanes: list[Hashable] = [
            *map(self._known.get, [record.partition_key for record in records])
        ]
        explicit = [record.explicit_hash_key is not None for record in records]
        if None in lanes or True in explicit:
            for number, record in enumerate(records):
                if lanes[number] is None or explicit[number]:
                    lanes[number] = self.lane(record)
        return lanes

    def lane(self, record: Record) -> str:
        """Return the id of the shard that the record's hash key belongs to."""
        key = record.partition_key
        plain = record.explicit_hash_key is None
        if plain and (known := self._known.get(key)):
            return known
        shard = self.shards.shard_for(record)
        if plain:
            if len(self._known) >= REMEMBERED_KEYS:
                self._known.clear()
            self._known[key] = shard.shard_id
        return shard.shard_id

    def outer(self, lane: Hashable, first: Record) -> Record:  # noqa: ARG002 - for ByKey
        """Return a record in the shard's range; its own key means nothing to anybody."""
        return Record("a", b"", self._starts[lane])
