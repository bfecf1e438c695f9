"""What is packed while answers are awaited goes next, in order, and is never lost."""

from __future__ import annotations

import pytest

from kinesis_bridge.event import PutResult, Record, RejectedRecord
from kinesis_bridge.producer.packed import PackedSchedule
from kinesis_bridge.producer.packing import ByKey
from kinesis_bridge.producer.schedule import Limits

LIMITS = Limits(records=500, bytes=100_000, buffered_bytes=50_000, buffered_records=1000)
RECORDS = [Record("k", b"%04d" % number * 25) for number in range(60)]
TAKEN, POISON = PutResult("shard-0", "1"), RejectedRecord("ValidationException", "bad", poison=True)


@pytest.fixture
def schedule():
    """Some ten records a unit, and a first request under way with the next packed already."""
    schedule = PackedSchedule(RECORDS, LIMITS, 10, ByKey(1100))
    schedule.first = schedule.next_request(0)
    schedule.look_ahead()
    assert list(schedule._ahead) == ["k"]
    return schedule


def numbers(final):
    return [number for items, _ in final for number, _ in items]


def drain(schedule, final):
    while not schedule.finished:
        request = schedule.next_request(0)
        schedule.look_ahead()
        final += schedule.settle(request, [TAKEN] * len(request.units), 0, whole=True)
    return numbers(final)


def test_it_waits_for_the_one_under_way(schedule):
    assert schedule.next_request(0) is None


def test_it_goes_next(schedule):
    ahead = schedule._ahead["k"]
    schedule.settle(schedule.first, [TAKEN], 0, whole=True)
    assert schedule.next_request(0).units == [ahead]


def test_all_goes_in_order(schedule):
    final = schedule.settle(schedule.first, [TAKEN], 0, whole=True)
    assert drain(schedule, final) == list(range(60))


def test_looking_twice_packs_once(schedule):
    ahead = schedule._ahead["k"]
    schedule.look_ahead()
    assert schedule._ahead == {"k": ahead}


def test_it_stays_behind_the_halves_of_a_unit_that_was_refused(schedule):
    final = schedule.settle(schedule.first, [POISON], 0, whole=False)
    assert drain(schedule, final) == list(range(60))


def test_it_is_given_up_with_the_unit_before_it(schedule):
    refused = RejectedRecord("InternalFailure", "")
    schedule._retry_seconds = 0
    final = schedule.settle(schedule.first, [refused], 0, whole=False)
    assert numbers(final) == list(range(60))
    assert schedule.finished


def test_it_is_abandoned_with_all_the_rest(schedule):
    under_way = len(schedule.first.units[0].items)
    assert numbers(schedule.abandon(POISON)) == list(range(under_way, 60))
    schedule.put_back(schedule.first)
    assert numbers(schedule.abandon(POISON)) == list(range(under_way))
    assert (schedule.finished, schedule._waiting, schedule._waiting_bytes) == (True, 0, 0)


def test_it_is_packed_anew_with_the_rest(schedule):
    schedule.put_back(schedule.first)
    schedule.repack(ByKey(700))
    assert drain(schedule, []) == list(range(60))


def test_a_unit_that_would_not_be_full_waits_for_more():
    schedule = PackedSchedule(RECORDS[:14], LIMITS, 10, ByKey(1100))
    schedule.next_request(0)
    schedule.look_ahead()
    assert schedule._ahead == {}
