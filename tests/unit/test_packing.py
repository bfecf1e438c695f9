"""What goes into one aggregated record, and in which lane."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinesis_bridge.aggregation import MAX_HASH_KEY, Shard, ShardMap, hash_key, unpack_data
from kinesis_bridge.event import Record
from kinesis_bridge.producer.packing import ByKey, ByShard

HALF = 1 << 127
SHARDS = ShardMap([Shard("shard-a", 0, HALF - 1), Shard("shard-b", HALF, MAX_HASH_KEY)])


def queue(*records):
    return deque(enumerate(records))


def taken(packing, lane, waiting):
    """What is taken, put together: its size was known before."""
    items, packed = packing.take(lane, waiting)
    record = packed.record()
    assert packed.size == record.size
    assert packed.is_one == (record is items[0][1])
    return items, record


def test_by_key_a_lane_is_the_key_and_the_explicit_hash_key():
    packing = ByKey(1000)
    assert packing.lane(Record("k", b"")) == "k"
    assert packing.lane(Record("k", b"", "5")) != packing.lane(Record("k", b"", "6"))
    assert packing.lane(Record("k", b"", "5")) != packing.lane(Record("k", b""))


@pytest.mark.parametrize("explicit", [None, "7"])
def test_by_key_the_outer_record_goes_where_each_would_go_alone(explicit):
    records = [Record("k", b"%d" % n, explicit) for n in range(3)]
    items, outer = taken(ByKey(1000), "k", queue(*records))
    assert (outer.partition_key, outer.explicit_hash_key) == ("k", explicit)
    assert unpack_data(outer.data) == records == [record for _, record in items]


def test_by_shard_a_lane_is_the_shard_of_the_hash_key():
    packing = ByShard(1000, SHARDS)
    for number in range(50):
        record = Record(f"k{number}", b"")
        low = hash_key(record.partition_key) < HALF
        assert packing.lane(record) == ("shard-a" if low else "shard-b")
    assert packing.lane(Record("k", b"", str(HALF))) == "shard-b"
    assert packing.lane(Record("k", b"", str(HALF - 1))) == "shard-a"


def test_by_shard_the_outer_record_names_the_shards_first_hash_key():
    packing = ByShard(1000, SHARDS)
    records = [Record("k", b"1", str(MAX_HASH_KEY)), Record("other", b"2", str(HALF))]
    lane = packing.lane(records[0])
    assert packing.lane(records[1]) == lane
    _, outer = taken(packing, lane, queue(*records))
    assert outer.explicit_hash_key == str(HALF)
    assert unpack_data(outer.data) == records


def test_keys_remembered_are_bounded_and_still_right_afterwards(monkeypatch):
    monkeypatch.setattr("kinesis_bridge.producer.packing.REMEMBERED_KEYS", 3)
    packing = ByShard(1000, SHARDS)
    before = [packing.lane(Record(f"k{n}", b"")) for n in range(20)]
    assert before == [packing.lane(Record(f"k{n}", b"")) for n in range(20)]


@pytest.mark.parametrize("packing", [ByKey(1000), ByShard(1000, SHARDS)])
def test_one_record_goes_as_it_is(packing):
    record = Record("k", b"data")
    waiting = queue(record)
    items, sent = taken(packing, packing.lane(record), waiting)
    assert sent is record
    assert items == [(0, record)]
    assert not waiting


def test_a_record_too_big_to_pack_goes_alone_and_in_its_turn():
    packing = ByKey(100)
    records = [Record("k", b"1"), Record("k", b"x" * 200), Record("k", b"2"), Record("k", b"3")]
    waiting = queue(*records)
    units = [taken(packing, "k", waiting) for _ in range(3)]
    assert [[n for n, _ in items] for items, _ in units] == [[0], [1], [2, 3]]
    assert units[1][1] is records[1]
    assert not waiting


def test_a_limit_smaller_than_the_key_leaves_each_record_alone():
    key = "\N{GRINNING FACE}" * 256
    waiting = queue(Record(key, b"1"), Record(key, b"2"))
    packing = ByKey(1024)
    assert [taken(packing, key, waiting)[1].data for _ in range(2)] == [b"1", b"2"]


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=40),
    limit=st.integers(60, 600),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
)
def test_whatever_fits_is_packed_in_order_and_within_the_limit(sizes, limit, key):
    records = [Record(key, b"x" * size) for size in sizes]
    waiting, packing = queue(*records), ByKey(limit)
    seen = []
    while waiting:
        items, sent = taken(packing, key, waiting)
        inner = [record for _, record in items]
        seen += inner
        if len(inner) > 1:
            assert sent.size <= limit
            assert unpack_data(sent.data) == inner
        else:
            assert sent is inner[0]
    assert seen == records
