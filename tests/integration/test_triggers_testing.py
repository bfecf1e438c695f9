"""``capture_events()`` sees what triggers write, in tests that never commit."""

from __future__ import annotations

import pytest
from django.db import transaction

from kinesis_bridge import publish
from kinesis_bridge.context import event_context
from kinesis_bridge.testing import assert_not_published, assert_published, capture_events
from tests.support.capture import with_outbox
from tests.support.outbox import OutboxOn
from tests.support.triggers import declared
from tests.testapp.models import Place
from tests.testapp.rollback import rolled_back
from tests.triggerapp.models import TriggerPlace

DB = "postgres"
pytestmark = pytest.mark.django_db(databases=["default", DB])


class OnPostgres(OutboxOn):
    def db_for_write(self, model, **hints):
        return DB


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.DATABASE_ROUTERS = [OnPostgres(DB)]
    with_outbox(settings)
    with declared(DB):
        yield


def save(name):
    made = TriggerPlace(name=name)
    made.save()
    return made


def test_in_the_order_of_all():
    save("before")
    with capture_events() as events:
        with event_context(userid="u"):
            save("a")
        Place(name="b").save()
        save("c")
        publish("by.hand", {"name": "d"})
    save("after")
    assert [event.data["name"] for event in events] == ["a", "b", "c", "d"]
    assert events.types[0] == "trigger.place.created"
    assert dict(events[0].context) == {"userid": "u"}
    assert_published("trigger.place.created", key=events[0].key, data={"name": "a"})
    assert_not_published("trigger.place.deleted")


def test_what_is_rolled_back_is_not_seen():
    with capture_events() as events, transaction.atomic(using=DB):
        with rolled_back(DB):
            save("not")
        save("kept")
    assert [event.data["name"] for event in events] == ["kept"]


def test_cleared_is_forgotten():
    with capture_events() as events:
        save("a")
        events.clear()
        assert not events
        save("b")
    assert [event.data["name"] for event in events] == ["b"]
