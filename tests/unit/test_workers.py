"""The producer's threads: how many, when, and what becomes of work given around close()."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue

import pytest

from kinesis_bridge.producer.workers import Workers


def names():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("testing-")}


@pytest.fixture
def workers():
    made = Workers(3, "testing")
    yield made
    made.close()
    deadline = time.monotonic() + 5
    while names() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not names()


def test_threads_are_started_at_need_and_never_more_than_allowed(workers):
    assert not names()
    release, began = threading.Event(), SimpleQueue()

    def work():
        began.put(threading.current_thread().name)
        release.wait(5)

    for _ in range(5):
        workers.run(work)
    first = {began.get(timeout=30) for _ in range(3)}
    assert first == names() == {"testing-1", "testing-2", "testing-3"}
    assert all(t.daemon for t in threading.enumerate() if t.name in first)
    release.set()
    assert {began.get(timeout=30) for _ in range(2)} <= first


def test_an_idle_thread_is_used_again(workers):
    done = SimpleQueue()
    for _ in range(20):
        workers.run(lambda: done.put(threading.get_ident()))
        done.get(timeout=30)
        time.sleep(0.001)
    assert len(names()) <= 2


def test_work_that_came_before_close_is_done(workers):
    done = SimpleQueue()
    for number in range(10):
        workers.run(lambda number=number: done.put(number))
    workers.close()
    assert sorted(done.get(timeout=30) for _ in range(10)) == list(range(10))


def test_a_close_before_the_threads_first_step_loses_no_work():
    # A new thread may not run before close() has put another queue in place.
    for _ in range(300):
        workers, done = Workers(2, "testing"), SimpleQueue()
        workers.run(lambda done=done: done.put(True))
        workers.close()
        assert done.get(timeout=30)


def test_a_thread_that_starts_late_serves_the_queue_it_was_started_for(monkeypatch, workers):
    started = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))  # noqa: PLW0108 - to be bound
    done = SimpleQueue()
    workers.run(lambda: done.put("before"))
    workers.close()
    monkeypatch.undo()
    started[0].start()
    assert done.get(timeout=30) == "before"
    started[0].join(5)
    assert not started[0].is_alive()


def test_close_twice_and_work_afterwards(workers):
    done = SimpleQueue()
    workers.run(lambda: done.put(1))
    workers.close()
    workers.close()
    workers.run(lambda: done.put(2))
    assert {done.get(timeout=30), done.get(timeout=30)} == {1, 2}
