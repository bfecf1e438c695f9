"""What is dear is asked for seldom."""

import threading
from types import SimpleNamespace

import pytest

from kinesis_bridge.dashboard import seldom
from kinesis_bridge.dashboard.seldom import Seldom


@pytest.fixture
def clock(monkeypatch):
    fake = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(seldom, "time", SimpleNamespace(monotonic=lambda: fake.now))
    return fake


def counting(clock, seconds):
    asked = []

    def ask(about):
        clock.now += seconds
        asked.append(clock.now)
        return len(asked)

    return Seldom(ask)


def test_what_is_cheap_is_always_fresh(clock):
    ask = counting(clock, 0.1)
    assert [ask(), ask(), ask()] == [1, 2, 3]


def test_what_is_dear_is_kept_for_ten_times_as_long_as_it_took(clock):
    ask = counting(clock, 2)
    assert [ask(), ask()] == [1, 1]
    clock.now += 19.9
    assert ask() == 1
    clock.now += 0.2
    assert ask() == 2


def test_an_answer_that_is_a_failure_is_kept_as_long_as_it_took(clock):
    answers = iter(["a timeout", "fine", "better"])

    def ask(about):
        clock.now += 30
        return next(answers)

    asking = Seldom(ask, is_failure="a timeout".__eq__)
    assert [asking(), asking()] == ["a timeout", "a timeout"]
    clock.now += 31
    assert asking() == "fine"
    clock.now += 31
    assert asking() == "fine"


def test_a_failure_that_is_raised_is_not_kept(clock):
    answers = iter([ValueError("first"), "second"])

    def ask(about):
        clock.now += 5
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    asking = Seldom(ask)
    with pytest.raises(ValueError, match="first"):
        asking()
    assert asking() == "second"


def test_each_question_has_its_own_answer(clock):
    def ask(about):
        clock.now += 2
        return about.upper()

    asking = Seldom(ask)
    assert [asking("a"), asking("b"), asking("a")] == ["A", "B", "A"]


def test_others_have_the_answer_before_while_a_dear_one_is_awaited(clock):
    came, go = threading.Event(), threading.Event()
    answers = iter(["first", "second"])

    def ask(about):
        clock.now += 2
        answer = next(answers)
        if answer == "second":
            came.set()
            assert go.wait(5)
        return answer

    asking = Seldom(ask)
    assert asking() == "first"
    clock.now += 30
    found = []
    thread = threading.Thread(target=lambda: found.append(asking()))
    thread.start()
    assert came.wait(5)
    assert asking() == "first"
    go.set()
    thread.join(5)
    assert found == ["second"]
