"""A stream's state: rests that grow and are bounded, one line a minute, one signal."""

import logging
from types import SimpleNamespace

import pytest

from kinesis_bridge.exceptions import EndpointError
from kinesis_bridge.relay import outage
from kinesis_bridge.relay.outage import (
    FIRST_PAUSE,
    IDLE_SECONDS,
    LONGEST_PAUSE,
    Quietly,
    StreamState,
)
from kinesis_bridge.signals import relay_paused, relay_resumed
from tests.support.signals import heard

DOWN = EndpointError("No answer.", name="endpoint", side="network", hint="Wait.")


@pytest.fixture
def clock(monkeypatch):
    """The time as the module sees it: `clock.now` is set by the test."""
    fake = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(outage, "time", SimpleNamespace(monotonic=lambda: fake.now))
    return fake


@pytest.fixture
def paused():
    told = []

    def receiver(stream, error, **_):
        told.append((stream, error))

    relay_paused.connect(receiver)
    yield told
    relay_paused.disconnect(receiver)


def test_a_stream_works_at_first(clock):
    state = StreamState("orders")
    assert state.rest() == 0
    assert state.error is None


def test_rests_grow_with_jitter_and_are_bounded(clock):
    for _ in range(200):
        state = StreamState("orders")
        for attempt in range(40):
            state.failed(DOWN)
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
            assert longest / 4 <= state.rest() <= longest
            clock.now += state.rest()
            assert state.rest() == pytest.approx(0, abs=1e-6)


def test_relays_do_not_return_in_step(clock):
    rests = set()
    for _ in range(20):
        state = StreamState("orders")
        state.failed(DOWN)
        rests.add(state.rest())
    assert len(rests) > 10


def test_an_acknowledgement_ends_the_rest_and_the_growth(clock):
    state = StreamState("orders")
    for _ in range(10):
        state.failed(DOWN)
    state.worked()
    assert state.rest() == 0
    assert state.error is None
    state.failed(DOWN)
    assert state.rest() <= FIRST_PAUSE


def test_the_signal_is_sent_once_for_each_outage(clock, paused):
    state = StreamState("orders")
    for _ in range(5):
        state.failed(DOWN)
    assert paused == [("orders", DOWN)]
    clock.now += 60
    with heard(relay_resumed) as resumed:
        state.worked()
        state.worked()
    assert [(one["stream"], one["seconds"]) for one in resumed] == [("orders", 60)]
    state.failed(DOWN)
    assert paused == [("orders", DOWN)] * 2


def test_an_outage_ends_when_nothing_has_waited_for_a_while(clock, caplog):
    caplog.set_level(logging.INFO, "kinesis_bridge.relay")
    state = StreamState("orders")
    state.idle("default")
    state.failed(DOWN, "default")
    with heard(relay_resumed) as resumed:
        clock.now += IDLE_SECONDS - 1
        state.idle("default")
        assert state.error is DOWN
        clock.now += 1
        state.idle("default")
        state.idle("default")
    assert state.error is None
    assert state.last.ended is not None
    assert [(one["stream"], one["seconds"]) for one in resumed] == [("orders", IDLE_SECONDS)]
    assert not state.has_worked()  # nothing was acknowledged: other relays' outages are their own
    assert caplog.messages[1:] == [
        "Nothing waits for stream orders any more; it took no events for 30 s."
    ]


def test_an_outage_lasts_while_events_wait_in_another_database(clock):
    state = StreamState("orders")
    state.failed(DOWN, "default")
    state.failed(DOWN, "other")
    clock.now += 2 * IDLE_SECONDS
    state.idle("default")
    assert state.error is DOWN
    state.idle("other")
    assert state.error is None


def test_an_outage_is_a_line_a_minute(clock, caplog):
    caplog.set_level(logging.INFO, "kinesis_bridge.relay")
    state = StreamState("orders")
    for _ in range(180):
        state.failed(DOWN)
        clock.now += 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "orders takes no events; they wait in the outbox. No answer." in lines[0]
    assert "orders takes no events, for 60 s now; they wait in the outbox. No answer." in lines[1]
    state.worked()
    assert "takes events again, after 180 s" in caplog.records[-1].getMessage()


def test_a_stream_that_comes_and_goes_is_no_more_than_a_warning_a_minute(clock, caplog):
    state = StreamState("orders")
    for _ in range(59):
        state.failed(DOWN)
        state.worked()
        clock.now += 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_quietly(clock):
    quietly = Quietly()
    spoken = []
    for second in range(125):
        if quietly.may_speak():
            spoken.append(second)
        clock.now += 1
    assert spoken == [0, 60, 120]
