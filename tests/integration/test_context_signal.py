"""``event_making``: what a receiver adds to the context of the events that are made now."""

from types import SimpleNamespace

import pytest
from django.db import transaction

from kinesis_bridge import event_context, publish
from kinesis_bridge.signals import event_making
from tests.support.capture import body_of, records, with_outbox
from tests.support.signals import heard
from tests.testapp.models import Gadget, Owner, Place

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def outbox(settings):
    with_outbox(settings)


@pytest.fixture
def adding():
    """A receiver that returns, or raises, what `adding.answer` is."""
    given = SimpleNamespace(answer=None)

    def receiver(**_):
        if isinstance(given.answer, Exception):
            raise given.answer
        return given.answer

    event_making.connect(receiver)
    yield given
    event_making.disconnect(receiver)


def extensions(name):
    return [body_of(record).get(name) for record in records("default")]


def test_each_way_to_make_events_asks_once(adding):
    owner = Owner.objects.create(name="o")
    with heard(event_making) as asked, event_context(requestid="a1"):
        publish("a.b", {"a": 1})
        place = Place.objects.create(name="late")
        Gadget.objects.create(owner=owner)
        with transaction.atomic():
            Place.objects.bulk_create([Place(name=name) for name in "xyz"])
        place.delete()

    assert [(one["type"], one["count"]) for one in asked] == [
        ("a.b", 1),
        ("test.place.created", 1),
        ("test.gadget.created", 1),
        ("test.place.created", 3),
        ("test.place.deleted", 1),
    ]
    assert {one["stream"] for one in asked} == {"default"}
    assert all(dict(one["context"]) == {"requestid": "a1"} for one in asked)


def test_a_save_that_cannot_wait_for_the_commit_asks_once(settings):
    streams = settings.KINESIS_BRIDGE["STREAMS"]
    memory = {alias: {**stream, "DELIVERY": "memory"} for alias, stream in streams.items()}
    settings.KINESIS_BRIDGE = {**settings.KINESIS_BRIDGE, "STREAMS": memory}
    with heard(event_making) as asked:
        Place.objects.create(name="a")
    assert len(asked) == 1


def test_what_is_returned_is_that_of_the_change_and_adds_to_the_context(adding):
    with transaction.atomic():
        adding.answer = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        with event_context(requestid="a1", traceparent=f"00-{'c' * 32}-{'d' * 16}-01"):
            Place.objects.create(name="a")
        adding.answer = None
        Place.objects.create(name="b")

    assert extensions("traceparent") == [f"00-{'a' * 32}-{'b' * 16}-01", None]
    assert extensions("requestid") == ["a1", None]


@pytest.mark.parametrize(
    "answer", [{"data": "x"}, {"big": "x" * 3000}, {"a": 1.5}, "text", ValueError("broken")]
)
def test_what_cannot_be_in_a_context_breaks_no_save(adding, answer, caplog):
    adding.answer = answer
    with event_context(requestid="a1"):
        Place.objects.create(name="a")
    assert extensions("requestid") == ["a1"]
    Place.objects.create(name="b")
    assert caplog.text.count("Left out of the context of events") == hasattr(answer, "keys")
