"""What goes into one aggregated record: ``AGGREGATE="key"`` and ``"shard"``. Pure: no I/O.

A *lane* is what keeps an order: at most one unit of a lane is under way at a time. It is the
partition key, or with ``AGGREGATE="shard"`` the shard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from kinesis_bridge.aggregation import Packer
from kinesis_bridge.event import Record

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Hashable

    from kinesis_bridge.aggregation import ShardMap

REMEMBERED_KEYS = 50_000
Item = tuple[int, Record]
"""A record and its number in the order given."""


class Packing(ABC):
    """Decides the lanes, and what of a lane goes into the next record."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is the most that one record may hold, its own key included."""
        self._max_bytes = max_bytes

    @abstractmethod
    def lane(self, record: Record) -> Hashable:
        """Return the lane of a record."""

    @abstractmethod
    def outer(self, lane: Hashable, first: Record) -> Record:
        """Return the record that carries a lane's records, without its data."""

    def take(self, lane: Hashable, queue: deque[Item]) -> tuple[list[Item], Record]:
        """Remove from the head of `queue`, which is not empty, what fits into one record.

        Returns it with the record to send. One that fits with no other goes as it is.
        """
        outer = self.outer(lane, queue[0][1])
        packer = Packer(self._max_bytes - outer.size)
        add = packer.add
        fitting = 0
        for item in queue:
            if not add(item[1]):
                break
            fitting += 1
        items = [queue.popleft() for _ in range(max(1, fitting))]
        if fitting <= 1:
            return items, items[0][1]
        return items, Record(outer.partition_key, packer.build(), outer.explicit_hash_key)


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
        self._shards = shards
        self._starts: dict[Hashable, str] = {}
        self._known: dict[str, str] = {}

    def lane(self, record: Record) -> str:
        """Return the id of the shard that the record's hash key belongs to."""
        key = record.partition_key
        plain = record.explicit_hash_key is None
        if plain and (known := self._known.get(key)):
            return known
        shard = self._shards.shard_for(record)
        self._starts[shard.shard_id] = shard.explicit_hash_key
        if plain:
            if len(self._known) >= REMEMBERED_KEYS:
                self._known.clear()
            self._known[key] = shard.shard_id
        return shard.shard_id

    def outer(self, lane: Hashable, first: Record) -> Record:  # noqa: ARG002 - for ByKey
        """Return a record in the shard's range; its own key means nothing to anybody."""
        return Record("a", b"", self._starts[lane])
