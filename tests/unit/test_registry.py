"""PerProcess: one object for all threads, another in a forked child, closed on reset."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinesis_bridge import conf
from kinesis_bridge.registry import PerProcess

# Python 3.12+ warns of what these tests do on purpose.
MULTI_THREADED = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


@pytest.fixture(autouse=True)
def hooks(monkeypatch):
    """Forget the registries of these tests."""
    monkeypatch.setattr(conf, "_reset_hooks", list(conf._reset_hooks))


class Built:
    def __init__(self, key):
        self.key = key
        self.pid = os.getpid()


def in_child(work, seconds=10):
    """Return what `work` returns in a forked child; fail where that is stuck or raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, "stuck" if status == -signal.SIGALRM else "raised"
    return json.loads(answer)


def test_one_object_is_built_for_fifty_threads_that_ask_at_once():
    built = []
    together = threading.Barrier(50)

    def build(key):
        time.sleep(0.05)
        built.append(Built(key))
        return built[-1]

    registry = PerProcess(build)

    def ask(_):
        together.wait(10)
        return registry["a"]

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(ask, range(50)))

    assert len(built) == 1
    assert found == built * 50


def test_each_key_has_its_own_object():
    registry = PerProcess(Built)

    assert registry["a"] is registry["a"]
    assert registry["a"] is not registry["b"]
    assert registry["b"].key == "b"


def test_build_that_raises_is_tried_again():
    tries = []

    def build(key):
        tries.append(key)
        if len(tries) == 1:
            raise KeyError(key)
        return Built(key)

    registry = PerProcess(build)
    with pytest.raises(KeyError):
        registry["a"]

    assert registry["a"].key == "a"
    assert tries == ["a", "a"]


def test_build_may_ask_for_another_key():
    registry = PerProcess(lambda key: key + registry[key - 1] if key else 0)

    assert registry[4] == 10


def test_forked_child_builds_its_own_and_the_parent_keeps_its():
    registry = PerProcess(Built)
    mine = registry["a"]

    child = in_child(lambda: [registry["a"].pid, os.getpid(), registry["a"] is registry["a"]])

    assert child[0] == child[1] != os.getpid()
    assert child[2] is True
    assert registry["a"] is mine


@MULTI_THREADED
def test_child_forked_while_another_thread_builds_is_not_stuck():
    building, release = threading.Event(), threading.Event()

    def build(key):
        if threading.current_thread() is not threading.main_thread():
            building.set()
            release.wait(10)
        return Built(key)

    registry = PerProcess(build)
    thread = threading.Thread(target=lambda: registry["a"])
    thread.start()
    assert building.wait(10)
    try:
        assert in_child(lambda: registry["a"].pid == os.getpid())
    finally:
        release.set()
        thread.join()


def test_reset_closes_each_object_and_the_next_use_builds_anew():
    closed = []
    registry = PerProcess(Built, closed.append)
    before = [registry["a"], registry["b"]]

    registry.reset()

    assert sorted(closed, key=lambda one: one.key) == before
    assert registry["a"] is not before[0]
    registry.reset()
    assert len(closed) == 3


def test_reset_without_a_close_forgets():
    registry = PerProcess(Built)
    before = registry["a"]

    registry.reset()

    assert registry["a"] is not before


def test_close_that_raises_leaves_none_of_the_others_open():
    closed = []

    def close(one):
        closed.append(one.key)
        if one.key == "b":
            raise OSError("no")

    registry = PerProcess(Built, close)
    for key in "abc":
        registry[key]

    with pytest.raises(OSError, match="no"):
        registry.reset()

    assert sorted(closed) == ["a", "b", "c"]


def test_reset_in_a_forked_child_closes_nothing_of_the_parent():
    closed = []
    registry = PerProcess(Built, lambda one: closed.append(one.key))
    registry["a"]

    def reset_both():
        registry.reset()
        in_between = list(closed)
        registry["b"]
        registry.reset()
        return [in_between, closed]

    assert in_child(reset_both) == [[], ["b"]]
