"""Writes of many rows at once: the events are those that as many saves would have made."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F, Sum, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext

from kinesis_bridge.models import OutboxRecord
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.testapp.models import (
    Bar,
    Owner,
    Pin,
    Place,
    PlaceProxy,
    Restaurant,
    Sample,
    Thing,
    Token,
)
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def db(database, settings):
    """The alias of a database of each kind, whose outbox has the events."""
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    with_outbox(settings)
    return database


@pytest.fixture
def places(db):
    made = [Place(name=name) for name in "abc"]
    for place in made:
        place.save(using=db)
    OutboxRecord.objects.using(db).all().delete()
    return made


def seen(db):
    """Types and data of the events in their order; forgets them."""
    found = [(body["type"], body["data"]) for body in map(body_of, records(db))]
    OutboxRecord.objects.using(db).all().delete()
    return found


def names(db):
    return [(kind, data["name"]) for kind, data in seen(db)]


def updated(*found):
    return [("test.place.updated", name) for name in found]


def created(*found):
    return [("test.place.created", name) for name in found]


class TestUpdate:
    def test_each_row_has_its_event_with_what_it_holds_now(self, db, places):
        count = Place.objects.using(db).exclude(name="b").update(name="new")

        assert count == 2
        first, _, third = places
        assert seen(db) == [
            ("test.place.updated", {"id": first.pk, "name": "new"}),
            ("test.place.updated", {"id": third.pk, "name": "new"}),
        ]

    def test_rows_that_no_longer_match_have_theirs(self, db, places):
        Place.objects.using(db).filter(name="a").update(name="z")
        assert names(db) == updated("z")

    def test_what_only_the_database_computes_is_read_from_it(self, db, places):
        Place.objects.using(db).update(name=Concat(F("name"), Value("!")))
        assert names(db) == updated("a!", "b!", "c!")

    def test_nothing_that_is_published_is_nothing(self, db):
        owner = Owner.objects.using(db).create(name="o")
        Thing.objects.using(db).create(owner=owner, name="t")
        seen(db)
        with CaptureQueriesContext(connections[db]) as queries:
            Thing.objects.using(db).update(secret="s")
        assert len(queries) == 1
        assert seen(db) == []

    def test_no_row_is_no_event(self, db, places):
        assert Place.objects.using(db).filter(name="nobody").update(name="x") == 0
        assert seen(db) == []

    def test_of_a_model_that_publishes_no_updates(self, db):
        Token.objects.using(db).create(label="t")
        seen(db)
        Token.objects.using(db).update(label="u")
        assert seen(db) == []

    def test_what_is_rolled_back_is_not_published(self, db, places):
        with transaction.atomic(using=db):
            Place.objects.using(db).filter(name="a").update(name="kept")
            with rolled_back(db):
                Place.objects.using(db).update(name="lost")
        assert names(db) == updated("kept")

    def test_through_a_proxy(self, db, places):
        PlaceProxy.objects.using(db).filter(name="a").update(name="p")
        assert names(db) == updated("p")

    def test_a_child_of_multi_table_inheritance_and_its_parent(self, db):
        restaurant = Restaurant(name="r", stars=1)
        restaurant.save(using=db)
        Restaurant(name="other", stars=2).save(using=db)
        seen(db)

        Restaurant.objects.using(db).filter(stars=1).update(name="new", stars=3)

        assert seen(db) == [
            ("test.place.updated", {"id": restaurant.pk, "name": "new"}),
            ("test.restaurant.updated", {"name": "new", "stars": 3}),
        ]

    def test_a_declared_parent_of_a_child_that_is_not(self, db):
        Bar(name="bar", beers=3).save(using=db)
        seen(db)
        Bar.objects.using(db).filter(beers=3).update(name="pub", beers=4)
        assert names(db) == updated("pub")
        Bar.objects.using(db).update(beers=5)
        assert seen(db) == []

    def test_filtered_over_a_relation_and_with_an_aggregate(self, db):
        for name, count in (("ann", 1), ("bob", 5)):
            owner = Owner.objects.using(db).create(name=name)
            Thing.objects.using(db).create(owner=owner, name=name, count=count)
        seen(db)

        Thing.objects.using(db).filter(owner__name="ann").update(name="x")
        many = Owner.objects.using(db).annotate(n=Sum("thing__count")).filter(n__gt=2)
        Thing.objects.using(db).filter(owner__in=many).update(name="y")

        assert names(db) == [("test.thing.updated", name) for name in "xy"]

    def test_values_become_what_the_row_holds(self, db):
        sample = Sample(code="s")
        sample.save(using=db)
        seen(db)
        token = uuid.uuid4()

        Sample.objects.using(db).update(count=4, token=str(token), price="9.999", extra={"a": [1]})

        [(_, data)] = seen(db)
        assert (data["doubled"], data["token"], data["extra"]) == (8, str(token), {"a": [1]})
        held = Sample.objects.using(db).get().price
        assert Decimal(data["price"]) == held

    def test_a_relation_is_set_by_instance_or_key(self, db):
        ann, bob = (Owner.objects.using(db).create(name=name) for name in ("ann", "bob"))
        Thing.objects.using(db).create(owner=ann)
        seen(db)
        Thing.objects.using(db).update(owner=bob)
        Thing.objects.using(db).update(owner_id=ann.pk)
        assert [data["owner"] for _, data in seen(db)] == [bob.pk, ann.pk]

    def test_another_primary_key_is_another_row(self, db, places):
        first = places[0].pk
        Place.objects.using(db).filter(pk=first).update(id=first + 1000)
        assert seen(db) == [
            ("test.place.deleted", {"id": first, "name": "a"}),
            ("test.place.created", {"id": first + 1000, "name": "a"}),
        ]

    def test_what_django_refuses_it_refuses(self, db, places):
        with pytest.raises(TypeError, match="slice"):
            Place.objects.using(db).all()[:1].update(name="x")
        assert seen(db) == []

    def test_bulk_update(self, db, places):
        for place in places[:2]:
            place.name += "?"
        assert Place.objects.using(db).bulk_update(places[:2], ["name"], batch_size=1) == 2
        assert names(db) == updated("a?", "b?")

    def test_set_null_of_a_deleted_row(self, db, places):
        gone = [place.pk for place in places]
        pins = [Pin.objects.using(db).create(place=place) for place in places]
        seen(db)

        places[0].delete(using=db)
        Place.objects.using(db).filter(name="b").delete()

        assert seen(db) == [
            event
            for pin, pk, name in ((pins[0], gone[0], "a"), (pins[1], gone[1], "b"))
            for event in (
                ("test.pin.updated", {"id": pin.pk, "place": None}),
                ("test.place.deleted", {"id": pk, "name": name}),
            )
        ]

    def test_one_insert_for_all_events(self, db, places):
        with CaptureQueriesContext(connections[db]) as queries:
            Place.objects.using(db).update(name="n")
        outbox = [one["sql"] for one in queries if OutboxRecord._meta.db_table in one["sql"]]
        assert len([sql for sql in outbox if "INSERT" in sql]) == 1


class TestBulkCreate:
    def test_each_row_has_its_event_with_its_key(self, db):
        made = Place.objects.using(db).bulk_create([Place(name=name) for name in "abc"])

        found = seen(db)

        assert [data["name"] for _, data in found] == list("abc")
        assert {data["id"]: data["name"] for _, data in found} == dict(
            Place.objects.using(db).values_list("id", "name")
        )
        assert [place.pk for place in made] == [data["id"] for _, data in found]

    def test_in_batches_with_and_without_keys(self, db):
        given = [Place(id=500, name="x"), *(Place(name=name) for name in "abc")]
        Place.objects.using(db).bulk_create(given, batch_size=2)
        assert sorted(names(db)) == created("a", "b", "c", "x")

    def test_of_nothing(self, db):
        assert Place.objects.using(db).bulk_create([]) == []
        assert seen(db) == []

    def test_what_the_database_makes_of_the_values(self, db):
        Sample.objects.using(db).bulk_create([Sample(code="s", count=3, price=Decimal("1.5"))])
        [(kind, data)] = seen(db)
        assert kind == "test.sample.created"
        assert (data["doubled"], data["price"]) == (6, "1.50")

    def test_a_key_that_the_site_makes_and_a_default_that_the_database_does(self, db):
        [token] = Token.objects.using(db).bulk_create([Token(label="t")])
        [(kind, data)] = seen(db)
        assert (kind, data["id"]) == ("test.token.created", str(token.pk))
        assert data["stamped"]

    def test_conflicts_that_are_ignored_have_no_event(self, db, places):
        taken = places[0].pk
        given = [Place(id=taken, name="taken"), Place(id=taken + 900, name="new")]
        Place.objects.using(db).bulk_create(given, ignore_conflicts=True)
        assert seen(db) == [("test.place.created", {"id": taken + 900, "name": "new"})]

    def test_one_row_that_is_ignored(self, db, places):
        given = [Place(id=places[0].pk, name="taken")]
        Place.objects.using(db).bulk_create(given, ignore_conflicts=True)
        assert seen(db) == []

    def test_conflicts_that_update(self, db, places):
        taken = places[0].pk
        given = [Place(id=taken, name="changed"), Place(id=taken + 900, name="new")]
        unique = ["id"] if connections[db].vendor != "mysql" else None

        Place.objects.using(db).bulk_create(
            given, update_conflicts=True, update_fields=["name"], unique_fields=unique
        )

        assert seen(db) == [
            ("test.place.updated", {"id": taken, "name": "changed"}),
            ("test.place.created", {"id": taken + 900, "name": "new"}),
        ]

    def test_where_the_database_returns_no_rows(self, db, places, monkeypatch):
        """As on MySQL: keys are right all the same, one by one where they are the database's."""
        monkeypatch.setitem(
            connections[db].features.__dict__, "can_return_rows_from_bulk_insert", False
        )
        monkeypatch.setitem(
            connections[db].features.__dict__, "can_return_columns_from_insert", False
        )
        if connections[db].vendor == "postgresql":
            pytest.skip("PostgreSQL tells of no last id but by returning it")
        taken = places[0].pk

        made = Place.objects.using(db).bulk_create([Place(name="x"), Place(name="y")])
        ignored = [Place(id=taken, name="taken"), Place(id=taken + 900, name="new")]
        Place.objects.using(db).bulk_create(ignored, ignore_conflicts=True)

        assert seen(db) == [
            ("test.place.created", {"id": made[0].pk, "name": "x"}),
            ("test.place.created", {"id": made[1].pk, "name": "y"}),
            ("test.place.created", {"id": taken + 900, "name": "new"}),
        ]
        assert Place.objects.using(db).get(name="y").pk == made[1].pk

    def test_what_fails_leaves_neither_rows_nor_events(self, db, places):
        given = [Place(name="new"), Place(id=places[0].pk, name="taken")]
        with pytest.raises(IntegrityError):
            Place.objects.using(db).bulk_create(given)
        assert seen(db) == []
        assert not Place.objects.using(db).filter(name="new").exists()


@pytest.mark.django_db(transaction=True)
def test_a_model_that_nobody_declared_costs_no_query_more():
    Owner.objects.create(name="o")
    with CaptureQueriesContext(connection) as queries:
        Owner.objects.update(name="p")
    assert len(queries) == 1
