"""The order of a lane and the counters, whatever answers come."""

from __future__ import annotations

from collections import Counter
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinesis_bridge.aggregation import MAX_HASH_KEY, Shard, ShardMap, is_aggregated, unpack_data
from kinesis_bridge.event import PutResult, Record, RejectedRecord
from kinesis_bridge.producer.packed import PackedSchedule
from kinesis_bridge.producer.packing import ByKey, ByShard
from kinesis_bridge.producer.plain import PlainSchedule, RelaxedSchedule
from kinesis_bridge.producer.schedule import (
    MAX_PAUSE_SECONDS,
    THROTTLED,
    Limits,
    all_acknowledged,
    jitter,
)

LIMITS = Limits(records=4, bytes=300, buffered_bytes=600, buffered_records=20)
WHOLE = ShardMap([Shard("shard-0", 0, MAX_HASH_KEY)])
HALF = 1 << 127
HALVES = ShardMap([Shard("shard-1", 0, HALF - 1), Shard("shard-2", HALF, MAX_HASH_KEY)])
PACKINGS = (ByKey(150), ByShard(150, WHOLE), ByShard(150, HALVES))
REJECTED = {
    "throttled": RejectedRecord(THROTTLED, ""),
    "internal": RejectedRecord("InternalFailure", ""),
    "poison": RejectedRecord("ValidationException", "", None, poison=True),
}
OUTAGE = RejectedRecord("AccessDeniedException", "")


def plain(records, retry_seconds=10.0, **given):
    return PlainSchedule(records, LIMITS, retry_seconds, **given)


def relaxed(records, retry_seconds=10.0, **given):
    return RelaxedSchedule(records, LIMITS, retry_seconds, **given)


def packed(records, retry_seconds=10.0, packing=PACKINGS[0], **given):
    return PackedSchedule(records, LIMITS, retry_seconds, packing, **given)


def by_shard(records, retry_seconds=10.0, **given):
    return packed(records, retry_seconds, PACKINGS[2], **given)


KINDS = (plain, relaxed, packed, by_shard)
ORDERED = (plain, packed, by_shard)


def keyed(text, size=1):
    """Records of these keys, one letter each."""
    return [Record(key, b"%d" % number * size) for number, key in enumerate(text)]


class Machine:
    """Drives a schedule and checks after every step what must always be true."""

    def __init__(self, kind, records, retry_seconds):
        self.records = records
        self.read = 0
        self.schedule = kind(self._source(), retry_seconds, shard_of=self._shard_of)
        self.now = 0.0
        self.under_way = []
        self.accepted = []
        self.answers = {}
        self.numbers = count(1)
        self.abandoned = False

    def _source(self):
        for record in self.records:
            self.read += 1
            yield record

    def _shard_of(self, lane):
        return f"shard-{hash(lane) % 2}" if len(self.answers) > 3 else None

    def send(self):
        request = self.schedule.next_request(self.now)
        if request is None:
            return False
        assert 0 < len(request.units) <= LIMITS.records
        assert len(request.units) == len(request.prepare()) == len(request.lanes)
        assert request.bytes == sum(record.size for record in request.records)
        assert request.bytes <= LIMITS.bytes or len(request.units) == 1
        self.under_way.append(request)
        lanes = Counter(lane for one in self.under_way for lane in one.lanes)
        assert max(lanes.values()) == 1
        numbers = [n for one in self.under_way for n in self.numbers_of(one)]
        assert len(set(numbers)) == len(numbers)
        assert not set(numbers) & self.answers.keys()
        for unit, record in zip(request.units, request.records, strict=True):
            inner = [item[1] for item in self.schedule.items(unit)]
            assert inner == (unpack_data(record.data) if is_aggregated(record.data) else [record])
        self.schedule.look_ahead()
        return True

    def numbers_of(self, request):
        return [n for unit in request.units for n, _ in self.schedule.items(unit)]

    def answer(self, place, outcomes):
        """Settle a request; outcomes are taken in turn, one for each unit."""
        request = self.under_way.pop(place % len(self.under_way))
        answers = []
        for unit, outcome in zip(request.units, outcomes, strict=False):
            if outcome == "taken":
                answers.append(PutResult("shard-0", str(next(self.numbers))))
                self.accepted += [n for n, _ in self.schedule.items(unit)]
            else:
                answers.append(REJECTED[outcome])
        whole = all_acknowledged(answers)
        self.take(self.schedule.settle(request, answers, self.now, whole=whole))
        if self.abandoned:
            self.take(self.schedule.abandon(OUTAGE))

    def fail(self, place):
        self.schedule.put_back(self.under_way.pop(place % len(self.under_way)))
        if self.abandoned:
            self.take(self.schedule.abandon(OUTAGE))

    def abandon(self):
        self.abandoned = True
        self.take(self.schedule.abandon(OUTAGE))

    def take(self, final):
        for (number, record), answer in flat(final):
            assert self.records[number] is record
            assert number not in self.answers
            self.answers[number] = answer

    def finish(self):
        """Let everything pass that is left, and check the end."""
        for _ in range(10_000):
            while self.send():
                pass
            if self.schedule.finished:
                break
            if self.under_way:
                self.answer(0, ["taken"] * LIMITS.records)
            else:
                assert self.schedule.next_due is not None, "nothing under way, nothing due"
                self.now = max(self.now, self.schedule.next_due)
        schedule = self.schedule
        assert schedule.finished
        assert schedule.in_flight == 0
        assert not self.under_way
        assert schedule._open == schedule._waiting == 0
        assert schedule._waiting_bytes == schedule._delayed_bytes == 0
        assert not schedule._lanes
        assert not schedule._due
        assert schedule.next_due is None
        assert set(self.answers) == set(range(self.read))
        assert self.abandoned or self.read == len(self.records)
        taken = [n for n, answer in self.answers.items() if isinstance(answer, PutResult)]
        assert sorted(taken) == sorted(self.accepted)
        rejected = len(self.answers) - len(taken)
        assert len(schedule.rejected) == rejected

    def assert_order(self):
        for key in {record.partition_key for record in self.records}:
            numbers = [n for n in self.accepted if self.records[n].partition_key == key]
            assert all(first < second for first, second in pairwise(numbers)), (key, numbers)


letters = st.sampled_from("aaaabbcdefghij")
record_lists = st.lists(
    st.builds(
        lambda key, size: Record(key, b"x" * size),
        letters,
        st.one_of(st.integers(0, 30), st.integers(0, 400)),
    ),
    max_size=60,
)
outcomes = st.lists(
    st.sampled_from(["taken", "taken", "throttled", "internal", "poison"]),
    min_size=LIMITS.records,
    max_size=LIMITS.records,
)
steps = st.lists(
    st.one_of(
        st.just(("send",)),
        st.just(("send",)),
        st.tuples(st.just("answer"), st.integers(0, 3), outcomes),
        st.tuples(st.just("answer"), st.integers(0, 3), st.just(["taken"] * LIMITS.records)),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("pass"), st.floats(0, 3)),
        st.tuples(st.just("repack"), st.sampled_from(PACKINGS)),
        st.just(("abandon",)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=250, deadline=None)
@given(records=record_lists, script=steps, retry_seconds=st.sampled_from([0.0, 0.5, 10.0]))
def test_whatever_comes_each_record_is_answered_once_and_lanes_keep_their_order(
    kind, records, script, retry_seconds
):
    machine = Machine(kind, records, retry_seconds)
    for action, *arguments in script:
        if action == "send":
            machine.send()
        elif action == "answer" and machine.under_way:
            machine.answer(*arguments)
        elif action == "fail" and machine.under_way:
            machine.fail(*arguments)
        elif action == "pass":
            machine.now += arguments[0]
        elif action == "repack" and hasattr(machine.schedule, "repack"):
            if not machine.under_way:
                machine.schedule.repack(*arguments)
        elif action == "abandon" and len(script) % 3 == 0:
            machine.abandon()
    machine.finish()
    if kind is not relaxed:
        machine.assert_order()


# One thing at a time


def keys(request):
    return "".join(record.partition_key for record in request.prepare())


def flat(final):
    return [pair for items, answers in final for pair in zip(items, answers, strict=True)]


def settle(schedule, request, *answers, now=0.0):
    given = answers or ["taken"] * len(request.units)
    made = [
        PutResult("shard-0", "1") if answer == "taken" else REJECTED[answer] for answer in given
    ]
    return flat(schedule.settle(request, made, now, whole=all_acknowledged(made)))


def test_a_request_holds_each_key_once():
    schedule = plain(keyed("aababc"))
    first = schedule.next_request(0)
    assert keys(first) == "abc"
    assert schedule.next_request(0) is None
    settle(schedule, first)
    assert keys(schedule.next_request(0)) == "ab"


def test_relaxed_requests_hold_runs_of_one_key():
    schedule = relaxed(keyed("aaaaaa"))
    assert keys(schedule.next_request(0)) == "aaaa"
    assert keys(schedule.next_request(0)) == "aa"


def test_a_key_is_held_back_behind_its_failed_record():
    schedule = plain(keyed("aab"))
    request = schedule.next_request(0)
    settle(schedule, request, "throttled", "taken")
    assert schedule.next_due is not None
    again = schedule.next_request(MAX_PAUSE_SECONDS)
    assert again.prepare() == keyed("aab")[:1]
    assert schedule.next_request(MAX_PAUSE_SECONDS) is None
    settle(schedule, again, "taken")
    assert keys(schedule.next_request(MAX_PAUSE_SECONDS)) == "a"
    assert schedule.retried == 1


@pytest.mark.parametrize("kind", [plain, packed])
def test_a_request_that_failed_as_a_whole_goes_again_unchanged_and_first(kind):
    schedule = kind(keyed("abcdefgh"))
    request = schedule.next_request(0)
    schedule.put_back(request)
    assert keys(schedule.next_request(0)) == "abcd"
    assert schedule.retried == 4
    assert schedule.in_flight == 1


@pytest.mark.parametrize("kind", ORDERED)
def test_a_record_given_up_takes_those_behind_it_along(kind):
    schedule = kind(keyed("aaa"), 0.0)
    request = schedule.next_request(0)
    final = settle(schedule, request, "internal")
    assert [number for (number, _), _ in final] == [0, 1, 2]
    assert schedule.rejected == ["InternalFailure"] * 3
    assert schedule.finished


def test_poison_lets_those_behind_it_pass():
    schedule = plain(keyed("aa"))
    final = settle(schedule, schedule.next_request(0), "poison")
    assert [number for (number, _), _ in final] == [0]
    assert schedule.next_request(0).prepare() == keyed("aa")[1:]


def test_poison_among_packed_records_is_found_by_halves():
    records = keyed("aaaaaaaa")
    schedule = packed(records)
    rejected = []
    while (request := schedule.next_request(0)) is not None:
        (unit,) = request.units
        bad = records[5] in [record for _, record in unit.items]
        final = settle(schedule, request, "poison" if bad else "taken")
        rejected += [item[0] for item, answer in final if isinstance(answer, RejectedRecord)]
    assert rejected == [5]
    assert schedule.finished


def test_where_nothing_passes_one_deadline_is_for_all():
    schedule = plain(keyed("aaaabbbbccccdddd"), 5.0)
    now = 0.0
    answered = 0
    while not schedule.finished:
        request = schedule.next_request(now)
        if request is None:
            now = schedule.next_due
            continue
        answered += len(settle(schedule, request, *["throttled"] * len(request.units), now=now))
    assert answered == 16
    assert now < 5.0


def test_a_failure_long_after_another_has_a_deadline_of_its_own():
    schedule = plain(keyed("ab"), 5.0)
    request = schedule.next_request(0)
    assert len(settle(schedule, request, "internal", "taken", now=0.0)) == 1
    again = schedule.next_request(100.0)
    assert settle(schedule, again, "internal", now=100.0) == [
        ((0, keyed("ab")[0]), REJECTED["internal"])
    ]

    schedule = plain(iter(keyed("aXb")), 5.0)
    assert len(settle(schedule, schedule.next_request(0), "taken", "taken", "internal")) == 2


def test_the_lanes_of_a_throttled_shard_rest_together():
    schedule = plain(keyed("abcdefgh"), shard_of=lambda lane: "s1" if lane in "aceg" else "s2")
    first, second = schedule.next_request(0), schedule.next_request(0)
    assert (keys(first), keys(second)) == ("abcd", "efgh")
    schedule.put_back(second)
    settle(schedule, first, "throttled", "taken", "throttled", "taken")
    assert len({entry[0] for entry in schedule._delayed}) == 1
    assert keys(schedule.next_request(0)) == "fh"
    assert sorted(keys(schedule.next_request(MAX_PAUSE_SECONDS))) == ["a", "c", "e", "g"]


def test_reading_stops_while_too_much_waits():
    asked = count()
    hot = (Record("hot", b"%d" % next(asked)) for _ in range(1000))
    schedule = plain(hot)
    assert keys(schedule.next_request(0)) == "hot"
    assert next(asked) <= LIMITS.buffered_records + 2 * LIMITS.records


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_counts_as_memory_too(kind):
    asked = []
    records = (asked.append(n) or Record(f"k{n}", b"x" * 20) for n in range(1000))
    schedule = kind(records, shard_of=lambda _: None)
    for _ in range(300):
        request = schedule.next_request(0.0)
        if request is None:
            break
        settle(schedule, request, *["internal"] * len(request.units))
        schedule._delayed = [(99.0, order, unit) for _, order, unit in schedule._delayed]
    assert len(asked) <= 2 * LIMITS.buffered_records + 2 * LIMITS.records


def test_short_requests_are_those_that_left_room_for_waiting_records():
    schedule = plain(keyed("aaaaaaaab"))
    assert keys(schedule.next_request(0)) == "ab"
    assert schedule.short_requests == 0
    schedule = plain(keyed("aaaaaaaa"))
    schedule.next_request(0)
    assert schedule.short_requests == 1


def test_pauses_grow_up_to_a_limit():
    assert all(0 <= jitter(attempts) <= MAX_PAUSE_SECONDS for attempts in range(1500))
    assert max(jitter(20) for _ in range(200)) > 1
    assert max(jitter(0) for _ in range(200)) <= 0.05


def test_repacking_puts_each_record_in_its_new_lane_and_keeps_the_order():
    records = [Record(f"k{n % 7}", b"%d" % n) for n in range(14)]
    schedule = packed(records, packing=PACKINGS[1])
    request = schedule.next_request(0)
    assert request.lanes == ["shard-0"]
    schedule.put_back(request)
    schedule.repack(PACKINGS[2])
    request = schedule.next_request(0)
    assert sorted(request.lanes) == ["shard-1", "shard-2"]
    for unit in request.units:
        numbers = [number for number, _ in unit.items]
        assert numbers == sorted(numbers)


def test_no_records_at_all():
    for kind in KINDS:
        schedule = kind([])
        assert schedule.next_request(0) is None
        assert schedule.finished
