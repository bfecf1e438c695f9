"""Whether sequence numbers rise, within a lane and a shard."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinesis_bridge.event import PutResult
from kinesis_bridge.producer import positions as module
from kinesis_bridge.producer.positions import Positions


def answer(number, shard="a"):
    return PutResult(shard, str(number))


def advance(positions, marks, **answers):
    return positions.advance(list(answers), list(answers.values()), marks)


def test_what_rises_is_no_violation():
    positions = Positions()
    assert advance(positions, positions.marks(), k=answer(1), l=answer(2)) == 0
    assert advance(positions, positions.marks(), k=answer(3), l=answer(4)) == 0


@pytest.mark.parametrize("number", [1, 5])
def test_what_falls_or_stands_still_is_counted(number):
    positions = Positions()
    advance(positions, positions.marks(), k=answer(5), l=answer(4))
    assert advance(positions, positions.marks(), k=answer(number), l=answer(6)) == 1


def test_numbers_compare_as_integers():
    positions = Positions()
    advance(positions, positions.marks(), k=answer(9), l=answer(10))
    assert positions.marks() == {"a": (2, "10")}
    assert advance(positions, positions.marks(), k=answer(10)) == 0
    assert advance(positions, positions.marks(), k=answer(9)) == 1


def test_a_lower_number_of_another_key_is_no_violation():
    positions = Positions()
    advance(positions, positions.marks(), k=answer(5))
    assert advance(positions, positions.marks(), l=answer(3)) == 0
    assert advance(positions, positions.marks(), l=answer(4)) == 0


def test_shards_do_not_compare():
    positions = Positions()
    advance(positions, positions.marks(), k=answer(5, "a"), l=answer(7, "b"))
    assert advance(positions, positions.marks(), k=answer(2, "b"), l=answer(8, "b")) == 0
    assert advance(positions, positions.marks(), k=answer(1, "b")) == 1


def test_requests_under_way_at_once_may_be_answered_in_any_order():
    positions = Positions()
    advance(positions, positions.marks(), k=answer(1), l=answer(2))
    marks = positions.marks()
    assert advance(positions, marks, l=answer(9)) == 0
    assert advance(positions, marks, k=answer(3)) == 0  # below the shard's highest by now


def test_the_shard_of_a_lane():
    positions = Positions()
    assert positions.shard_of("k") is None
    advance(positions, positions.marks(), k=answer(1, "a"), l=answer(1, "b"))
    advance(positions, positions.marks(), k=answer(2, "b"))
    assert (positions.shard_of("k"), positions.shard_of("l")) == ("b", "b")


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_LANES", 10)
    monkeypatch.setattr(module, "REMEMBERED_RECORDS", 7)
    positions = Positions()
    for number in range(1, 100):
        positions.advance([f"key-{number}"], [answer(number)], positions.marks())
        known = [n for n in range(number + 1) if positions.shard_of(f"key-{n}")]
        assert len(known) <= 17


def test_the_last_records_are_remembered_before_anybody_asks(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_RECORDS", 7)
    positions = Positions()
    for number in range(1, 100):
        positions.advance([f"key-{number}"], [answer(number)], positions.marks())
    known = [n for n in range(100) if positions.shard_of(f"key-{n}")]
    assert known == [93, 94, 95, 96, 97, 98, 99]


requests = st.lists(
    st.dictionaries(
        st.sampled_from("klmno"), st.tuples(st.integers(0, 120), st.sampled_from("ab")), min_size=1
    ),
    max_size=30,
)


@given(requests)
def test_the_count_is_that_of_lane_by_lane(sent):
    """Whatever the shards' highest numbers say first."""
    positions, last, expected, counted = Positions(), {}, 0, 0
    for request in sent:
        for lane, (number, shard) in request.items():
            before = last.get(lane)
            expected += before is not None and before[1] == shard and number <= before[0]
            last[lane] = (number, shard)
        answers = [answer(number, shard) for number, shard in request.values()]
        counted += positions.advance(list(request), answers, positions.marks())
    assert counted == expected


def test_threads_lose_nothing():
    positions = Positions()
    numbers, lock = iter(range(1, 10**6)), threading.Lock()
    fallen = defaultdict(int)

    def work(lane):
        for _ in range(500):
            marks = positions.marks()
            with lock:
                number = next(numbers)
            fallen[lane] += positions.advance([lane], [answer(number)], marks)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in "klmn"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(fallen.values()) == 0
    assert positions.marks() == {"a": (4, "2000")}
    assert all(positions.shard_of(lane) == "a" for lane in "klmn")
