"""``publishes(when=...)``: to a consumer a row is there while the condition holds."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kinesis_bridge import publishes
from tests.support.capture import body_of, records, with_outbox
from tests.testapp.models import Memo, Plain
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def memo(kinesis_events):
    memo = Memo.objects.create(text="old")
    kinesis_events.clear()
    return memo


def seen(events):
    """Kinds and texts, with what changed; forgets them."""
    found = [
        (event.type.rsplit(".")[-1], event.data["text"], event.data.get("changed"))
        for event in events
    ]
    events.clear()
    return found


def test_made_deleted_softly_and_brought_back(kinesis_events):
    memo = Memo.objects.create(text="a")
    memo.deleted = 1
    memo.save()
    memo.text = "unseen"
    memo.save()
    memo.deleted = None
    memo.save()
    memo.text = "b"
    memo.save()
    memo.delete()
    assert seen(kinesis_events) == [
        ("created", "a", None),
        ("deleted", "a", None),
        ("created", "unseen", None),
        ("updated", "b", {"text": ["unseen", "b"]}),
        ("deleted", "b", None),
    ]


def test_what_was_never_there_is_not_deleted(kinesis_events):
    memo = Memo.objects.create(text="a", deleted=1)
    memo.delete()
    assert seen(kinesis_events) == []


def test_by_a_field_that_is_not_published(memo, kinesis_events):
    memo.deleted = 1
    memo.save(update_fields=["deleted"])
    Memo.objects.update(deleted=None)
    Memo.objects.update(note="not published")
    assert seen(kinesis_events) == [("deleted", "old", None), ("created", "old", None)]


def test_many_at_once(memo, kinesis_events):
    Memo.objects.bulk_create([Memo(text="gone", deleted=1), Memo(text="b")])
    Memo.objects.order_by("pk").update(deleted=1)
    again = [Memo(pk=memo.pk, text="back"), Memo(text="c")]
    Memo.objects.bulk_create(
        again,
        update_conflicts=True,
        update_fields=["text", "deleted"],
        unique_fields=["id"],
    )
    Memo.objects.all().delete()
    assert seen(kinesis_events) == [
        ("created", "b", None),
        ("deleted", "old", None),
        ("deleted", "b", None),
        ("created", "back", None),
        ("created", "c", None),
        ("deleted", "c", None),
        ("deleted", "back", None),
    ]


def test_the_database_is_asked_and_not_the_instance(memo, kinesis_events):
    stale = Memo.objects.get()
    Memo.objects.update(deleted=1)
    kinesis_events.clear()
    stale.text = "new"
    stale.save()  # it writes deleted=None again
    assert seen(kinesis_events) == [("created", "new", None)]


def test_what_is_rolled_back_was_nothing(memo, kinesis_events):
    with rolled_back():
        Memo.objects.update(deleted=1)
    memo.text = "new"
    memo.save()
    assert seen(kinesis_events) == [("updated", "new", {"text": ["old", "new"]})]


def test_a_snapshot_has_those_that_are_there(settings):
    Memo.objects.bulk_create([Memo(text="a"), Memo(text="gone", deleted=1), Memo(text="b")])
    with_outbox(settings)

    call_command("kinesis_snapshot", "testapp.Memo", "--json", stdout=StringIO())

    bodies = [body_of(record) for record in records("default")]
    assert [(body["type"], body["data"]["text"]) for body in bodies] == [
        ("test.memo.snapshot", "a"),
        ("test.memo.snapshot", "b"),
    ]


def test_a_condition_is_a_function():
    with pytest.raises(ImproperlyConfigured, match="when="):
        publishes("test.plain", fields=["id"], when=True)(Plain)


numbers = st.integers(0, 3)
flags = st.sampled_from([None, 1])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), numbers, flags),
        st.tuples(st.sampled_from(["save", "update"]), numbers, flags),
        st.tuples(st.just("text"), numbers, st.just(0)),
        st.tuples(st.just("delete"), numbers, st.just(0)),
    ),
    max_size=10,
)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_a_copy_equals_what_is_there(kinesis_events, steps):
    Memo.objects.all().delete()
    kinesis_events.clear()
    for name, number, flag in steps:
        rows = Memo.objects.filter(text__startswith=str(number))
        if name == "create":
            Memo.objects.create(text=str(number), deleted=flag)
        elif name == "save":
            for memo in rows:
                memo.deleted = flag
                memo.save()
        elif name == "update":
            rows.update(deleted=flag)
        elif name == "text":
            for memo in rows:
                memo.text += "x"
                memo.save(update_fields=["text"])
        else:
            rows.delete()
    copy = {}
    for event in kinesis_events:
        kind, pk = event.type.rsplit(".")[-1], event.data["id"]
        assert (kind == "created") == (pk not in copy)
        copy[pk] = event.data["text"]
        if kind == "deleted":
            del copy[pk]
    assert copy == dict(Memo.objects.filter(deleted=None).values_list("id", "text"))
