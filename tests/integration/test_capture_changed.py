"""``publishes(changed=True)``: what was there before, and no event where nothing changed."""

from __future__ import annotations

import pickle

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from kinesis_bridge import publishes
from kinesis_bridge.checks import check_declarations
from kinesis_bridge.declarations import forget
from tests.testapp.models import Clash, Gadget, Memo, Owner, Plain
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gadget(kinesis_events):
    owner = Owner.objects.create(name="o")
    made = Gadget.objects.create(owner=owner, name="old", price="1.5", count=1, extra={"a": [1]})
    kinesis_events.clear()
    return Gadget.objects.get(pk=made.pk)


def changed(events):
    """What each event says that changed; forgets them."""
    found = [event.data.get("changed") for event in events]
    events.clear()
    return found


def reads(queries):
    return [query["sql"] for query in queries if query["sql"].startswith("SELECT")]


def test_old_and_new_by_name_beside_the_whole_row(gadget, kinesis_events):
    gadget.name, gadget.price = "new", "2.50"
    with CaptureQueriesContext(connection) as queries:
        gadget.save()

    [event] = kinesis_events
    assert event.type == "test.gadget.updated"
    assert event.data["changed"] == {"name": ["old", "new"], "price": ["1.50", "2.50"]}
    assert (event.data["name"], event.data["count"]) == ("new", 1)
    assert reads(queries) == []


def test_created_and_deleted_say_nothing_of_it(kinesis_events):
    gadget = Gadget.objects.create(owner=Owner.objects.create(name="o"))
    gadget.delete()
    assert changed(kinesis_events) == [None, None]


def test_a_save_that_changed_nothing_has_no_event(gadget, kinesis_events):
    gadget.save()
    gadget.secret = "not published"
    gadget.save()
    assert changed(kinesis_events) == []


def test_the_second_save_of_an_instance(gadget, kinesis_events):
    gadget.name = "second"
    gadget.save()
    gadget.name = "third"
    gadget.save()
    assert changed(kinesis_events) == [{"name": ["old", "second"]}, {"name": ["second", "third"]}]


def test_a_save_again_after_a_roll_back(gadget, kinesis_events):
    with rolled_back():
        gadget.name = "new"
        gadget.save()
    gadget.save()
    assert changed(kinesis_events) == [{"name": ["old", "new"]}]


def test_an_instance_loaded_from_what_was_rolled_back(gadget, kinesis_events):
    with rolled_back():
        Gadget.objects.update(name="new")
        loaded = Gadget.objects.get()
    loaded.save()
    assert changed(kinesis_events) == [{"name": ["old", "new"]}]


def test_an_expression(gadget, kinesis_events):
    gadget.count = F("count") + 4
    gadget.save()
    assert changed(kinesis_events) == [{"count": [1, 5]}]


def test_a_nested_value_that_was_changed_in_place(gadget, kinesis_events):
    gadget.extra["a"].append(2)
    gadget.save()
    assert changed(kinesis_events) == [{"extra": [{"a": [1]}, {"a": [1, 2]}]}]


def test_update_fields_tell_only_what_they_wrote(gadget, kinesis_events):
    gadget.name, gadget.count = "new", 9
    gadget.save(update_fields=["name"])
    assert changed(kinesis_events) == [{"name": ["old", "new"]}]


def test_deferred_fields(gadget, kinesis_events):
    some = Gadget.objects.only("name").get()
    some.name = "new"
    some.save()
    assert changed(kinesis_events) == [{"name": ["old", "new"]}]


def test_refreshed_from_the_database(gadget, kinesis_events):
    Gadget.objects.update(name="elsewhere")
    kinesis_events.clear()
    gadget.refresh_from_db()
    gadget.name = "new"
    gadget.save()
    assert changed(kinesis_events) == [{"name": ["elsewhere", "new"]}]


def test_an_instance_that_was_made_by_hand(gadget, kinesis_events):
    Gadget(pk=gadget.pk, owner_id=gadget.owner_id, name="new", price="1.50", count=1).save()
    assert changed(kinesis_events) == [{"name": ["old", "new"], "extra": [{"a": [1]}, None]}]


def test_an_instance_that_was_pickled(kinesis_events):
    Memo.objects.create(text="old")  # its declaration has a function, which cannot be
    kinesis_events.clear()
    memo = pickle.loads(pickle.dumps(Memo.objects.get()))
    memo.text = "new"
    memo.save()
    assert [event.data["changed"] for event in kinesis_events] == [{"text": ["old", "new"]}]


def test_many_rows_at_once(gadget, kinesis_events):
    other = Gadget.objects.create(owner=gadget.owner, name="new")
    kinesis_events.clear()

    Gadget.objects.update(name="new")  # the other has it already
    Gadget.objects.order_by("pk").update(count=F("count") + 1)
    other.price = 7
    Gadget.objects.bulk_update([other], ["price"])
    again = [Gadget(pk=other.pk, owner=gadget.owner, count=1), Gadget(owner=gadget.owner)]
    Gadget.objects.bulk_create(
        again, update_conflicts=True, update_fields=["count", "price"], unique_fields=["id"]
    )

    assert changed(kinesis_events) == [
        {"name": ["old", "new"]},
        {"count": [1, 2]},
        {"count": [0, 1]},
        {"price": ["0.00", "7.00"]},
        {"price": ["7.00", "0.00"]},
        None,
    ]


def test_what_is_left_out_is_not_published(gadget, kinesis_events):
    gadget.name = "new"
    gadget.save()
    [event] = kinesis_events
    assert set(event.data) == {"id", "owner_id", "name", "price", "count", "extra", "changed"}


@pytest.mark.parametrize(
    "given", [{"exclude": "name"}, {"exclude": ["name"], "fields": ["id"]}, {"exclude": [1]}]
)
def test_leaving_out_is_declared_by_a_list_alone(given):
    with pytest.raises(ImproperlyConfigured, match="exclude="):
        publishes("test.plain", **given)(Plain)


def test_a_field_of_that_name_is_refused_by_a_check():
    publishes("test.clash", fields=["id", "changed"], changed=True)(Clash)
    try:
        [message] = [one for one in check_declarations() if one.obj is Clash]
    finally:
        forget(Clash)
    assert message.id == "kinesis_bridge.E033"
