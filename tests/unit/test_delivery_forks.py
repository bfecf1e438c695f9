"""A fork waits for the block of another thread, and a child is never locked out."""

import threading

import pytest

from kinesis_bridge.delivery import forks
from kinesis_bridge.delivery.forks import Undivided
from tests.support.session import in_child


@pytest.fixture
def no_hooks(monkeypatch):
    monkeypatch.setattr(forks.os, "register_at_fork", lambda **_: None)


@pytest.fixture
def inside():
    """A block that another thread is within, until it is told to go."""
    undivided = Undivided()
    came, go = threading.Event(), threading.Event()

    def work():
        with undivided:
            came.set()
            assert go.wait(60)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert came.wait(60)
    yield undivided, go
    go.set()
    thread.join(60)


def enters(undivided):
    with undivided:
        return "entered"


def test_a_fork_waits_for_a_block_of_another_thread(inside):
    undivided, go = inside
    order = []

    def end():
        order.append("the block ends")
        go.set()

    timer = threading.Timer(0.3, end)
    timer.start()
    assert in_child(lambda: [*order, enters(undivided)]) == ["the block ends", "entered"]
    timer.join()


def test_it_waits_no_longer_than_it_may_and_the_child_is_not_locked_out(inside, monkeypatch):
    monkeypatch.setattr(forks, "LONGEST_SECONDS", 0.05)
    undivided, _ = inside
    assert in_child(lambda: enters(undivided)) == "entered"


def test_a_thread_may_fork_within_its_own_block():
    undivided = Undivided()
    with undivided:
        assert in_child(lambda: enters(undivided)) == "entered"
    assert enters(undivided) == "entered"


@pytest.mark.usefixtures("no_hooks")
def test_a_child_of_a_fork_without_hooks_is_not_locked_out(inside):
    """As uWSGI forks."""
    undivided, _ = inside
    assert in_child(lambda: enters(undivided)) == "entered"
