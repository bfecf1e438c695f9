"""What no own column holds: paths, expressions and functions, in the events of every write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections, models, transaction
from django.test.utils import CaptureQueriesContext

from kinesis_bridge import declarations as declarations_module
from kinesis_bridge import publishes
from kinesis_bridge.capture import before, derived
from kinesis_bridge.declarations import declarations_of, forget
from kinesis_bridge.exceptions import EventError, SchemaError, SerializationError
from kinesis_bridge.models import OutboxRecord
from kinesis_bridge.serializers import cloudevents
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.testapp.models import (
    Bar,
    Bill,
    Branch,
    Buyer,
    Place,
    Plain,
    Purchase,
    Region,
    Seat,
    Tag,
)
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def using(database, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    return database


@pytest.fixture
def buyers(using):
    region = Region.objects.using(using).create(code="eu")
    make = Buyer.objects.using(using).create
    return make(email="a@x", region=region), make(email="b@x")


@pytest.fixture
def declare():
    yield lambda **given: publishes("test.plain", **given)(Plain)
    forget(Plain)


def seen(events, *names):
    """Kinds and values of the data; forgets them."""
    found = [
        (event.type.rsplit(".")[-1], *(event.data.get(name) for name in names)) for event in events
    ]
    events.clear()
    return found


def test_the_data_is_named_as_declared(kinesis_events, using, buyers):
    purchase = Purchase(buyer=buyers[0], net="9.5", tax=1, count=2)
    purchase.save(using=using)
    [event] = kinesis_events
    assert event.data == {
        "id": purchase.pk,
        "email": "a@x",
        "buyer.region.code": "eu",
        "gross": "10.50",
        "label": "2 for a@x",
        "double": 4,
        "marks": [],
    }
    assert list(event.data)[:3] == ["id", "email", "buyer.region.code"]


NAMES = ("email", "buyer.region.code", "gross", "label")


def test_each_way_to_write(kinesis_events, using, buyers):
    a, b = buyers
    rows = Purchase.objects.using(using)
    purchase = rows.create(buyer=a, net=1)
    purchase.buyer = b
    purchase.save(update_fields=["buyer"])
    purchase.net = models.F("net") + 1
    purchase.save()
    rows.update(buyer=a, tax=models.F("net"))
    purchase = rows.get()
    purchase.buyer = None
    rows.bulk_update([purchase], ["buyer"])
    rows.bulk_create([Purchase(buyer=a, count=1), Purchase(count=2)])
    assert seen(kinesis_events, *NAMES) == [
        ("created", "a@x", "eu", "1.00", "0 for a@x"),
        ("updated", "b@x", None, "1.00", "0 for b@x"),
        ("updated", "b@x", None, "2.00", "0 for b@x"),
        ("updated", "a@x", "eu", "4.00", "0 for a@x"),
        ("updated", None, None, "4.00", "0 for nobody"),
        ("created", "a@x", "eu", "0.00", "1 for a@x"),
        ("created", None, None, "0.00", "2 for nobody"),
    ]
    rows.order_by("pk").delete()
    assert sorted(seen(kinesis_events, "email", "double"), key=str) == [
        ("deleted", "a@x", 2),
        ("deleted", None, 0),
        ("deleted", None, 4),
    ]


def test_what_changed(kinesis_events, using, buyers):
    a, b = buyers
    purchase = Purchase(buyer=a, net=1)
    purchase.save(using=using)
    kinesis_events.clear()
    purchase.buyer = b
    purchase.save()
    purchase.note = "not published"
    purchase.save()
    purchase.net, purchase.tax = 0, 1  # the sum is the same
    purchase.save()
    Purchase.objects.using(using).update(tax=2, note="n")
    Purchase.objects.using(using).update(note="m")
    a.email = "new@x"
    a.save()
    Purchase.objects.using(using).update(buyer=a)
    a.delete()
    assert seen(kinesis_events, "changed") == [
        (
            "updated",
            {
                "email": ["a@x", "b@x"],
                "buyer.region.code": ["eu", None],
                "label": ["0 for a@x", "0 for b@x"],
            },
        ),
        ("updated", {"gross": ["1.00", "2.00"]}),
        (
            "updated",
            {
                "email": ["b@x", "new@x"],
                "buyer.region.code": [None, "eu"],
                "label": ["0 for b@x", "0 for new@x"],
            },
        ),
        (
            "updated",
            {
                "email": ["new@x", None],
                "buyer.region.code": ["eu", None],
                "label": ["0 for new@x", "0 for nobody"],
            },
        ),
    ]


def test_a_row_that_stands_in_the_way_of_a_bulk_create(kinesis_events, using, buyers):
    purchase = Purchase(buyer=buyers[0], net=1)
    purchase.save(using=using)
    kinesis_events.clear()
    unique = {} if using == "mysql" else {"unique_fields": ["id"]}
    Purchase.objects.using(using).bulk_create(
        [Purchase(pk=purchase.pk, buyer=buyers[1], net=2)],
        update_conflicts=True,
        update_fields=["net"],
        **unique,
    )
    assert seen(kinesis_events, "email", "changed") == [
        ("updated", "a@x", {"gross": ["1.00", "2.00"]})
    ]


def test_a_change_of_the_related_rows_has_the_rest(kinesis_events, using, buyers):
    purchase = Purchase(buyer=buyers[0])
    purchase.save(using=using)
    tag = Tag.objects.using(using).create(name="t")
    kinesis_events.clear()
    purchase.tags.add(tag)
    assert seen(kinesis_events, "email", "marks", "changed") == [
        ("updated", "a@x", [tag.pk], {"marks": [[], [tag.pk]]})
    ]


def test_what_is_rolled_back_is_not_told(kinesis_events, using, buyers):
    purchase = Purchase(buyer=buyers[0])
    purchase.save(using=using)
    kinesis_events.clear()
    with transaction.atomic(using=using):
        with rolled_back(using):
            purchase.buyer = buyers[1]
            purchase.save()
        purchase.buyer = None
        purchase.save()
    [(_, changed)] = seen(kinesis_events, "changed")
    assert changed["email"] == ["a@x", None]


def queries_of(using, write):
    with CaptureQueriesContext(connections[using]) as queries:
        write()
    return len([one for one in queries if one["sql"].startswith("SELECT")])


@pytest.mark.parametrize("model", [Purchase, Bill])
def test_the_queries_are_as_many_for_a_hundred_rows_as_for_two(
    kinesis_events, buyers, using, model
):
    rows = model.objects.using(using)
    field = "tax" if model is Purchase else "total"
    counts = []
    for size in (2, 100):
        made = [model(buyer=buyers[n % 2]) for n in range(size)]
        counts.append(
            [
                queries_of(using, lambda made=made: rows.bulk_create(made)),
                queries_of(using, lambda: rows.update(**{field: 2})),
                queries_of(using, lambda: rows.filter(buyer__isnull=False).delete()),
            ]
        )
        assert len(kinesis_events) == 3 * size
        kinesis_events.clear()
    assert counts[0] == counts[1]


def body_of_event(event):
    return json.loads(cloudevents(event))


class TestPayload:
    def test_what_the_function_returns_is_the_data(self, kinesis_events, using, buyers):
        a, b = buyers
        bill = Bill(buyer=a, total="1.5")
        bill.save(using=using)
        bill.buyer, bill.total = b, 2
        bill.save()
        bill.delete()
        assert [body_of_event(one)["data"]["total"] for one in kinesis_events] == [
            "1.50",
            "2.00",
            "2.00",
        ]
        assert [(one.type, one.data.get("changed")) for one in kinesis_events] == [
            ("test.bill.v2.created", None),
            (
                "test.bill.v2.updated",
                {
                    "buyer": ["a@x", "b@x"],
                    "total": [Decimal("1.50"), Decimal("2.00")],
                },
            ),
            ("test.bill.v2.deleted", None),
        ]
        assert {one.dataschema for one in kinesis_events} == {"urn:x-kinesis-bridge:test.bill.v2"}

    def test_while_the_condition_holds(self, kinesis_events, using, buyers):
        rows = Bill.objects.using(using)
        bill = rows.create(buyer=buyers[0], draft=True)
        rows.update(draft=False)
        bill.draft = True
        bill.save()
        rows.update(total=3)
        rows.bulk_create([Bill(draft=True), Bill(total=1)])
        rows.all().delete()
        assert seen(kinesis_events, "buyer") == [
            ("created", "a@x"),
            ("deleted", "a@x"),
            ("created", None),
            ("deleted", None),
        ]

    def test_what_changes_nothing_of_it_has_no_event(self, kinesis_events, using, buyers):
        bill = Bill(buyer=buyers[0])
        bill.save(using=using)
        kinesis_events.clear()
        bill.save()
        Bill.objects.using(using).update(total=models.F("total"))
        assert not kinesis_events

    def test_a_function_gets_only_rows_that_have_an_event(self, declare, kinesis_events):
        given = []
        declare(
            payload=lambda row: given.append(row.name) or {"name": row.name},
            when=lambda row: row.name != "hidden",
        )
        Plain.objects.bulk_create([Plain(name="hidden"), Plain(name="a")])
        assert given == ["a"]
        assert seen(kinesis_events, "name") == [("created", "a")]

    def test_condition_and_data_share_one_query(self, declare, kinesis_events):
        declare(payload=lambda row: {"name": row.name}, when=lambda row: True)
        assert queries_of("default", lambda: Plain.objects.bulk_create([Plain(), Plain()])) == 1
        assert len(kinesis_events) == 2

    @pytest.mark.parametrize("made", [None, ["name"], "text"])
    def test_what_is_no_data_is_refused(self, declare, made):
        declare(payload=lambda row: made)
        with pytest.raises(SchemaError, match=r"testapp\.Plain .*payload= returned .*a dict or"):
            Plain.objects.create()
        assert not Plain.objects.exists()

    def test_what_has_no_json_form_is_refused_by_name(self, declare):
        declare(payload=lambda row: {"id": row.pk, "name": object()})
        with pytest.raises(SerializationError, match=r"testapp\.Plain\.name cannot be published"):
            Plain.objects.create()

    def test_a_name_that_the_changes_have_is_refused(self, declare):
        declare(payload=lambda row: {"changed": 1}, changed=True)
        with pytest.raises(SchemaError, match=r"'changed'.*give it another name"):
            Plain.objects.create()

    def test_a_name_that_comes_and_goes(self, declare, kinesis_events):
        declare(payload=lambda row: {row.name: 1}, changed=True)
        row = Plain.objects.create(name="a")
        row.name = "b"
        row.save()
        assert kinesis_events[1].data == {"b": 1, "changed": {"a": [1, None], "b": [None, 1]}}


@dataclass
class PlainData:
    id: int
    name: int  # as no row has it


class TestSchema:
    def test_what_does_not_fit_is_refused_with_the_row(self, declare):
        declare(schema=PlainData)
        with pytest.raises(SchemaError) as caught:
            Plain.objects.create(name="x")
        assert str(caught.value) == (
            "testapp.Plain.name cannot be published. The data does not fit schema=PlainData:"
            " Expected `int`, got `str` - at `$.name`. Mend the value, or the schema with a new"
            " version=."
        )
        assert isinstance(caught.value, EventError)
        assert not Plain.objects.exists()

    def test_a_bulk_create_is_refused_too(self, declare):
        declare(schema=PlainData)
        with pytest.raises(SchemaError, match=r"testapp\.Plain\.name"):
            Plain.objects.bulk_create([Plain(), Plain()])
        assert not Plain.objects.exists()

    def test_what_is_missing_is_named(self, declare):
        declare(schema=PlainData, payload=lambda row: {"id": row.pk})
        with pytest.raises(SchemaError, match=r"testapp\.Plain\.name .*missing required field"):
            Plain.objects.create(name="x")


def test_a_dangling_relation_is_refused_where_a_function_needs_it(declare, kinesis_events):
    class Torn(models.Model):
        buyer = models.ForeignKey(Buyer, models.DO_NOTHING, db_constraint=False, related_name="+")

        class Meta:
            app_label = "testapp"

    with connections["default"].schema_editor() as editor:
        editor.create_model(Torn)
    try:
        publishes("test.path", fields=["buyer.email"])(Torn)
        Torn.objects.create(buyer_id=99)
        assert kinesis_events[0].data == {"buyer.email": None}
        forget(Torn)
        publishes("test.made", payload=lambda row: {}, select=["buyer"])(Torn)
        with pytest.raises(EventError, match="a relation in select= points to a row that does not"):
            Torn.objects.create(buyer_id=99)
    finally:
        forget(Torn)
        with connections["default"].schema_editor() as editor:
            editor.delete_model(Torn)
        Torn._meta.apps.all_models["testapp"].pop("torn")
        Torn._meta.apps.clear_cache()


@pytest.mark.parametrize("model", [Purchase, Bill])
def test_a_snapshot_has_it(settings, model):
    buyer = Buyer.objects.create(email="a@x")
    model.objects.bulk_create([model(buyer=buyer), model()])
    if model is Bill:
        model.objects.create(draft=True)
    with_outbox(settings)
    OutboxRecord.objects.all().delete()

    call_command("kinesis_snapshot", model._meta.label, "--json", stdout=StringIO())

    bodies = [body_of(record) for record in records("default")]
    name = "email" if model is Purchase else "buyer"
    assert [body["data"][name] for body in bodies] == ["a@x", None]


@pytest.fixture
def also():
    """Declare a model that is declared, once more, for one test."""
    extra, telling = [], {*before.telling}

    def declare(model, *given, **more):
        publishes(*given, **more)(model)
        extra.append((model, declarations_of(model)[-1]))

    yield declare
    for model, declaration in extra:
        declarations_module._declarations[model].remove(declaration)
    declarations_module._found.clear()
    before.telling.intersection_update(telling)


def test_a_condition_over_related_rows(kinesis_events, also):
    also(Purchase, "test.tagged", fields=["id", "tags"], when=models.Q(tags__name="t"))
    tags = [Tag.objects.create(name=name) for name in "tu"]
    purchase = Purchase.objects.create()
    for write in (purchase.tags.add, purchase.tags.remove):
        write(*tags)
    tags[0].purchase_set.add(purchase)
    assert [one for one in kinesis_events.types if "tagged" in one] == [
        "test.tagged.created",
        "test.tagged.deleted",
        "test.tagged.created",
    ]


def test_a_path_alone_is_published_when_its_relation_is_written(kinesis_events, also):
    also(Branch, "test.tree", fields=["parent.size"])
    branch = Branch.objects.create()
    kinesis_events.clear()
    branch.save(update_fields=["place"])
    assert not kinesis_events
    branch.save(update_fields=["parent"])
    assert kinesis_events.types == ["test.tree.updated"]
    assert kinesis_events[0].data == {"parent.size": None}


def test_a_composite_primary_key(kinesis_events, also):
    also(Seat, "test.place", fields={"row": "row", "next": models.F("number") + 1}, changed=True)
    also(Seat, "test.made", payload=lambda seat: {"pk": seat.pk}, when=models.Q(taken=False))
    seat = Seat.objects.create(row="C", number=7)
    Seat.objects.update(taken=True)
    seat.delete()
    found = [(event.type, event.data) for event in kinesis_events]
    assert [one for one in found if not one[0].startswith("test.seat.")] == [
        ("test.place.created", {"row": "C", "next": 8}),
        ("test.made.created", {"pk": ("C", 7)}),
        ("test.made.deleted", {"pk": ("C", 7)}),
        ("test.place.deleted", {"row": "C", "next": 8}),
    ]


def test_a_child_of_a_declared_parent(kinesis_events, also):
    also(Place, "test.sign", fields={"sign": lambda place: f"* {place.name}"}, changed=True)
    bar = Bar.objects.create(name="a")
    bar.name = "b"
    bar.save()
    Bar.objects.update(name="c")
    bar.delete()
    assert [
        (event.type.rsplit(".")[-1], event.data)
        for event in kinesis_events
        if event.type.startswith("test.sign")
    ] == [
        ("created", {"sign": "* a"}),
        ("updated", {"sign": "* b", "changed": {"sign": ["* a", "* b"]}}),
        ("updated", {"sign": "* c", "changed": {"sign": ["* b", "* c"]}}),
        ("deleted", {"sign": "* c"}),
    ]


def test_a_row_with_another_primary_key(kinesis_events, also):
    also(Place, "test.sign", payload=lambda place: {"name": place.name})
    Place.objects.create(name="a")
    kinesis_events.clear()
    Place.objects.update(id=1000, name="b")
    assert [
        (event.type, event.data) for event in kinesis_events if event.type.startswith("test.sign")
    ] == [("test.sign.deleted", {"name": "a"}), ("test.sign.created", {"name": "b"})]


def test_an_expression_over_many_related_rows(kinesis_events, also):
    also(
        Purchase,
        "test.counted",
        fields={"tags": "tags", "count": models.Count("tags")},
        changed=True,
    )
    tags = [Tag.objects.create(name=name) for name in "tu"]
    purchase = Purchase.objects.create()
    kinesis_events.clear()
    purchase.tags.add(*tags)
    [event] = [one for one in kinesis_events if one.type.startswith("test.counted")]
    assert event.data["changed"] == {"tags": [[], [tags[0].pk, tags[1].pk]], "count": [0, 2]}


def test_the_uri_of_any_type_is_one(kinesis_events, also):
    also(Place, "caf\u00e9 #1", fields=["name"], version=1)
    Place.objects.create(name="a")
    event = kinesis_events[-1]
    assert event.type == "caf\u00e9 #1.v1.created"
    assert event.dataschema == "urn:x-kinesis-bridge:caf%C3%A9%20%231.v1"
    assert json.loads(cloudevents(event))["dataschema"] == event.dataschema


@pytest.mark.parametrize("model", [Purchase, Bill])
def test_more_rows_than_one_query_takes(kinesis_events, using, buyers, model, monkeypatch):
    monkeypatch.setattr(derived, "PART", 3)
    model.objects.using(using).bulk_create([model(buyer=buyers[n % 2]) for n in range(7)])
    name = "email" if model is Purchase else "buyer"
    assert [event.data[name] for event in kinesis_events] == ["a@x", "b@x"] * 3 + ["a@x"]
