"""Deletes of declared models: once each, with the row's own values."""

import pytest
from django.db import connection
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from tests.testapp.models import Branch, Note, Owner, Thing, Untouched
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def thing(kinesis_events):
    owner = Owner.objects.create(name="o")
    thing = Thing.objects.create(owner=owner, name="old", price="1.00")
    kinesis_events.clear()
    return thing


@pytest.fixture
def owner(kinesis_events):
    return Owner.objects.create(name="o")


class TestDeletes:
    def test_a_queryset(self, owner, kinesis_events):
        for name in "abc":
            Thing.objects.create(owner=owner, name=name)
        kinesis_events.clear()
        with CaptureQueriesContext(connection) as queries:
            Thing.objects.exclude(name="b").delete()
        assert sorted(event.data["name"] for event in kinesis_events) == ["a", "c"]
        assert len([q for q in queries if q["sql"].startswith("SELECT")]) == 1

    def test_a_cascade(self, thing, kinesis_events):
        thing.owner.delete()
        assert kinesis_events.types[0] == "test.thing.deleted"
        assert kinesis_events[0].data["name"] == "old"
        assert len(kinesis_events) == 1

    def test_a_tree_once_each(self, kinesis_events):
        root = Branch.objects.create()
        leaf = Branch.objects.create(parent=Branch.objects.create(parent=root))
        kinesis_events.clear()
        subjects = {str(root.pk), str(leaf.parent_id), str(leaf.pk)}
        root.delete()
        assert {event.subject for event in kinesis_events} == subjects
        assert len(kinesis_events) == 3

    def test_an_unsaved_change_does_not_leak_into_the_event(self, thing, kinesis_events):
        thing.name, thing.owner_id = "never saved", 999
        thing.delete()
        assert kinesis_events[0].data["name"] == "old"
        assert kinesis_events[0].key != "999"

    def test_by_a_primary_key_alone(self, thing, kinesis_events):
        Thing(pk=thing.pk).delete()
        assert kinesis_events[0].data["name"] == "old"

    def test_of_no_row_publishes_nothing(self, kinesis_events):
        assert Thing(pk=12345).delete()[0] == 0
        assert not kinesis_events

    def test_that_is_rolled_back(self, thing, kinesis_events):
        with rolled_back():
            thing.delete()
        assert not kinesis_events
        assert Thing.objects.exists()

    def test_a_receiver_that_saves_before_the_delete_does_not_come_after_it(
        self, thing, kinesis_events
    ):
        def last_words(instance, **_):
            instance.save()

        pre_delete.connect(last_words, sender=Thing)
        try:
            thing.delete()
        finally:
            pre_delete.disconnect(last_words, sender=Thing)
        assert kinesis_events.types == ["test.thing.updated", "test.thing.deleted"]

    def test_deletes_that_nobody_declared_stay_fast(self, kinesis_events):
        plain = Untouched.objects.create()
        Note.objects.bulk_create([Note(about=plain) for _ in range(3)])
        kinesis_events.clear()
        with CaptureQueriesContext(connection) as queries:
            plain.delete()
        deletes = [q["sql"] for q in queries if q["sql"].startswith(("SELECT", "DELETE"))]
        assert [sql.split()[0] for sql in deletes] == ["DELETE", "DELETE"]
        assert not kinesis_events
