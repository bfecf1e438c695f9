"""Saves and deletes of declared models, by real commits: what is published, when, with what."""

import pytest
from django.contrib.auth.models import Group
from django.core import serializers as fixtures
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from kinesis_bridge import publish
from kinesis_bridge.exceptions import PartitionKeyError, RecordTooLarge, SerializationError
from tests.testapp.models import (
    Document,
    Owner,
    Sample,
    Thing,
    ThingProxy,
    Token,
    Untouched,
)
from tests.testapp.rollback import RolledBack, rolled_back

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def owner():
    return Owner.objects.create(name="o")


@pytest.fixture
def thing(owner, kinesis_events):
    thing = Thing.objects.create(owner=owner, name="old", price="1.00")
    kinesis_events.clear()
    return thing


def seen(events):
    return [(event.type, event.data) for event in events]


def test_created_updated_and_deleted(owner, kinesis_events):
    thing = Thing.objects.create(owner=owner, name="a")
    thing.name = "b"
    thing.save()
    pk = thing.pk
    thing.delete()
    data = {
        "id": pk,
        "owner": owner.pk,
        "price": "0.00",
        "count": 0,
        "made": None,
        "extra": None,
    }
    assert seen(kinesis_events) == [
        ("test.thing.created", data | {"name": "a"}),
        ("test.thing.updated", data | {"name": "b"}),
        ("test.thing.deleted", data | {"name": "b"}),
    ]
    assert {(e.source, e.key, e.subject, e.stream) for e in kinesis_events} == {
        ("/tests", str(owner.pk), str(pk), "default")
    }


def test_only_the_changes_and_the_stream_of_the_declaration(kinesis_events):
    token = Token.objects.create()
    token.label = "x"
    token.save()
    token.delete()
    assert kinesis_events.types == ["test.token.created", "test.token.deleted"]
    assert {event.stream for event in kinesis_events} == {"audit"}


def test_a_third_party_model_declared_in_kinesis_events_py(kinesis_events):
    group = Group.objects.create(name="staff")
    assert seen(kinesis_events) == [("auth.group.created", {"id": group.pk, "name": "staff"})]


class TestTransactions:
    def test_nothing_before_the_commit(self, owner, kinesis_events):
        with transaction.atomic():
            Thing.objects.create(owner=owner)
            assert not kinesis_events
        assert len(kinesis_events) == 1

    def test_nothing_of_what_was_rolled_back(self, owner, kinesis_events):
        with rolled_back():
            Thing.objects.create(owner=owner)
        assert not kinesis_events

    def test_nothing_of_a_rolled_back_savepoint_and_all_of_the_rest(self, owner, kinesis_events):
        with transaction.atomic():
            Thing.objects.create(owner=owner, name="before")
            with rolled_back():
                Thing.objects.create(owner=owner, name="within")
            Thing.objects.create(owner=owner, name="after")
        assert [event.data["name"] for event in kinesis_events] == ["before", "after"]

    def test_a_row_and_its_event_are_one_transaction_in_autocommit(self, owner, kinesis_events):
        with CaptureQueriesContext(connection) as queries:
            Thing.objects.create(owner=owner)
        statements = [query["sql"].split()[0] for query in queries]
        assert statements == ["BEGIN", "INSERT", "COMMIT"]

    def test_manual_transactions(self, owner, kinesis_events):
        transaction.set_autocommit(False)
        try:
            Thing.objects.create(owner=owner, name="gone")
            transaction.rollback()
            Thing.objects.create(owner=owner, name="kept")
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        assert [event.data["name"] for event in kinesis_events] == ["kept"]

    def test_get_or_create_and_update_or_create(self, owner, kinesis_events):
        Thing.objects.get_or_create(owner=owner, name="a")
        Thing.objects.get_or_create(owner=owner, name="a")
        Thing.objects.update_or_create(owner=owner, name="a", defaults={"count": 5})
        assert kinesis_events.types == ["test.thing.created", "test.thing.updated"]
        assert kinesis_events[1].data["count"] == 5


class TestDatabases:
    def test_a_commit_on_the_other_database_is_not_held_up(self, owner, kinesis_events):
        with transaction.atomic():
            Thing.objects.create(owner=owner, name="default")
            Sample(code="other").save(using="other")
            assert kinesis_events.types == ["test.sample.created"]
        assert kinesis_events.types == ["test.sample.created", "test.thing.created"]

    def test_each_transaction_is_its_own(self, owner, kinesis_events):
        with transaction.atomic(using="other"):
            with rolled_back():
                Thing.objects.create(owner=owner)
                Sample.objects.using("other").create(code="kept")
            assert not kinesis_events
        assert [event.key for event in kinesis_events] == ["kept"]

    def test_values_are_read_from_the_database_that_was_written(self, kinesis_events):
        Sample.objects.create(pk=1, code="here", count=1)
        Sample.objects.using("other").create(pk=1, code="there", count=10)
        kinesis_events.clear()
        there = Sample.objects.using("other").get()
        there.count = F("count") + 1
        there.save()
        there.delete()
        assert [(e.key, e.data["count"]) for e in kinesis_events] == [("there", 11)] * 2

    def test_publish_by_hand_belongs_to_the_database_it_names(self, kinesis_events):
        with rolled_back(using="other"):
            publish("a.b", {}, using="other")
            publish("c.d", {})
        assert kinesis_events.types == ["c.d"]


class TestRefused:
    """An event that cannot be made takes its row with it, and the error says whose fault it is."""

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            ({"code": None}, PartitionKeyError, r"testapp\.Sample\.code is empty"),
            ({"code": ""}, PartitionKeyError, r"testapp\.Sample\.code .*key is empty"),
            ({"code": "x" * 257}, PartitionKeyError, r"testapp\.Sample\.code .*257 characters"),
            ({"code": "k", "wave": 1j}, SerializationError, r"testapp\.Sample\.wave .*complex"),
            (
                {"code": "k", "weight": float("inf")},
                SerializationError,
                r"testapp\.Sample\.weight .*Infinity",
            ),
            (
                {"code": "k", "extra": ["x" * 2**20]},
                RecordTooLarge,
                r"testapp\.Sample\.extra .*1,048,576",
            ),
        ],
        ids=["key None", "key empty", "key too long", "no JSON form", "infinite", "too large"],
    )
    def test_in_autocommit(self, kinesis_events, values, error, message):
        with pytest.raises(error, match=message):
            Sample.objects.create(**values)
        assert not Sample.objects.exists()
        assert not kinesis_events

    def test_a_nan_in_json(self, kinesis_events):
        # SQLite refuses NaN in a JSON column by itself; as a float it keeps it as NULL.
        with pytest.raises(SerializationError, match=r"testapp\.Sample\.weight"):
            Sample.objects.create(code="k", weight=float("nan"))
        assert not Sample.objects.exists()

    def test_a_lone_surrogate(self, kinesis_events):
        with pytest.raises(SerializationError, match=r"testapp\.Sample\.extra .*surrogate"):
            Sample.objects.create(code="k", extra={"a": "\ud800"})
        assert not Sample.objects.exists()

    def test_the_whole_transaction_even_if_the_error_is_swallowed(self, owner, kinesis_events):
        with transaction.atomic():
            Thing.objects.create(owner=owner)
            with pytest.raises(PartitionKeyError):
                Thing.objects.create(owner=None)
        assert not Thing.objects.exists()
        assert not kinesis_events

    def test_only_the_savepoint_where_there_is_one(self, owner, kinesis_events):
        with transaction.atomic():
            Thing.objects.create(owner=owner)
            with pytest.raises(PartitionKeyError), transaction.atomic():
                Thing.objects.create(owner=None)
        assert Thing.objects.count() == len(kinesis_events) == 1

    def test_a_delete(self, kinesis_events):
        Sample(code="k", wave=1j).save_base(raw=True)  # as a fixture, which publishes nothing
        with pytest.raises(SerializationError, match=r"testapp\.Sample\.wave"):
            Sample.objects.all().delete()
        assert Sample.objects.exists()


class TestOtherCode:
    def test_fixtures_publish_nothing(self, thing, kinesis_events, tmp_path):
        path = tmp_path / "rows.json"
        path.write_text(fixtures.serialize("json", Thing.objects.all()))
        call_command("loaddata", path, verbosity=0)
        assert not kinesis_events

    def test_the_models_own_save_is_kept(self, kinesis_events):
        document = Document.objects.create(title="a")
        assert document.was_saved
        assert kinesis_events[0].data["title"] == "A"

    def test_a_receiver_that_saves_again_does_not_overtake(self, owner, kinesis_events):
        def again(instance, created, **_):
            if created:
                instance.name = "again"
                instance.save()

        post_save.connect(again, sender=Thing)
        # As one that was connected before the model was declared.
        post_save.receivers.insert(0, post_save.receivers.pop())
        post_save.sender_receivers_cache.clear()
        try:
            from kinesis_bridge.capture.signals import start

            start()
            Thing.objects.create(owner=owner, name="first")
        finally:
            post_save.disconnect(again, sender=Thing)
        assert [(e.type, e.data["name"]) for e in kinesis_events] == [
            ("test.thing.created", "first"),
            ("test.thing.updated", "again"),
        ]
        assert kinesis_events[0].id < kinesis_events[1].id

    def test_a_receiver_that_fails_takes_the_event_with_it(self, owner, kinesis_events):
        def fail(**_):
            raise RolledBack

        post_save.connect(fail, sender=Thing)
        try:
            with pytest.raises(RolledBack):
                Thing.objects.create(owner=owner)
        finally:
            post_save.disconnect(fail, sender=Thing)
        assert not kinesis_events
        assert not Thing.objects.exists()

    def test_a_model_that_is_not_declared_is_left_alone(self, kinesis_events):
        with CaptureQueriesContext(connection) as queries:
            plain = Untouched.objects.create()
            plain.save()
        assert [query["sql"].split()[0] for query in queries] == ["INSERT", "UPDATE"]
        assert not kinesis_events


class TestProxies:
    def test_a_save_and_a_delete_publish_the_concrete_models_event_once(
        self, owner, kinesis_events
    ):
        proxy = ThingProxy.objects.create(owner=owner, name="p")
        proxy.name = "q"
        proxy.save()
        proxy.delete()
        assert [(e.type, e.data["name"]) for e in kinesis_events] == [
            ("test.thing.created", "p"),
            ("test.thing.updated", "q"),
            ("test.thing.deleted", "q"),
        ]

    def test_a_queryset(self, thing, kinesis_events):
        ThingProxy.objects.all().delete()
        assert kinesis_events.types == ["test.thing.deleted"]


def test_the_other_database_is_another_one():
    assert (
        connections["default"].settings_dict["NAME"] != connections["other"].settings_dict["NAME"]
    )
