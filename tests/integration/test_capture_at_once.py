"""``update()`` and ``bulk_create()`` in one statement with their events, on PostgreSQL."""

from __future__ import annotations

import pytest
from django.db import DataError, IntegrityError, connections, transaction
from django.db.models import F, IntegerField, Value
from django.db.models.functions import Cast, Upper
from django.db.transaction import TransactionManagementError

from kinesis_bridge import declarations, publishes
from kinesis_bridge.context import event_context
from kinesis_bridge.exceptions import PartitionKeyError, RecordTooLarge, SerializationError
from kinesis_bridge.models import OutboxRecord, lane_of
from kinesis_bridge.signals import event_published
from tests.support.capture import body_of, queries_of, records, statements, with_outbox
from tests.support.outbox import OutboxOn
from tests.testapp.models import Owner, Place, Restaurant, Sample, Thing
from tests.testapp.rollback import rolled_back

DB = "postgres"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", DB])
OUTBOX = OutboxRecord._meta.db_table


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.DATABASE_ROUTERS = [OutboxOn(DB)]
    with_outbox(settings)


@pytest.fixture
def places():
    made = Place.objects.using(DB).bulk_create([Place(name="a"), Place(name="b")])
    OutboxRecord.objects.using(DB).all().delete()
    return made


def told():
    bodies = map(body_of, records(DB))
    return [(body["type"].rsplit(".", 1)[-1], body["data"]["name"]) for body in bodies]


def executed(queries):
    """What was executed, without what begins and ends transactions."""
    return [one for one in statements(queries) if one not in {"BEGIN", "COMMIT"}]


class TestUpdate:
    def test_one_statement_writes_rows_and_events(self, places):
        with queries_of(DB) as queries:
            count = Place.objects.using(DB).exclude(name="b").update(name=Upper("name"))
        [statement] = executed(queries)
        assert "UPDATE" in statement
        assert OUTBOX in statement
        assert count == 1
        assert told() == [("updated", "A")]
        [record] = records(DB)
        assert record.lane == lane_of("default", record.partition_key)
        assert body_of(record)["id"] == record.event_id

    def test_it_is_a_transaction_of_its_own(self, places):
        with queries_of(DB) as queries:
            Place.objects.using(DB).update(name="new")
        assert len(queries) == 1
        with pytest.raises(DataError):
            Place.objects.using(DB).update(name="n" * 10_000)
        assert told() == [("updated", "new")] * 2

    def test_one_that_fails_ends_the_transaction_around_it(self, places):
        with transaction.atomic(using=DB):
            with pytest.raises(DataError):
                Place.objects.using(DB).update(name="n" * 10_000)
            with pytest.raises(TransactionManagementError):
                Place.objects.using(DB).count()

    def test_no_row_and_no_event(self, places):
        assert Place.objects.using(DB).filter(name="c").update(name="d") == 0
        assert Place.objects.using(DB).filter(pk__in=[]).update(name="d") == 0
        assert told() == []

    @pytest.mark.parametrize(
        "narrow",
        [
            lambda rows: rows.distinct(),
            lambda rows: rows.annotate(upper=Upper("name")).filter(upper="A"),
            lambda rows: rows.order_by("-name").filter(name="a"),
        ],
    )
    def test_whatever_the_queryset(self, places, narrow):
        count = narrow(Place.objects.using(DB)).update(name="new")
        assert count == len(told()) == Place.objects.using(DB).filter(name="new").count()

    def test_events_take_their_place_behind_those_that_wait(self, places):
        first, _ = places
        with transaction.atomic(using=DB):
            first.name = "saved"
            first.save()
            Place.objects.using(DB).filter(pk=first.pk).update(name="updated")
            first.name = "again"
            first.save()
        assert told() == [("updated", "saved"), ("updated", "updated"), ("updated", "again")]

    @pytest.mark.parametrize("fails", [True, False])
    def test_within_a_savepoint(self, places, fails):
        """What waits outside of it must outlive it: so nothing of that is written early."""
        first, second = places
        with transaction.atomic(using=DB):
            first.name = "outside"
            first.save()
            with rolled_back(DB) if fails else transaction.atomic(using=DB):
                Place.objects.using(DB).filter(pk=second.pk).update(name="inside")
                second.name = "inside too"
                second.save()
            Place.objects.using(DB).filter(pk=first.pk).update(name="after")
        inside = [] if fails else [("updated", "inside"), ("updated", "inside too")]
        assert told() == [("updated", "outside"), *inside, ("updated", "after")]

    def test_what_came_first_in_a_savepoint_that_is_rolled_back(self, places):
        with transaction.atomic(using=DB):
            with rolled_back(DB):
                Place.objects.using(DB).update(name="not")
                Place(name="not").save(using=DB)
                Place.objects.using(DB).update(name="not either")
            Place(name="kept").save(using=DB)
        assert told() == [("created", "kept")]

    def test_a_savepoint_made_by_hand(self, places):
        first, _ = places
        with transaction.atomic(using=DB):
            first.name = "before"
            first.save()
            sid = connections[DB].savepoint()
            Place.objects.using(DB).update(name="not")
            connections[DB].savepoint_rollback(sid)
        assert told() == [("updated", "before")]

    @pytest.mark.parametrize(
        "given", [{"fields": ["id", "stars"]}, {"fields": ["stars"], "key": "name"}]
    )
    def test_a_child_whose_parent_has_the_column(self, given):
        kept = list(declarations._declarations[Restaurant])
        declarations._declarations[Restaurant].clear()  # it cannot be one statement anyway
        publishes("test.inn", **given)(Restaurant)
        try:
            Restaurant(name="a").save(using=DB)
            OutboxRecord.objects.using(DB).all().delete()
            Restaurant.objects.using(DB).update(stars=3)
            [record] = records(DB)
            assert body_of(record)["type"] == "test.inn.updated"
            assert body_of(record)["data"]["stars"] == 3
        finally:
            declarations._declarations[Restaurant][:] = kept
            declarations._found.clear()

    def test_who_and_why(self, places):
        with event_context(userid="a'%s", requestid="r"):
            Place.objects.using(DB).filter(name="a").update(name="x")
        body = body_of(records(DB)[0])
        assert (body["userid"], body["requestid"]) == ("a'%s", "r")

    def test_a_percent_sign_is_one(self, places, settings):
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"SOURCE": "/100%25s"}
        Place.objects.using(DB).filter(name="a").update(name="50%s")
        body = body_of(records(DB)[0])
        assert (body["source"], body["data"]["name"]) == ("/100%25s", "50%s")

    def test_who_listens_to_each_event_hears_of_it(self, places):
        heard = []

        def hear(event, **_):
            heard.append(event.data["name"])

        event_published.connect(hear)
        try:
            Place.objects.using(DB).update(name="x")
            Place.objects.using(DB).bulk_create([Place(name="y")])
        finally:
            event_published.disconnect(hear)
        assert heard == ["x", "x", "y"]
        assert len(told()) == 3


class TestBulkCreate:
    def test_one_statement_writes_rows_and_events(self):
        with queries_of(DB) as queries:
            made = Place.objects.using(DB).bulk_create([Place(name="a"), Place(name="b")])
        [statement] = executed(queries)
        assert OUTBOX in statement
        assert [body_of(record)["data"] for record in records(DB)] == [
            {"id": place.pk, "name": place.name} for place in made
        ]

    def test_with_keys_and_without(self):
        made = Place.objects.using(DB).bulk_create(
            [Place(name="a"), Place(pk=10**6, name="b"), Place(name="c")], batch_size=1
        )
        assert sorted(body_of(record)["data"]["id"] for record in records(DB)) == sorted(
            place.pk for place in made
        )

    def test_only_what_is_new(self, places):
        Place.objects.using(DB).bulk_create(
            [Place(pk=places[0].pk, name="there"), Place(pk=10**6, name="new")],
            ignore_conflicts=True,
        )
        assert told() == [("created", "new")]

    def test_what_the_database_makes_is_set(self):
        [made] = Sample.objects.using(DB).bulk_create([Sample(code="k", count=4)])
        assert made.pk == body_of(records(DB)[0])["data"]["id"]
        assert body_of(records(DB)[0])["data"]["doubled"] == 8

    def test_a_failure_leaves_nothing(self, places):
        with pytest.raises(IntegrityError):
            Place.objects.using(DB).bulk_create([Place(name="x"), Place(pk=places[0].pk)])
        assert told() == []


class TestRefused:
    """As the other ways refuse it: by the same errors, with nothing done."""

    @pytest.fixture
    def thing(self):
        owner = Owner.objects.using(DB).create(name="x")
        made = Thing(owner=owner, name="a")
        made.save(using=DB)
        OutboxRecord.objects.using(DB).all().delete()
        return made

    def test_an_empty_key(self, thing):
        with pytest.raises(PartitionKeyError) as caught:
            Thing.objects.using(DB).update(owner=None)
        assert f"testapp.Thing.owner_id is empty for {thing.pk}" in str(caught.value)
        thing.refresh_from_db()
        assert thing.owner is not None
        assert told() == []

    def test_of_a_bulk_create(self, thing):
        with pytest.raises(PartitionKeyError):
            Thing.objects.using(DB).bulk_create([Thing(name="b", owner=thing.owner), Thing()])
        assert Thing.objects.using(DB).count() == 1
        assert told() == []

    def test_what_json_does_not_have(self, thing):
        with pytest.raises(SerializationError) as caught:
            Thing.objects.using(DB).update(price=Value("NaN") + F("price"))
        assert f"testapp.Thing.price cannot be published of {thing.pk}" in str(caught.value)

    def test_a_record_that_is_too_large(self, thing):
        with pytest.raises(RecordTooLarge) as caught:
            Thing.objects.using(DB).update(extra={"a": "x" * 1024 * 1024})
        assert "stream 'default' takes 1,048,576" in str(caught.value)
        thing.refresh_from_db()
        assert thing.extra is None

    @pytest.mark.parametrize("name", ["ImproperlyConfigured", "PartitionKeyError"])
    def test_nobody_makes_an_error_of_ours_by_a_value(self, thing, name):
        value = Cast(Value(f"kinesis_bridge refuses: {name}: x"), IntegerField())
        with pytest.raises((DataError, PartitionKeyError)):
            Thing.objects.using(DB).update(count=value)
        thing.refresh_from_db()
        assert thing.count == 0

    def test_another_error_of_the_database_is_what_it_is(self, thing):
        with pytest.raises(DataError) as caught:
            Thing.objects.using(DB).update(name="x" * 51)
        assert "too long" in str(caught.value)
        assert connections[DB].in_atomic_block is False
