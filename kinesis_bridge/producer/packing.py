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
    """A record to be: put together only where it is sent, since that thread has the time."""

    __slots__ = ("_packer", "_record", "size")

    def __init__(self, record: Record, packer: Packer | None = None) -> None:
        """Take a record as it is, or with the data that `packer` builds."""
        self._record, self._packer = record, packer
        self.size = record.size + (packer.size if packer else 0)
        """Bytes of the whole record, its key included."""

    @property
    def is_one(self) -> bool:
        """Whether it is a record as it was given, packed with no other."""
        return self._packer is None

    def record(self) -> Record:
        """Return the record."""
        outer = self._record
        if self._packer is None:
            return outer
        return Record(outer.partition_key, self._packer.build(), outer.explicit_hash_key)


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
        self._starts: dict[Hashable, str] = {}
        self._known: dict[str, str] = {}

    def lanes(self, records: Sequence[Record]) -> list[Hashable]:
        """Return the lane of each record; fast where their keys are known."""
        if any([record.explicit_hash_key is not None for record in records]):  # noqa: C419 - faster
            return super().lanes(records)
        known: list[Hashable] = [
            *map(self._known.get, [record.partition_key for record in records])
        ]
        return known if None not in known else super().lanes(records)

    def lane(self, record: Record) -> str:
        """Return the id of the shard that the record's hash key belongs to."""
        key = record.partition_key
        plain = record.explicit_hash_key is None
        if plain and (known := self._known.get(key)):
            return known
        shard = self.shards.shard_for(record)
        self._starts[shard.shard_id] = shard.explicit_hash_key
        if plain:
            if len(self._known) >= REMEMBERED_KEYS:
                self._known.clear()
            self._known[key] = shard.shard_id
        return shard.shard_id

    def outer(self, lane: Hashable, first: Record) -> Record:  # noqa: ARG002 - for ByKey
        """Return a record in the shard's range; its own key means nothing to anybody."""
        return Record("a", b"", self._starts[lane])
