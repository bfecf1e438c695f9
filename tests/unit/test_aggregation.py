"""The aggregation format against its reference implementation, and the shard map's edges."""

import base64
import hashlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator, messages_pb2
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from kinesis_bridge.aggregation import (
    MAGIC,
    MAX_HASH_KEY,
    OVERHEAD,
    AggregationError,
    InvalidHashKey,
    NotAggregated,
    Packer,
    Shard,
    ShardMap,
    ShardMapError,
    deaggregate,
    hash_key,
    is_aggregated,
    pack,
    parse_hash_key,
    unpack_data,
)
from kinesis_bridge.event import Record
from kinesis_bridge.exceptions import KinesisBridgeError

# The reference puts its own directory and site-packages first on the path: put that right.
_path = [entry for entry in sys.path if not entry.endswith("aws_kinesis_agg")]
sys.path[:] = reversed(dict.fromkeys(reversed(_path)))

calm = settings(deadline=None)  # a shared machine stalls now and then

KEYS = st.text(min_size=1, max_size=8) | st.sampled_from(["a", "é", "鍵", "🔑" * 64, "k" * 256])
DATA = st.binary(max_size=300) | st.sampled_from([b"", b"\0" * 20_000])
HASHES = st.sampled_from(["0", "7", str(MAX_HASH_KEY)]) | st.integers(0, MAX_HASH_KEY).map(str)
PLAIN = st.builds(Record, KEYS, DATA, st.none())
HASHED = st.builds(Record, KEYS, DATA, HASHES)
MIXED = st.lists(PLAIN | HASHED, min_size=1, max_size=30)


def sealed(message: bytes) -> bytes:
    """Return ``message`` with a right magic and digest, so that its content is looked at."""
    return MAGIC + message + hashlib.md5(message).digest()


def varint(n: int) -> bytes:
    return (bytes([n & 127 | 128]) + varint(n >> 7)) if n > 127 else bytes([n])


def number(field: int, n: int) -> bytes:
    return varint(field << 3) + varint(n)


def blob(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def group(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 3) + content + varint(field << 3 | 4)


def parsed(message: bytes) -> list[Record]:
    """Read ``message`` with the reference's protobuf classes."""
    tables = messages_pb2.AggregatedRecord()
    tables.ParseFromString(message)
    return [
        Record(
            tables.partition_key_table[record.partition_key_index],
            record.data,
            tables.explicit_hash_key_table[record.explicit_hash_key_index]
            if record.HasField("explicit_hash_key_index")
            else None,
        )
        for record in tables.records
    ]


def reference_unpack(data: bytes) -> list[dict[str, Any]]:
    """Read ``data`` as a consumer with the reference library does."""
    outer = {
        "SequenceNumber": "1",
        "PartitionKey": "outer",
        "ApproximateArrivalTimestamp": 0,
        "Data": data,
    }
    return [item["kinesis"] for item in iter_deaggregate_records([outer], data_format="Boto3")]


def reference_pack(records: list[Record]) -> bytes:
    aggregator = RecordAggregator()
    for record in records:
        full = aggregator.add_user_record(
            record.partition_key, record.data, record.explicit_hash_key
        )
        assert full is None, "the example is too large for the reference"
    contents: bytes = aggregator.clear_and_get().get_contents()[2]
    return contents


class TestPackAndUnpack:
    @calm
    @given(MIXED)
    def test_round_trip_keeps_everything_in_order(self, records: list[Record]) -> None:
        data = pack(records)
        assert is_aggregated(data)
        assert unpack_data(data) == records
        assert list(deaggregate(Record("outer", data, "0"))) == records

    def test_bytes_of_the_documented_format(self) -> None:
        records = [Record("a", b"x"), Record("é", b"", "5"), Record("a", b"yz", "5")]
        message = (
            b"\x0a\x01a" + b"\x0a\x02\xc3\xa9"  # partition keys
            b"\x12\x015"  # explicit hash keys, once
            b"\x1a\x05\x08\x00\x1a\x01x"
            b"\x1a\x06\x08\x01\x10\x00\x1a\x00"
            b"\x1a\x08\x08\x00\x10\x00\x1a\x02yz"
        )
        digest = hashlib.md5(message).digest()
        assert pack(records) == b"\xf3\x89\x9a\xc2" + message + digest

    def test_hash_key_table_is_absent_without_explicit_hash_keys(self) -> None:
        tables = messages_pb2.AggregatedRecord()
        tables.ParseFromString(pack([Record("a", b"x"), Record("b", b"y")])[4:-16])
        assert list(tables.explicit_hash_key_table) == []
        assert not any(record.HasField("explicit_hash_key_index") for record in tables.records)

    def test_packing_nothing_is_an_error(self) -> None:
        with pytest.raises(AggregationError, match="add a record"):
            pack([])


class TestAgainstReference:
    @calm
    @given(MIXED)
    def test_bytes_are_the_reference_ones(self, records: list[Record]) -> None:
        assert pack(records) == reference_pack(records)

    @calm
    @given(MIXED)
    def test_reads_what_the_reference_wrote(self, records: list[Record]) -> None:
        assert unpack_data(reference_pack(records)) == records

    @calm
    @given(st.lists(PLAIN, min_size=1, max_size=30) | st.lists(HASHED, min_size=1, max_size=30))
    def test_reference_reads_what_pack_wrote(self, records: list[Record]) -> None:
        # All with a hash key or all without: for a mixture the reference's deaggregator gives
        # those without the table's first hash key. Its protobuf classes read mixtures, below.
        items = reference_unpack(pack(records))
        assert [
            Record(item["partitionKey"], base64.b64decode(item["data"]), item["explicitHashKey"])
            for item in items
        ] == records
        assert [item["subSequenceNumber"] for item in items] == list(range(len(records)))

    @calm
    @given(MIXED)
    def test_reference_protobuf_reads_mixtures(self, records: list[Record]) -> None:
        assert parsed(pack(records)[4:-16]) == records

    def test_thousands_of_keys(self) -> None:
        # Indexes of one, two and three bytes, in order and out of it.
        keys = [f"key-{n}" for n in range(17_000)]
        records = [Record(key, b"%d" % n, str(n)) for n, key in enumerate(keys)]
        shuffled = random.Random(1).sample(records, 2_000)
        data = pack(records + shuffled)
        assert data == reference_pack(records + shuffled)
        assert unpack_data(data) == records + shuffled


JUNK = st.one_of(
    st.builds(number, st.integers(5, 40), st.integers(0, 2**64 - 1)),
    st.builds(blob, st.integers(5, 40), st.binary(max_size=9)),
    st.builds(
        lambda field, v: varint(field << 3 | 1) + v,
        st.integers(5, 40),
        st.binary(min_size=8, max_size=8),
    ),
    st.builds(
        lambda field, v: varint(field << 3 | 5) + v,
        st.integers(5, 40),
        st.binary(min_size=4, max_size=4),
    ),
    # Known numbers with another wire type are unknown fields too.
    st.sampled_from([number(3, 9), b"\x0d1234", b"\x1912345678", blob(2**29 - 1, b"x")]),
)
NESTED = st.recursive(
    JUNK,
    lambda inner: st.builds(
        lambda field, parts: group(field, b"".join(parts)),
        st.integers(5, 40),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)
TAG = st.builds(
    lambda k, v: blob(4, blob(1, k) + v), st.just(b"k"), st.sampled_from([b"", blob(2, b"v")])
)


@st.composite
def foreign_messages(draw: st.DrawFn) -> bytes:
    """Draw a legal message as no one here would write it."""
    keys, hashes = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    tables = [blob(1, b"key%d" % n) for n in range(keys)]
    tables += [blob(2, b"%d" % n) for n in range(hashes)]
    bodies = []
    for _ in range(draw(st.integers(0, 4))):
        index = st.builds(number, st.just(1), st.integers(0, keys - 1))
        explicit = st.builds(number, st.just(2), st.integers(0, hashes - 1))
        data = st.builds(blob, st.just(3), st.binary(max_size=9))
        parts = [draw(index), draw(data)]  # required
        parts += draw(st.lists(st.one_of(index, explicit, data, TAG, NESTED), max_size=5))
        bodies.append(blob(3, b"".join(draw(st.permutations(parts)))))
    junk = draw(st.lists(NESTED, min_size=1, max_size=4))
    # Records may come before the tables that they refer to.
    return b"".join(draw(st.permutations([*bodies, *tables, *junk])))


class TestForeignInput:
    @calm
    @given(foreign_messages())
    def test_unknown_fields_tags_groups_and_any_order(self, message: bytes) -> None:
        assert unpack_data(sealed(message)) == parsed(message)

    def test_tags_and_unknown_fields_by_hand(self) -> None:
        body = number(9, 1) + number(1, 0) + blob(4, blob(1, b"k")) + blob(3, b"x") + number(77, 5)
        message = blob(1, b"a") + group(6, number(3, 1) + group(7, blob(3, b"no"))) + blob(3, body)
        assert unpack_data(sealed(message)) == [Record("a", b"x")]

    def test_last_value_of_a_field_counts_and_varints_may_be_padded(self) -> None:
        body = number(1, 1) + b"\x08\x80\x80\x00" + blob(3, b"old") + blob(3, b"new")
        message = blob(1, b"a") + blob(1, b"b") + blob(3, body)
        assert unpack_data(sealed(message)) == parsed(message) == [Record("a", b"new")]

    @calm
    @given(st.binary(max_size=200))
    def test_arbitrary_bytes_are_not_aggregated(self, data: bytes) -> None:
        assert not is_aggregated(data)
        with pytest.raises(NotAggregated):
            unpack_data(data)
        record = Record("outer", data)
        assert [*deaggregate(record)] == [record]

    @settings(calm, max_examples=400)
    @given(st.binary(min_size=1, max_size=60))
    def test_arbitrary_sealed_bytes_raise_only_the_documented_error(self, message: bytes) -> None:
        self.check_like_reference(message)

    @settings(calm, max_examples=400)
    @given(st.data())
    def test_mutated_messages_raise_only_the_documented_error(self, data: st.DataObject) -> None:
        records = data.draw(
            st.lists(
                st.builds(
                    Record, st.sampled_from(["a", "é"]), st.binary(max_size=9), st.none() | HASHES
                ),
                min_size=1,
                max_size=4,
            )
        )
        message = bytearray(pack(records)[4:-16])
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(message) - 1))
            cut = data.draw(st.integers(0, 2))
            message[at : at + cut] = data.draw(st.binary(max_size=2))
            message = message or bytearray(b"\0")
        self.check_like_reference(bytes(message))

    @staticmethod
    def check_like_reference(message: bytes) -> None:
        record = Record("outer", sealed(message))
        try:
            mine: list[Record] | None = unpack_data(record.data)
        except NotAggregated:
            mine = None
            assert [*deaggregate(record)] == [record]
        try:
            theirs: list[Record] | None = parsed(message)
        except (DecodeError, IndexError, UnicodeDecodeError):
            theirs = None
        if mine is not None and theirs is not None:
            assert mine == theirs

    @calm
    @given(MIXED, st.data())
    def test_one_flipped_bit_is_noticed(self, records: list[Record], data: st.DataObject) -> None:
        flipped = bytearray(pack(records))
        bit = data.draw(st.integers(0, len(flipped) * 8 - 1))
        flipped[bit >> 3] ^= 1 << (bit & 7)
        assert not is_aggregated(bytes(flipped))
        with pytest.raises(NotAggregated):
            unpack_data(bytes(flipped))

    @pytest.mark.parametrize(
        "message",
        [
            pytest.param(blob(1, b"a") + blob(3, number(1, 1) + blob(3, b"")), id="key index"),
            pytest.param(blob(3, number(1, 2**64 - 1) + blob(3, b"")), id="huge key index"),
            pytest.param(
                blob(1, b"a") + blob(3, number(1, 0) + number(2, 0) + blob(3, b"")),
                id="hash key index",
            ),
            pytest.param(blob(1, b"a") + blob(3, blob(3, b"x")), id="no key index"),
            pytest.param(blob(1, b"a") + blob(3, number(1, 0)), id="no data"),
            pytest.param(
                blob(1, b"a") + blob(3, blob(1, b"a") + blob(3, b"")), id="index as bytes"
            ),
            pytest.param(blob(1, b"\xff"), id="key is no UTF-8"),
            pytest.param(blob(2, b"\xed\xa0\x80"), id="hash key is no UTF-8"),
            pytest.param(b"\x0a\x05abc", id="truncated bytes"),
            pytest.param(b"\x0a", id="truncated length"),
            pytest.param(b"\x28\x80", id="truncated number"),
            pytest.param(b"\x29" + b"\0" * 7, id="truncated 64 bit"),
            pytest.param(b"\x2d" + b"\0" * 3, id="truncated 32 bit"),
            pytest.param(b"\x28" + b"\x80" * 10 + b"\0", id="number too long"),
            pytest.param(
                blob(1, b"a") + blob(3, b"\x08" + b"\x80" * 9 + b"\x7e" + blob(3, b"")),
                id="number over 64 bits",
            ),
            pytest.param(b"\x02\x00", id="field 0"),
            pytest.param(b"\x2e", id="wire type 6"),
            pytest.param(b"\x2f", id="wire type 7"),
            pytest.param(b"\x2b", id="group does not end"),
            pytest.param(b"\x2c", id="group does not start"),
            pytest.param(b"\x2b\x34", id="another group ends"),
        ],
    )
    def test_each_malformation_is_named_and_nothing_is_lost(self, message: bytes) -> None:
        record = Record("outer", sealed(message), "12")
        assert is_aggregated(record.data)
        with pytest.raises(NotAggregated, match=r"[Mm]alformed|lacks"):
            unpack_data(record.data)
        assert [*deaggregate(record)] == [record]

    @pytest.mark.parametrize(
        "data",
        [b"", MAGIC, MAGIC + b"\0" * 16, sealed(b""), b"\0" + sealed(b"x")[1:], sealed(b"x")[:-1]],
    )
    def test_outer_shape(self, data: bytes) -> None:
        assert not is_aggregated(data)
        with pytest.raises(NotAggregated, match="magic or digest"):
            unpack_data(data)

    def test_reference_takes_an_empty_message_for_a_plain_record_too(self) -> None:
        assert "aggregated" not in reference_unpack(sealed(b""))[0]
        assert reference_unpack(pack([Record("a", b"")]))[0]["aggregated"] is True

    def test_many_nested_groups_do_not_exhaust_the_stack(self) -> None:
        message = b"\x2b" * 100_000 + b"\x2c" * 100_000
        assert unpack_data(sealed(message)) == []


class TestPacker:
    @calm
    @given(MIXED)
    def test_size_and_count_are_exact_after_every_record(self, records: list[Record]) -> None:
        packer = Packer(1 << 24)
        assert (packer.size, packer.count) == (OVERHEAD, 0)
        for n, record in enumerate(records, 1):
            assert packer.add(record)
            assert packer.count == n
            assert packer.size == len(packer.build())
        assert packer.build() == pack(records)

    @pytest.mark.parametrize("edge", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
    @pytest.mark.parametrize("explicit", [None, "42"])
    def test_size_is_exact_where_varints_grow(self, edge: int, explicit: str | None) -> None:
        for length in range(max(edge - 12, 0), edge + 2):  # the record's own length crosses too
            packer = Packer(1 << 24)
            assert packer.add(Record("k", bytes(length), explicit))
            assert packer.size == len(packer.build())
        assert unpack_data(packer.build()) == [Record("k", bytes(edge + 1), explicit)]

    def test_size_is_exact_where_indexes_grow(self) -> None:
        packer = Packer(1 << 24)
        sizes = {}
        for n in range(16_390):
            assert packer.add(Record(f"{n:05}", b"", f"{10_000 + n}"))
            if n in {126, 127, 128, 129, 16_383, 16_384, 16_389}:
                sizes[n] = packer.size
                assert packer.size == len(packer.build())
        assert sizes[128] - sizes[127] == sizes[127] - sizes[126] + 2

    @calm
    @given(MIXED)
    def test_fits_exactly_and_not_one_byte_less(self, records: list[Record]) -> None:
        size = len(pack(records))
        exact = Packer(size)
        assert all(exact.add(record) for record in records)
        assert exact.size == size == len(exact.build())

        *first, last = records
        short = Packer(size - 1)
        assert all(short.add(record) for record in first)
        before = (short.size, short.count)
        assert not short.add(last)
        assert (short.size, short.count) == before
        if first:
            assert short.build() == pack(first)

    def test_refused_keys_are_not_kept(self) -> None:
        packer = Packer(len(pack([Record("a", b"12345"), Record("a", b"67")])))
        assert packer.add(Record("a", b"12345"))
        assert not packer.add(Record("b", b"67"))  # its table entry is too much
        assert not packer.add(Record("a", b"67", "1"))
        assert packer.add(Record("a", b"67"))
        assert unpack_data(packer.build()) == [Record("a", b"12345"), Record("a", b"67")]
        assert b"b" not in packer.build()[4:-16]

    def test_record_that_fits_no_packer(self) -> None:
        packer = Packer(100)
        assert not packer.add(Record("a", bytes(100)))
        assert (packer.size, packer.count) == (OVERHEAD, 0)

    def test_clear_leaves_nothing_behind(self) -> None:
        packer = Packer(1000)
        packer.add(Record("a", b"1", "1"))
        packer.clear()
        assert (packer.size, packer.count) == (OVERHEAD, 0)
        with pytest.raises(AggregationError):
            packer.build()
        packer.add(Record("b", b"2"))
        assert packer.build() == pack([Record("b", b"2")])

    def test_build_keeps_the_records(self) -> None:
        packer = Packer(1000)
        packer.add(Record("a", b"1"))
        assert packer.build() == packer.build()
        packer.add(Record("a", b"2"))
        assert unpack_data(packer.build()) == [Record("a", b"1"), Record("a", b"2")]

    @pytest.mark.parametrize(
        ("record", "error"),
        [
            (Record("new", b"x", "01"), InvalidHashKey),
            (Record("new", b"x", ""), InvalidHashKey),
            (Record("\ud800", b"x"), UnicodeEncodeError),
        ],
    )
    def test_bad_keys_change_nothing(self, record: Record, error: type[Exception]) -> None:
        packer = Packer(1000)
        packer.add(Record("a", b"1"))
        before = packer.build()
        with pytest.raises(error):
            packer.add(record)
        assert packer.build() == before
        assert (packer.size, packer.count) == (len(before), 1)

    @pytest.mark.parametrize("max_bytes", [-1, 0, OVERHEAD])
    def test_max_bytes_without_room(self, max_bytes: int) -> None:
        with pytest.raises(AggregationError, match="max_bytes"):
            Packer(max_bytes)

    def test_errors_belong_to_the_package(self) -> None:
        for error in (NotAggregated, InvalidHashKey, ShardMapError):
            assert issubclass(error, AggregationError)
        assert issubclass(AggregationError, KinesisBridgeError)


class TestHashKey:
    @given(st.text())
    def test_is_the_md5_of_the_utf8(self, key: str) -> None:
        assert hash_key(key) == int(hashlib.md5(key.encode("utf-8")).hexdigest(), 16)

    def test_known_values(self) -> None:
        assert hash_key("a") == 0x0CC175B9C0F1B6A831C399E269772661
        assert hash_key("é") == int(hashlib.md5(b"\xc3\xa9").hexdigest(), 16)

    def test_cache_is_bounded(self) -> None:
        assert hash_key.cache_info().maxsize == 16_384

    @pytest.mark.parametrize("number", [0, 9, 10, 2**64, MAX_HASH_KEY])
    def test_parses_what_aws_takes(self, number: int) -> None:
        assert parse_hash_key(str(number)) == number

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "00",
            "01",
            "-1",
            "+1",
            " 1",
            "1\n",
            "1_0",
            "0x1",
            "1.0",
            "٣",
            str(2**128),
            "9" * 39,
            "9" * 4500,
        ],
    )
    def test_refuses_what_aws_refuses(self, text: str) -> None:
        with pytest.raises(InvalidHashKey, match="decimal integer"):
            parse_hash_key(text)


def cut(*starts: int) -> list[Shard]:
    """Return shards that begin at 0 and at ``starts`` and cover everything."""
    ends = [start - 1 for start in starts] + [MAX_HASH_KEY]
    pairs = zip((0, *starts), ends, strict=True)
    return [Shard(f"shardId-{n:012}", start, end) for n, (start, end) in enumerate(pairs)]


HALF = 2**127


class TestShardMap:
    def test_edges_of_the_ranges(self) -> None:
        low, high = shards = cut(HALF)
        found = ShardMap(shards)
        assert [found.find(n) for n in (0, 1, HALF - 1)] == [low] * 3
        assert [found.find(n) for n in (HALF, HALF + 1, MAX_HASH_KEY)] == [high] * 3
        assert len(found) == 2

    def test_one_shard_has_everything(self) -> None:
        (only,) = shards = cut()
        assert ShardMap(shards).find(0) == ShardMap(shards).find(MAX_HASH_KEY) == only

    def test_shards_of_one_hash_key(self) -> None:
        shards = cut(1, 2, MAX_HASH_KEY)
        found = ShardMap(shards)
        assert [found.find(n) for n in (0, 1, 2, MAX_HASH_KEY - 1, MAX_HASH_KEY)] == [
            shards[0], shards[1], shards[2], shards[2], shards[3]
        ]  # fmt: skip

    @calm
    @given(st.sets(st.integers(1, MAX_HASH_KEY), max_size=20), st.randoms(), st.data())
    def test_finds_the_only_shard_that_holds_the_hash(
        self, starts: set[int], chance: random.Random, data: st.DataObject
    ) -> None:
        shards = cut(*sorted(starts))
        mixed = chance.sample(shards, len(shards))
        found = ShardMap(mixed)
        assert len(found) == len(shards)
        hashes = {0, MAX_HASH_KEY, *starts, *(start - 1 for start in starts)}
        for n in hashes | data.draw(st.sets(st.integers(0, MAX_HASH_KEY), max_size=5)):
            assert [found.find(n)] == [s for s in shards if s.start <= n <= s.end]

    @pytest.mark.parametrize(
        ("shards", "message"),
        [
            ([], "0 shards end"),
            (cut(10)[:1], "not at 2"),
            (cut(10)[1:], "Hash key 0 "),
            ([*cut(10)[:1], Shard("s", 11, MAX_HASH_KEY)], "Hash key 10 "),
            ([*cut(10)[:1], Shard("s", 9, MAX_HASH_KEY)], "Hash key 10 "),
            ([Shard("s", 0, MAX_HASH_KEY - 1)], "not at 2"),
            ([Shard("s", 0, MAX_HASH_KEY + 1)], "not at 2"),
            ([Shard("s", -1, MAX_HASH_KEY)], "Hash key 0 "),
            ([Shard("s", 0, -1), *cut()], "Hash key 0 "),
            ([*cut(), *cut()], "should start a shard"),
            ([*cut(), *cut(HALF)], "should start a shard"),  # a closed parent and its children
            ([*cut(HALF), Shard("inner", 5, 9)], "should start a shard"),
        ],
    )
    def test_holes_and_overlaps_are_refused(self, shards: list[Shard], message: str) -> None:
        with pytest.raises(ShardMapError, match=message):
            ShardMap(shards)

    @pytest.mark.parametrize("key", [-1, MAX_HASH_KEY + 1])
    def test_hash_out_of_range(self, key: int) -> None:
        with pytest.raises(InvalidHashKey):
            ShardMap(cut(HALF)).find(key)

    @given(st.text())
    def test_partition_key_decides(self, key: str) -> None:
        low, high = shards = cut(HALF)
        first_bit = hashlib.md5(key.encode()).digest()[0] >> 7
        assert ShardMap(shards).shard_for(Record(key, b"")) == (high if first_bit else low)

    def test_explicit_hash_key_overrides(self) -> None:
        low, high = shards = cut(HALF)
        found = ShardMap(shards)
        assert found.shard_for(Record("a", b"")) == low  # 0x0cc1...
        assert found.shard_for(Record("a", b"", str(HALF))) == high
        assert found.shard_for(Record("a", b"", "0")) == low

    @pytest.mark.parametrize("explicit", ["", "-1", str(2**128), "x"])
    def test_wrong_explicit_hash_key(self, explicit: str) -> None:
        with pytest.raises(InvalidHashKey):
            ShardMap(cut(HALF)).shard_for(Record("a", b"", explicit))

    def test_outer_hash_key_leads_back_to_its_shard(self) -> None:
        shards = cut(3, HALF, MAX_HASH_KEY)
        found = ShardMap(shards)
        for shard in shards:
            assert shard.explicit_hash_key == str(shard.start)
            outer = Record("any", b"", shard.explicit_hash_key)
            assert found.shard_for(outer) == shard

    def test_equality_ignores_order_and_sees_changes(self) -> None:
        def generated() -> Iterator[Shard]:
            yield from reversed(cut(HALF))

        assert ShardMap(cut(HALF)) == ShardMap(generated())
        assert len({ShardMap(cut(HALF)), ShardMap(generated())}) == 1
        assert ShardMap(cut(HALF)) != ShardMap(cut(HALF - 1))
        assert ShardMap(cut(HALF)) != ShardMap([Shard("renamed", 0, MAX_HASH_KEY)])
        assert ShardMap(cut(HALF)) != cut(HALF)
