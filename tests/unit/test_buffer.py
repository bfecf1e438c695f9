"""The buffer of ``background``: its bound, its order, who is woken, what interrupts do to it."""

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinesis_bridge.delivery.buffer import RECORD_BYTES, Buffer, memory_of
from kinesis_bridge.event import Record
from kinesis_bridge.exceptions import BufferClosed

MIB = 1024 * 1024


def record(n, key="k", size=0):
    return Record(key, b"%d" % n + b"x" * size)


ONE = memory_of(record(0))


def drain(buffer, most=10):
    """Send everything; return it in order."""
    sent = []
    while batch := buffer.take(most, MIB):
        sent += [taken.data for _, taken in batch]
        buffer.settle(batch, [], 0)
    return sent


@contextmanager
def elsewhere(target, *arguments):
    """Run `target` in a thread meanwhile; yield the list that its return or error gets into."""
    found = []

    def run():
        try:
            found.append(target(*arguments))
        except BufferClosed as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        thread.join(10)
        assert not thread.is_alive(), "stuck"


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.001)


def balanced(buffer):
    s = buffer.statistics
    return s.accepted == s.sent + s.rejected + s.abandoned + s.buffered_records


class TestBound:
    def test_what_does_not_fit_is_not_taken(self):
        buffer = Buffer(3 * ONE)
        assert [buffer.put(record(n)) for n in range(4)] == [True, True, True, False]
        assert buffer.statistics.buffered_bytes == 3 * ONE
        assert buffer.statistics.accepted == 3

    def test_what_is_under_way_counts_until_it_is_settled(self):
        buffer = Buffer(2 * ONE)
        assert buffer.put(record(1))
        assert buffer.put(record(2))
        batch = buffer.take(10, MIB)
        assert not buffer.put(record(3))
        buffer.settle(batch, batch[1:], 0)
        assert buffer.put(record(3))
        assert not buffer.put(record(4))

    def test_one_record_larger_than_the_bound_passes_alone(self):
        buffer = Buffer(100)
        assert buffer.put(record(1, size=1000))
        assert not buffer.put(record(2))
        assert drain(buffer) == [b"1" + b"x" * 1000]
        assert buffer.statistics.buffered_bytes == 0

    def test_dropped_events_are_counted(self):
        buffer = Buffer(ONE)
        buffer.count_dropped()
        assert buffer.statistics.dropped == 1

    @pytest.mark.parametrize("key", ["k", "k" * 256, "é" * 256, "k" * 255 + "\u20ac", "😀" * 256])
    @pytest.mark.parametrize("size", [0, 50, 479, 1000])
    def test_memory_of_a_record_is_not_taken_for_less_than_it_is(self, key, size):
        one = Record(key, bytes(size))
        key.encode()
        places = 8 * 1.05 + 3 * 16  # in the queue; what the allocator rounds up, three times
        real = sum(map(sys.getsizeof, (one, one.data, key))) + places
        assert real <= memory_of(one) + 16
        assert memory_of(one) <= len(one.data) + 8 * len(key) + RECORD_BYTES


class TestOrder:
    def test_what_is_kept_comes_first_the_next_time(self):
        buffer = Buffer(MIB)
        for n in range(6):
            buffer.put(record(n))
        batch = buffer.take(4, MIB)
        assert [number for number, _ in batch] == [0, 1, 2, 3]
        buffer.settle(batch, [batch[1], batch[3]], 1)
        assert drain(buffer) == [b"1", b"3", b"4", b"5"]
        assert buffer.statistics.sent == 5
        assert buffer.statistics.rejected == 1
        assert balanced(buffer)

    def test_a_batch_is_bounded_but_never_empty(self):
        buffer = Buffer(MIB)
        for n in range(6):
            buffer.put(record(n))
        assert len(buffer.take(10, 0)) == 1
        assert len(buffer.take(10, 2 * ONE + 1)) == 2
        assert len(buffer.take(3, MIB)) == 3

    def test_a_sender_that_died_left_everything(self):
        buffer = Buffer(MIB)
        buffer.put(record(1))
        buffer.take(10, MIB)
        assert drain(buffer) == [b"1"]

    @given(st.lists(st.tuples(st.integers(0, 5), st.randoms(use_true_random=False)), max_size=30))
    def test_nothing_is_lost_doubled_or_overtaken_whatever_is_kept(self, steps):
        buffer = Buffer(MIB)
        told, sent = 0, []
        for count, choose in steps:
            for _ in range(count):
                buffer.put(record(told, key=str(told % 3)))
                told += 1
            batch = buffer.take(4, MIB)
            # As the producer does: what waits behind a failed record of its key fails with it.
            failed = {entry[1].partition_key for entry in batch if choose.random() < 0.5}
            kept = [entry for entry in batch if entry[1].partition_key in failed]
            sent += [entry[1] for entry in batch if entry not in kept]
            buffer.settle(batch, kept, 0)
            assert balanced(buffer)
        sent += [Record(str(int(data) % 3), data) for data in drain(buffer)]
        for key in "012":
            numbers = [int(one.data) for one in sent if one.partition_key == key]
            assert numbers == list(range(int(key), told, 3))
        assert buffer.statistics.buffered_bytes == 0


class TestWaiting:
    def test_room_wakes_who_waits_for_it(self):
        buffer = Buffer(ONE)
        buffer.put(record(1))
        with elsewhere(buffer.put, record(2), None) as found:
            until(lambda: buffer._turns)
            buffer.settle(batch := buffer.take(1, MIB), [], 0)
            assert batch
        assert found == [True]
        assert drain(buffer) == [b"2"]

    def test_who_waits_gives_up_in_time_and_leaves_nothing_behind(self):
        buffer = Buffer(ONE)
        buffer.put(record(1))
        started = time.monotonic()
        assert not buffer.put(record(2), 0.05)
        assert 0.05 <= time.monotonic() - started < 8
        assert not buffer._turns

    def test_the_last_call_ends_waits_that_are_under_way_and_those_to_come(self):
        buffer = Buffer(ONE)
        buffer.put(record(1))
        with elsewhere(buffer.put, record(2), None) as found:
            until(lambda: buffer._turns)
            buffer.end_waiting(0.05)
        assert found == [False]
        assert not buffer.put(record(3), None)

    def test_a_record_wakes_the_sender(self):
        buffer = Buffer(MIB)
        assert buffer.take(1, MIB) == []
        with elsewhere(buffer.wait):
            buffer.put(record(1))
        assert drain(buffer) == [b"1"]

    def test_a_wait_of_the_sender_ends_by_itself_too(self):
        buffer = Buffer(MIB)
        started = time.monotonic()
        buffer.wait(0.01)
        buffer.rest(0.01)
        assert 0.015 <= time.monotonic() - started < 5  # a clock may round
        assert buffer.take(1, MIB) == []

    def test_rings_do_not_pile_up_while_the_sender_is_busy(self):
        buffer = Buffer(MIB)
        buffer.put(record(1))
        for _ in range(100):
            assert not buffer.flush(0)
        assert buffer._new.qsize() + buffer._hurry.qsize() <= 2

    def test_whoever_publishes_on_top_of_a_publish_is_not_stuck(self):
        buffer = Buffer(MIB)
        with buffer._lock:  # as a signal handler or a finalizer finds it
            assert buffer.put(record(1))


class TestFlush:
    def test_it_waits_for_what_was_accepted_before_it_alone(self):
        buffer = Buffer(MIB)
        buffer.put(record(1))
        with elsewhere(buffer.flush, 5) as found:
            until(lambda: buffer._turns)
            buffer.put(record(2))
            batch = buffer.take(1, MIB)
            buffer.settle(batch, batch, 0)
            until(lambda: buffer._turns)
            assert not found
            batch = buffer.take(2, MIB)
            buffer.settle(batch, batch[1:], 0)
        assert found == [True]
        assert buffer.statistics.buffered_records == 1

    def test_rejected_is_settled(self):
        buffer = Buffer(MIB)
        buffer.put(record(1))
        buffer.settle(buffer.take(1, MIB), [], 1)
        assert buffer.flush(0)

    def test_of_nothing_is_true_and_of_something_is_false_in_time(self):
        buffer = Buffer(MIB)
        assert buffer.flush(0)
        buffer.put(record(1))
        assert not buffer.flush(0)
        assert not buffer.flush(0.01)
        assert not buffer._turns

    def test_it_cuts_a_rest_short(self):
        buffer = Buffer(MIB)
        buffer.put(record(1))
        started = time.monotonic()
        with elsewhere(buffer.rest, 30):
            buffer.flush(0)
        assert time.monotonic() - started < 5


class TestEnd:
    def test_closed_takes_no_more_and_wakes_who_waits(self):
        buffer = Buffer(ONE)
        buffer.put(record(1))
        with elsewhere(buffer.put, record(2), None) as found:
            until(lambda: buffer._turns)
            buffer.close()
            buffer.close()
        assert isinstance(found[0], BufferClosed)
        assert not buffer.finished
        assert drain(buffer) == [b"1"]
        assert buffer.finished

    def test_closed_wakes_a_sender_that_waits(self):
        buffer = Buffer(ONE)
        buffer.take(1, MIB)
        with elsewhere(buffer.wait):
            buffer.close()
        assert buffer.finished

    def test_abandoned_is_counted_and_ends_a_flush(self):
        buffer = Buffer(MIB)
        for n in range(3):
            buffer.put(record(n))
        batch = buffer.take(1, MIB)
        with elsewhere(buffer.flush) as found:
            until(lambda: buffer._turns)
            assert buffer.abandon() == 3
        assert found == [False]
        buffer.settle(batch, [], 0)  # its answer comes too late
        assert buffer.abandon() == 0
        assert buffer.statistics.abandoned == 3
        assert buffer.statistics.sent == 0
        assert buffer.statistics.buffered_bytes == 0
        assert balanced(buffer)
        buffer.put(record(9))
        assert drain(buffer) == [b"9"]

    def test_forget_is_empty_and_free_whoever_holds_the_lock(self):
        buffer = Buffer(MIB)
        buffer.put(record(1))
        held, release = threading.Event(), threading.Event()

        def hold():
            with buffer._lock:
                held.set()
                release.wait(10)

        with elsewhere(hold):
            held.wait(10)
            buffer.forget()
            assert buffer.put(record(2))
            assert drain(buffer) == [b"2"]
            release.set()
        assert buffer.statistics.accepted == 1


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest takes for the tester's own."""


def test_interrupts_at_any_instruction_leave_it_whole():
    """Thousands of calls, interrupted at any moment, beside a sender and a full buffer."""
    buffer = Buffer(20 * ONE)
    sent = []
    stop = threading.Event()

    def send():
        while not (stop.is_set() and not buffer.statistics.buffered_records):
            if not (batch := buffer.take(7, MIB)):
                buffer.wait(0.005)
                continue
            kept = batch[5:]
            sent.extend(int(one.data) for _, one in batch[:5])
            buffer.settle(batch, kept, 0)

    def interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    taken, unknown, n, end = [], set(), 0, time.monotonic() + 3
    try:
        with elsewhere(send):
            try:
                while time.monotonic() < end:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 4e-4))
                        while True:
                            n += 1
                            unknown.add(n)
                            if buffer.put(record(n), None):
                                taken.append(n)
                                unknown.discard(n)
                            if not n % 16:
                                buffer.flush(None)
                    except Interrupt:
                        pass
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert buffer.flush(5)
            finally:
                with suppress(Interrupt):
                    signal.setitimer(signal.ITIMER_REAL, 0)
                stop.set()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sent == sorted(sent)
    assert not {n for n, count in Counter(sent).items() if count > 1}
    assert set(taken) <= set(sent)
    assert set(sent) - set(taken) <= unknown
    assert len(unknown) > 500  # it was interrupted
    assert buffer.statistics.accepted == buffer.statistics.sent == len(sent)
    assert buffer.statistics.buffered_bytes == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fifty_forks_while_a_thread_holds_the_lock():
    buffer = Buffer(MIB)
    stop = threading.Event()

    def hold():
        while not stop.is_set():
            with buffer._lock:
                time.sleep(0.0005)

    with elsewhere(hold):
        try:
            for _ in range(50):
                child = os.fork()
                if child == 0:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.alarm(5)
                    buffer.forget()
                    os._exit(0 if buffer.put(record(1)) and drain(buffer) == [b"1"] else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop.set()
