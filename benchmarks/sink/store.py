"""Streams, shards, sequence numbers, and the record of everything accepted."""

from __future__ import annotations

import base64
import time
from bisect import bisect_right
from hashlib import md5
from typing import IO

import orjson

from benchmarks.sink.config import HASH_KEYS, Config
from benchmarks.sink.errors import ApiError, invalid_argument, stream_not_found

#: (stream, shard id, sequence number, partition key, data)
Entry = tuple[str, str, int, str, bytes]


def hash_of(partition_key: str) -> int:
    """The 128-bit hash by which Kinesis finds the shard: MD5 of the key in UTF-8."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


class Shard:
    """One shard; ``first`` and ``last`` are its range of hash keys, both included."""

    def __init__(self, index: int, first: int, last: int, created: int, parent: str = "") -> None:
        self.index = index
        self.id = f"shardId-{index:012d}"
        self.first = first
        self.last = last
        self.created = created  # seconds since the epoch: the high bits of its sequence numbers
        self.parent = parent
        self.count = 0
        self.starting = self.next_sequence()
        self.ending: int | None = None
        self._record_tokens = self._byte_tokens = -1.0
        self._filled = 0.0

    def next_sequence(self) -> int:
        """A number above all earlier ones of this shard and of its parents.

        186 bits, 56 decimal digits like those of AWS; their make-up is not documented.
        """
        self.count += 1
        return (
            2 << 184
            | self.created << 148
            | (self.index & 15) << 144
            | self.count << 80
            | int(time.time()) << 36
            | (self.index & 0xFFFFFFFF) << 4
            | 2
        )

    def admits(self, size: int, now: float, config: Config) -> bool:
        """Take ``size`` bytes and one record out of this second's capacity, if there is room.

        A token bucket that holds one second's worth. A record larger than that passes when the
        bucket is full and is paid off afterwards ("Handle large records").
        """
        records, capacity = config.shard_records, config.shard_bytes
        if self._filled == 0.0:
            self._record_tokens, self._byte_tokens = float(records), float(capacity)
        else:
            passed = now - self._filled
            self._record_tokens = min(records, self._record_tokens + passed * records)
            self._byte_tokens = min(capacity, self._byte_tokens + passed * capacity)
        self._filled = now
        if self._record_tokens < 1 or self._byte_tokens < min(size, capacity):
            return False
        self._record_tokens -= 1
        self._byte_tokens -= size
        return True


class Stream:
    """A stream: all shards ever, and the open ones by hash key."""

    def __init__(self, name: str, arn: str, shards: int) -> None:
        self.name = name
        self.arn = arn
        self.created = time.time()
        bounds = [place * HASH_KEYS // shards for place in range(shards + 1)]
        self.shards = [
            Shard(place, bounds[place], bounds[place + 1] - 1, int(self.created))
            for place in range(shards)
        ]
        self._arrange()

    def _arrange(self) -> None:
        self.open = sorted(
            (shard for shard in self.shards if shard.ending is None), key=lambda shard: shard.first
        )
        self._starts = [shard.first for shard in self.open]

    def route(self, hash_key: int) -> Shard:
        """The open shard of this hash key."""
        return self.open[bisect_right(self._starts, hash_key) - 1]

    def split(self, index: int) -> tuple[Shard, Shard]:
        """Close shard ``index`` and open two, each with half of its hash keys."""
        if not 0 <= index < len(self.shards) or self.shards[index].ending is not None:
            raise invalid_argument(f"Shard {index} of stream {self.name} is not open.")
        parent = self.shards[index]
        middle = (parent.first + parent.last + 1) // 2
        created = max(int(time.time()), parent.created + 1)
        parent.ending = parent.next_sequence()
        place = len(self.shards)
        children = (
            Shard(place, parent.first, middle - 1, created, parent.id),
            Shard(place + 1, middle, parent.last, created, parent.id),
        )
        self.shards.extend(children)
        self._arrange()
        return children


class Store:
    """All streams of the sink, and what it accepted."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._any = not config.streams
        self.streams: dict[str, Stream] = {}
        for text in config.streams:
            name, _, shards = text.partition(":")
            self._create(name, int(shards) if shards else config.shards)
        self.accepted: list[Entry] = []
        self._file: IO[bytes] | None = open(config.log, "wb") if config.log else None  # noqa: SIM115

    def _create(self, name: str, shards: int) -> Stream:
        arn = f"arn:aws:kinesis:{self._config.region}:{self._config.account}:stream/{name}"
        stream = self.streams[name] = Stream(name, arn, shards)
        return stream

    def stream(self, name: str) -> Stream:
        """The stream of this name; ``ResourceNotFoundException`` if there is none."""
        found = self.streams.get(name)
        if found is None:
            if not self._any:
                raise stream_not_found(name, self._config.account)
            found = self._create(name, self._config.shards)
        return found

    def only(self) -> str:
        """The name of the one stream there is; ``ValueError`` if there are others or none."""
        if len(self.streams) != 1:
            raise ValueError(f"name the stream: there are {len(self.streams)}")
        return next(iter(self.streams))

    def stream_of_arn(self, arn: str) -> Stream:
        """The stream of this ARN; account and region must be the sink's."""
        start = f"arn:aws:kinesis:{self._config.region}:{self._config.account}:stream/"
        if not arn.startswith(start):
            account, _, name = arn.split(":", 4)[-1].partition(":stream/")
            raise stream_not_found(name, account)
        return self.stream(arn.removeprefix(start))

    def firehose(self, name: str) -> None:
        """``ResourceNotFoundException`` unless this Firehose stream exists."""
        if not self._any and name not in self.streams:
            raise ApiError(
                "ResourceNotFoundException",
                f"Firehose {name} under account {self._config.account} not found.",
            )

    def accept(self, entry: Entry) -> None:
        """Take a record in, for good."""
        if self._config.keep:
            self.accepted.append(entry)
        if self._file is not None:
            self._file.write(entry_json(entry) + b"\n")

    def flush(self) -> None:
        """Hand the log file's buffer to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the log file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def entry_json(entry: Entry) -> bytes:
    """One accepted record as a JSON list: stream, shard, sequence number, key, data in base64."""
    stream, shard, sequence, key, data = entry
    return orjson.dumps([stream, shard, str(sequence), key, base64.b64encode(data).decode()])
