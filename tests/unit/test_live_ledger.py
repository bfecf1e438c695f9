"""The counters of the live page stay at 0 because nothing is lost: they can rise."""

from contextlib import suppress

import pytest

from demo_project.live import ledger as module
from demo_project.live.ledger import Ledger
from kinesis_bridge.event import Event
from kinesis_bridge.signals import event_published


@pytest.fixture
def ledger():
    made = Ledger()
    made.listen()
    yield made
    event_published.disconnect(made._note)


def commit(ledger, *keys, fails=False):
    """Publish an event of each key in one transaction; their ids."""
    events = [Event(type="a", source="/s", key=key, data={}) for key in keys]
    with suppress(LookupError), ledger.committing():
        for event in events:
            event_published.send(None, event=event, stream="default")
        if fails:
            raise LookupError
    return [event.id for event in events]


def test_what_arrives_in_order_is_well(ledger):
    ids = commit(ledger, "k", "k", "other")
    for event_id in ids:
        assert ledger.arrived(event_id)
    verdict = ledger.verdict(())
    assert (verdict.committed, verdict.arrived) == (3, 3)
    assert (verdict.lost, verdict.reordered, verdict.repeated) == (0, 0, 0)


def test_an_event_of_a_key_that_arrives_after_a_later_one_is_reordered(ledger):
    first, second, other = commit(ledger, "k", "k", "other")
    for event_id in (other, second, first):
        ledger.arrived(event_id)
    assert ledger.verdict(()).reordered == 1


def test_a_repeat_is_no_second_arrival(ledger):
    [one] = commit(ledger, "k")
    assert ledger.arrived(one)
    assert not ledger.arrived(one)
    verdict = ledger.verdict(())
    assert (verdict.arrived, verdict.repeated, verdict.reordered) == (1, 1, 0)


def test_what_is_neither_waiting_nor_there_is_lost(ledger, monkeypatch):
    [one] = commit(ledger, "k")
    monkeypatch.setattr(module, "LOST_AFTER", -1.0)
    assert ledger.verdict({one}).lost == 0, "it waits in the outbox"
    assert ledger.verdict(()).lost == 0, "it has just left the outbox"
    assert ledger.verdict(()).lost == 1
    ledger.arrived(one)
    assert ledger.verdict(()).lost == 0, "it came after all"


def test_what_is_rolled_back_was_never_committed(ledger):
    commit(ledger, "k", fails=True)
    assert ledger.verdict(()).committed == 0


def test_an_arrival_may_be_faster_than_the_end_of_the_commit(ledger):
    event = Event(type="a", source="/s", key="k", data={})
    with ledger.committing():
        event_published.send(None, event=event, stream="default")
        ledger.arrived(event.id)
    verdict = ledger.verdict(())
    assert (verdict.committed, verdict.arrived, verdict.lost) == (1, 1, 0)
