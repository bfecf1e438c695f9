"""KPL aggregated records, and which shard a hash key belongs to. Pure: no I/O.

One is ``MAGIC`` (4 bytes), a proto2 message, and the MD5 of the message (16 bytes). By field::

    AggregatedRecord  1 partition_key_table, 2 explicit_hash_key_table (repeated strings)
                      3 records (repeated Record)
    Record            1 partition_key_index (required), 2 explicit_hash_key_index (uint64, from 0)
                      3 data (required bytes), 4 tags (unused by the KPL and the KCL)

Sources: ``aggregation-format.md`` of awslabs/amazon-kinesis-producer; "Encoding" of protobuf.dev;
``AggregatorUtil.java`` of awslabs/amazon-kinesis-client for consumers. The KCL drops a **whole**
aggregated record, silently, when one hash key in it is outside the shard it was read from.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import md5
from sys import maxsize

from .event import Record
from .exceptions import AggregationError, InvalidHashKey, NotAggregated, ShardMapError

MAGIC = b"\xf3\x89\x9a\xc2"
OVERHEAD = len(MAGIC) + 16  # the bytes that are not protobuf: magic and digest
MAX_HASH_KEY = 2**128 - 1  # inclusive (API Reference, "PutRecord")

_SMALL = 1 << 14
_md5 = partial(md5, usedforsecurity=False)  # only a checksum, so hosts under FIPS allow it


class _Prefixes(dict[int, bytes]):
    """A protobuf tag byte and the varint of n, by n; remembered below ``_SMALL``."""

    def __init__(self, tag: int) -> None:
        self.tag = tag

    def __missing__(self, n: int) -> bytes:
        out, rest = bytearray((self.tag,)), n
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        prefix = bytes((*out, rest))
        return self.setdefault(n, prefix) if n < _SMALL else prefix


# Tags: field number << 3 | wire type (0 varint, 2 length-delimited).
_KEY, _HASH, _RECORD, _KEY_INDEX, _HASH_INDEX, _DATA = 0x0A, 0x12, 0x1A, 0x08, 0x10, 0x1A
_KEY_PREFIX, _HASH_PREFIX = _Prefixes(_KEY), _Prefixes(_HASH)
_KEY_FIELD, _HASH_FIELD = _Prefixes(_KEY_INDEX), _Prefixes(_HASH_INDEX)
_LENGTH = _Prefixes(_RECORD)  # of a record and of its data: both happen to be field 3


class _Shapes(dict[int, tuple[bytes, bytes, int]]):
    """What stands around a record's fields and data, and the bytes of it all, by both lengths."""

    def __missing__(self, lengths: int) -> tuple[bytes, bytes, int]:
        data, fields = lengths >> 5, lengths & 31  # two indexes are 22 bytes at most
        data_prefix = _LENGTH[data]
        length = fields + len(data_prefix) + data
        shape = _LENGTH[length], data_prefix, len(_LENGTH[length]) + length
        return self.setdefault(lengths, shape) if data < _SMALL >> 2 else shape


_SHAPES = _Shapes()


class Packer:
    """Packs records, one by one, into data of at most ``max_bytes``. Not thread-safe.

    The limit includes magic and digest; AWS counts the outer partition key too (API "PutRecords").
    """

    __slots__ = ("_hashes", "_keys", "_max", "_parts", "_size")

    def __init__(self, max_bytes: int) -> None:
        if max_bytes <= OVERHEAD:
            raise AggregationError(f"max_bytes must be above {OVERHEAD}, not {max_bytes}.")
        self._max = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forget every record."""
        self._size = OVERHEAD
        self._keys: dict[str, bytes] = {}  # in table order, to the field that refers to it
        self._hashes: dict[str, bytes] = {}
        self._parts: list[bytes] = []  # four for each record

    @property
    def size(self) -> int:
        """Bytes that ``build()`` would return; ``OVERHEAD`` while empty."""
        return self._size

    @property
    def count(self) -> int:
        """Records added since the last ``clear()``."""
        return len(self._parts) >> 2

    def add(self, record: Record) -> bool:
        """Add ``record``; or return False, with nothing changed, when it does not fit.

        False from an empty packer: it fits in none, send it alone. Raises as :meth:`extend`.
        """
        return self.extend((record,)) == 1

    def extend(self, records: Iterable[Record]) -> int:
        """Add records up to the first that does not fit; return how many were added.

        Raises ``InvalidHashKey``, or ``UnicodeEncodeError`` for a key with a lone surrogate: those
        before it are added then, and nothing of it.
        """
        keys, parts, most, size = self._keys, self._parts, self._max, self._size
        known, shapes, prefixes, indexes = keys.get, _SHAPES, _KEY_PREFIX, _KEY_FIELD
        before = len(parts)
        try:
            for record in records:
                key, data, explicit = record.partition_key, record.data, record.explicit_hash_key
                fields, new = known(key), 0
                if fields is None:
                    length = len(key) if key.isascii() else len(key.encode())
                    new = length + len(prefixes[length])
                    fields = indexes[len(keys)]
                key_field = fields
                if explicit is not None:
                    hash_field, more = self._hash(explicit)
                    fields += hash_field
                    new += more
                prefix, data_prefix, length = shapes[len(data) << 5 | len(fields)]
                new += length
                if size + new > most:
                    break
                keys[key] = key_field
                if explicit is not None:
                    self._hashes[explicit] = hash_field
                parts += (prefix, fields, data_prefix, data)
                size += new
        finally:
            self._size = size
        return (len(parts) - before) >> 2

    def _hash(self, explicit: str) -> tuple[bytes, int]:
        """Return the field that refers to a hash key, and the bytes that it adds to the table."""
        field = self._hashes.get(explicit)
        if field is not None:
            return field, 0
        parse_hash_key(explicit)  # one wrong key costs the KCL all that is packed here
        return _HASH_FIELD[len(self._hashes)], len(explicit) + len(_HASH_PREFIX[len(explicit)])

    def build(self) -> bytes:
        """Return the aggregated record's data; the records stay. ``AggregationError`` if empty."""
        if not self._parts:  # the KCL takes an empty message for a record that is not aggregated
            raise AggregationError("Nothing to build: add a record first.")
        keys = [_KEY_PREFIX[len(key)] + key for key in map(str.encode, self._keys)]
        hashes = [_HASH_PREFIX[len(key)] + key for key in map(str.encode, self._hashes)]
        message = b"".join(keys + hashes + self._parts)
        return b"".join((MAGIC, message, _md5(message).digest()))


def pack(records: Sequence[Record]) -> bytes:
    """Return ``records`` as one aggregated record's data of any size; raises like ``Packer``."""
    packer = Packer(maxsize)
    packer.extend(records)
    return packer.build()


def is_aggregated(data: bytes) -> bool:
    """Tell whether ``data`` has the magic, a message and its digest, as the KCL wants them."""
    return data[:4] == MAGIC and len(data) > OVERHEAD and _md5(data[4:-16]).digest() == data[-16:]


def unpack_data(data: bytes) -> list[Record]:
    """Return an aggregated record's records in order; tags and unknown fields are skipped.

    Raises ``NotAggregated``, and nothing else whatever the bytes, for a wrong magic, digest,
    protobuf, index or UTF-8 of a key, and for a missing required field.
    """
    if not is_aggregated(data):
        raise NotAggregated("No aggregated record: magic or digest is missing or wrong.")
    tables: defaultdict[int, list[bytes]] = defaultdict(list)
    try:
        for tag, _, value in _fields(data[4:-16]):
            tables[tag].append(value)
        keys = [key.decode() for key in tables[_KEY]]
        hashes = [key.decode() for key in tables[_HASH]]
        return [_record(body, keys, hashes) for body in tables[_RECORD]]
    except (IndexError, UnicodeDecodeError) as err:
        raise NotAggregated(f"The digest is right but the message is malformed: {err}.") from err


def deaggregate(record: Record) -> Iterator[Record]:
    """Return the records in ``record``; or itself if it is not aggregated or malformed."""
    try:
        return iter(unpack_data(record.data))
    except NotAggregated:
        return iter((record,))


def _record(body: bytes, keys: list[str], hashes: list[str]) -> Record:
    found = {tag: (number, value) for tag, number, value in _fields(body)}  # the last one counts
    if _KEY_INDEX not in found or _DATA not in found:
        raise NotAggregated("A record lacks its partition key index or its data.")
    explicit = hashes[found[_HASH_INDEX][0]] if _HASH_INDEX in found else None
    return Record(keys[found[_KEY_INDEX][0]], found[_DATA][1], explicit)


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield tag, number, bytes of each varint or length-delimited field; skip the others."""
    position, end = 0, len(message)
    groups: list[int] = []  # a deprecated wire type, but legal; they nest
    while position < end:
        tag, position = _varint(message, position)
        field, wire, number, value = tag >> 3, tag & 7, 0, b""
        if wire == 0:
            number, position = _varint(message, position)
        elif wire == 2:
            length, position = _varint(message, position)
            value = message[position : position + length]
            position += length
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        elif wire == 3:
            groups.append(field)
        elif wire != 4 or not groups or groups.pop() != field:
            raise NotAggregated(f"Malformed protobuf: wire type {wire} before byte {position}.")
        if position > end or not 0 < field < 1 << 29:
            raise NotAggregated(f"Malformed protobuf: field {field} before byte {position}.")
        if not groups and wire in (0, 2):
            yield tag, number, value
    if groups:
        raise NotAggregated(f"Malformed protobuf: group {groups[-1]} does not end.")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):  # ten bytes at most
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise NotAggregated(f"Malformed protobuf: a varint too long before byte {position}.")


@lru_cache(maxsize=_SMALL)
def hash_key(partition_key: str) -> int:
    """Return the MD5 of a key's UTF-8 as an unsigned big-endian number (API "PutRecord"; KCL)."""
    return int.from_bytes(_md5(partition_key.encode()).digest(), "big")


def parse_hash_key(text: str) -> int:
    """Return a hash key in AWS's decimal form, "0" or no leading 0 (API "HashKeyRange")."""
    value = int(text) if len(text) < 40 and text.isdecimal() else -1
    if str(value) == text and 0 <= value <= MAX_HASH_KEY:
        return value
    raise InvalidHashKey(f"{text!r} is no hash key: give a decimal integer below 2**128.")


@dataclass(frozen=True, slots=True)
class Shard:
    """An open shard and its range of hash keys, both ends inclusive (API "HashKeyRange")."""

    shard_id: str
    start: int
    end: int

    @property
    def explicit_hash_key(self) -> str:
        """The outer explicit hash key that routes an aggregated record to this shard."""
        return str(self.start)


class ShardMap:
    """Finds the shard of a hash key. Immutable; maps of the same shards are equal."""

    __slots__ = ("_shards", "_starts")

    def __init__(self, shards: Iterable[Shard]) -> None:
        """Take a stream's open shards in any order; ``ShardMapError`` for a hole or overlap.

        Closed ones, which overlap, have an EndingSequenceNumber (API "SequenceNumberRange").
        """
        self._shards = tuple(sorted(shards, key=lambda shard: (shard.start, shard.end)))
        self._starts = [shard.start for shard in self._shards]
        due = 0
        for shard in self._shards:
            if shard.start != due or shard.end < shard.start:
                raise ShardMapError(f"Hash key {due} should start a shard; the next is {shard}.")
            due = shard.end + 1
        if due != MAX_HASH_KEY + 1:
            raise ShardMapError(f"{len(self)} shards end at hash key {due - 1}, not at 2**128 - 1.")

    def find(self, key: int) -> Shard:
        """Return the shard of a hash key; ``InvalidHashKey`` if it is out of range."""
        if 0 <= key <= MAX_HASH_KEY:
            return self._shards[bisect_right(self._starts, key) - 1]
        raise InvalidHashKey(f"{key} is no hash key: give an integer from 0 to 2**128 - 1.")

    def shard_for(self, record: Record) -> Shard:
        """Return where ``record`` goes; ``InvalidHashKey`` for a wrong explicit hash key."""
        key = record.explicit_hash_key
        return self.find(hash_key(record.partition_key) if key is None else parse_hash_key(key))

    def __len__(self) -> int:
        return len(self._shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)  # by their ranges

    def __eq__(self, other: object) -> bool:
        return self._shards == other._shards if isinstance(other, ShardMap) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._shards)
