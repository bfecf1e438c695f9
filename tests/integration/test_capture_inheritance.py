"""Multi-table inheritance, proxies, and classes made after start-up: each table's event once."""

import pytest
from django.db import IntegrityError, connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps

from kinesis_bridge import publishes
from kinesis_bridge.declarations import forget
from tests.testapp.models import (
    Bar,
    Branch,
    Place,
    PlaceProxy,
    Restaurant,
    RestaurantProxy,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def place(kinesis_events):
    place = Place.objects.create(name="p")
    kinesis_events.clear()
    return place


@pytest.fixture
def restaurant(kinesis_events):
    restaurant = Restaurant.objects.create(name="r", stars=1)
    kinesis_events.clear()
    return restaurant


def test_a_child_of_a_declared_parent_publishes_the_parents_event(kinesis_events):
    bar = Bar.objects.create(name="a", beers=3)
    bar.name = "b"
    bar.save()
    pk = bar.pk
    bar.delete()
    assert [(e.type, e.key, e.data) for e in kinesis_events] == [
        ("test.place.created", str(pk), {"id": pk, "name": "a"}),
        ("test.place.updated", str(pk), {"id": pk, "name": "b"}),
        ("test.place.deleted", str(pk), {"id": pk, "name": "b"}),
    ]


def test_a_declared_child_publishes_both(kinesis_events):
    restaurant = Restaurant.objects.create(name="a", stars=2)
    restaurant.save()
    restaurant.delete()
    assert kinesis_events.types[:4] == [
        "test.place.created",
        "test.restaurant.created",
        "test.place.updated",
        "test.restaurant.updated",
    ]
    assert sorted(kinesis_events.types[4:]) == ["test.place.deleted", "test.restaurant.deleted"]
    assert kinesis_events[1].data == {"name": "a", "stars": 2}


def test_update_fields_of_one_table_publish_that_tables_event(restaurant, kinesis_events):
    restaurant.stars, restaurant.name = 3, "unsaved"
    restaurant.save(update_fields=["stars"])
    assert [(e.type, e.data) for e in kinesis_events] == [
        ("test.restaurant.updated", {"name": "r", "stars": 3})
    ]


def test_update_fields_of_the_parent_reach_the_child_that_publishes_them(
    restaurant, kinesis_events
):
    restaurant.name = "new"
    restaurant.save(update_fields=["name"])
    assert kinesis_events.types == ["test.place.updated", "test.restaurant.updated"]


def adopted_by_instance(place):
    return Restaurant(place_ptr=place, name=place.name, stars=2)


def adopted_by_id(place):
    return Restaurant(place_ptr_id=place.pk, name=place.name, stars=2)


def adopted_by_copy(place):
    child = Restaurant(place_ptr_id=place.pk, stars=2)
    child.__dict__.update(place.__dict__)
    return child


@pytest.mark.parametrize("adopt", [adopted_by_instance, adopted_by_id, adopted_by_copy])
def test_a_child_added_to_a_row_that_is_there_updates_the_parent(place, kinesis_events, adopt):
    adopt(place).save()
    assert [(e.type, e.data) for e in kinesis_events] == [
        ("test.place.updated", {"id": place.pk, "name": "p"}),
        ("test.restaurant.created", {"name": "p", "stars": 2}),
    ]


def test_whether_the_parent_is_new_costs_no_query(kinesis_events):
    with CaptureQueriesContext(connection) as queries:
        restaurant = Restaurant.objects.create(name="a")
        restaurant.save()
    verbs = [query["sql"].split()[0] for query in queries]
    assert verbs == ["BEGIN", "INSERT", "INSERT", "COMMIT", "BEGIN", "UPDATE", "UPDATE", "COMMIT"]


def test_a_failed_save_leaves_nothing_behind(place, kinesis_events):
    restaurant = Restaurant(name="r", stars=None)
    with pytest.raises(IntegrityError):  # the parent's row was inserted by then
        restaurant.save()
    restaurant.stars = 1
    restaurant.pk = restaurant.id = place.pk
    restaurant.save()
    assert kinesis_events.types == ["test.place.updated", "test.restaurant.created"]


def test_a_delete_keeps_out_what_was_never_saved(restaurant, kinesis_events):
    restaurant.name = "unsaved"
    restaurant.delete()
    assert {event.data["name"] for event in kinesis_events} == {"r"}
    assert len(kinesis_events) == 2


def test_keep_parents_keeps_the_parents_event_too(restaurant, kinesis_events):
    restaurant.delete(keep_parents=True)
    assert kinesis_events.types == ["test.restaurant.deleted"]
    assert Place.objects.exists()


def test_a_delete_of_the_parent_publishes_its_child_too(restaurant, kinesis_events):
    Branch.objects.create(place_id=restaurant.pk)
    kinesis_events.clear()
    Place.objects.get().delete()
    assert sorted(kinesis_events.types) == [
        "test.branch.deleted",
        "test.place.deleted",
        "test.restaurant.deleted",
    ]


@pytest.mark.parametrize("model", [Place, PlaceProxy, Restaurant, RestaurantProxy])
@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_a_delete_publishes_each_table_once_whoever_asks(restaurant, kinesis_events, model, how):
    asked = model.objects.get() if how == "instance" else model.objects.all()
    asked.delete()
    assert sorted(kinesis_events.types) == ["test.place.deleted", "test.restaurant.deleted"]


def test_a_proxy_of_a_child(kinesis_events):
    proxy = RestaurantProxy.objects.create(name="a", stars=2)
    proxy.save(update_fields=["stars"])
    assert kinesis_events.types == [
        "test.place.created",
        "test.restaurant.created",
        "test.restaurant.updated",
    ]


@isolate_apps("tests.testapp")
def test_a_proxy_defined_after_start_up(place, kinesis_events):
    class LateProxy(Place):
        class Meta:
            proxy = True
            app_label = "testapp"

    late = LateProxy.objects.get()
    late.save()
    late.delete()
    assert kinesis_events.types == ["test.place.updated", "test.place.deleted"]


@isolate_apps("tests.testapp")
def test_a_child_through_an_abstract_class_defined_after_start_up(kinesis_events):
    class Base(Place):
        class Meta:
            abstract = True
            app_label = "testapp"

    class Late(Base):
        pass

    with connection.schema_editor() as editor:
        editor.create_model(Late)
    try:
        Late.objects.create(name="l").delete()
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Late)
    assert kinesis_events.types == ["test.place.created", "test.place.deleted"]


@isolate_apps("tests.testapp")
def test_a_model_declared_after_start_up_with_its_children(kinesis_events):
    class Parent(models.Model):
        name = models.CharField(max_length=5, default="")

        class Meta:
            app_label = "testapp"

    class Child(Parent):
        class Meta:
            app_label = "testapp"

    publishes("test.parent", fields=["name"])(Parent)
    with connection.schema_editor() as editor:
        editor.create_model(Parent)
        editor.create_model(Child)
    try:
        Child.objects.create(name="c").delete()
    finally:
        forget(Parent)
        with connection.schema_editor() as editor:
            editor.delete_model(Child)
            editor.delete_model(Parent)
    assert kinesis_events.types == ["test.parent.created", "test.parent.deleted"]


@isolate_apps("tests.testapp")
def test_a_child_of_two_declared_parents(kinesis_events):
    class Left(models.Model):
        left = models.AutoField(primary_key=True)

        class Meta:
            app_label = "testapp"

    class Right(models.Model):
        right = models.AutoField(primary_key=True)

        class Meta:
            app_label = "testapp"

    class Both(Left, Right):
        class Meta:
            app_label = "testapp"

    publishes("test.left", fields=["left"])(Left)
    publishes("test.right", fields=["right"])(Right)
    with connection.schema_editor() as editor:
        for model in (Left, Right, Both):
            editor.create_model(model)
    try:
        Right.objects.create(right=7)
        kinesis_events.clear()
        Both(right=7).save()
    finally:
        forget(Left)
        forget(Right)
        with connection.schema_editor() as editor:
            for model in (Both, Left, Right):
                editor.delete_model(model)
    assert sorted(kinesis_events.types) == ["test.left.created", "test.right.updated"]
