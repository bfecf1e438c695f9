"""``publishes(coalesce=True)``: several updates of a row in one transaction are one event."""

from __future__ import annotations

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.models import F
from django.test import TestCase

from kinesis_bridge.exceptions import CoalesceError, RecordTooLarge
from kinesis_bridge.signals import event_published
from kinesis_bridge.streams import streams
from kinesis_bridge.testing import capture_events
from tests.support.capture import body_of, records, with_outbox
from tests.testapp.models import Counter, Gadget, Owner, Widget
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["outbox", "memory"])
def delivery(request, settings):
    """The two ways: with the transaction, and after its commit."""
    with_outbox(settings)
    if request.param == "memory":
        given = settings.KINESIS_BRIDGE["STREAMS"]
        settings.KINESIS_BRIDGE |= {
            "STREAMS": {alias: one | {"DELIVERY": "memory"} for alias, one in given.items()}
        }
        settings.KINESIS_BRIDGE = {**settings.KINESIS_BRIDGE}
    return request.param


@pytest.fixture
def told(database, delivery):
    """What was sent since it was last asked: kind and data of each event."""
    seen = set()

    def since():
        if delivery == "outbox":
            bodies = [body_of(record) for record in records(database)]
        else:
            bodies = [json.loads(payload) for payload in streams["default"].delivery.payloads]
        new = [body for body in bodies if body["id"] not in seen]
        seen.update(body["id"] for body in new)
        return [(body["type"].rsplit(".", 1)[-1], body["data"]) for body in new]

    return since


@pytest.fixture
def widget(database, told):
    owner = Owner.objects.using(database).create(name="o")
    made = Widget.objects.using(database).create(owner=owner, name="a", count=1)
    told()
    return made


def save(widget, **values):
    for name, value in values.items():
        setattr(widget, name, value)
    widget.save()


def changes(told):
    return [(kind, data.get("changed")) for kind, data in told()]


class TestOneTransaction:
    def test_first_old_and_last_new(self, database, widget, told):
        with transaction.atomic(using=database):
            save(widget, name="b")
            save(widget, name="c", count=2)
            Widget.objects.using(database).update(count=F("count") + 5)
        [(kind, data)] = told()
        assert kind == "updated"
        assert data["changed"] == {"name": ["a", "c"], "count": [1, 7]}
        assert (data["name"], data["count"]) == ("c", 7)

    def test_without_changed_the_last_one_is_left(self, database, told):
        counter = Counter.objects.using(database).create()
        with transaction.atomic(using=database):
            for number in range(1, 4):
                save(counter, count=number)
        assert told() == [
            ("created", {"id": counter.pk, "count": 0}),
            ("updated", {"id": counter.pk, "count": 3}),
        ]

    def test_back_where_it_was_there_is_no_event(self, database, widget, told):
        with transaction.atomic(using=database):
            save(widget, name="b")
            save(widget, name="a")
        assert changes(told) == []

    def test_it_stands_where_the_last_of_them_stood(self, database, widget, told):
        other = Widget.objects.using(database).create(owner=widget.owner, name="other")
        told()
        with transaction.atomic(using=database):
            save(widget, name="b")
            save(other, name="x")
            gadget = Gadget.objects.using(database).create(owner=widget.owner, name="g")
            save(widget, name="c")
            gadget.delete()
        assert [(kind, data["name"]) for kind, data in told()] == [
            ("updated", "x"),
            ("created", "g"),
            ("updated", "c"),
            ("deleted", "g"),
        ]

    def test_created_stays_and_so_does_deleted(self, database, widget, told):
        with transaction.atomic(using=database):
            made = Widget.objects.using(database).create(owner=widget.owner, name="a")
            save(made, name="b")
            save(made, name="c")
            made.delete()
        assert changes(told) == [
            ("created", None),
            ("updated", {"name": ["a", "c"]}),
            ("deleted", None),
        ]

    def test_another_partition_key_has_an_event_of_its_own(self, database, widget, told):
        other = Owner.objects.using(database).create(name="p")
        first = widget.owner_id
        with transaction.atomic(using=database):
            save(widget, name="b")
            save(widget, name="c")
            save(widget, owner=other)
            save(widget, name="d")
        assert changes(told) == [
            ("updated", {"name": ["a", "c"]}),
            ("updated", {"owner_id": [first, other.pk], "name": ["c", "d"]}),
        ]

    def test_many_rows_at_once(self, database, widget, told):
        owner = widget.owner
        rows = Widget.objects.using(database)
        rows.bulk_create(Widget(owner=owner, name=name) for name in "xy")
        told()
        with transaction.atomic(using=database):
            rows.update(count=3)
            found = list(rows.order_by("pk"))
            for one in found:
                one.count = 4
            rows.bulk_update(found, ["count"])
        assert changes(told) == [
            ("updated", {"count": [1, 4]}),
            ("updated", {"count": [0, 4]}),
            ("updated", {"count": [0, 4]}),
        ]

    def test_each_transaction_has_its_own(self, widget, told):
        save(widget, name="b")
        save(widget, name="c")
        assert changes(told) == [
            ("updated", {"name": ["a", "b"]}),
            ("updated", {"name": ["b", "c"]}),
        ]

    def test_time_and_id_are_of_the_last(self, database, widget, delivery):
        events = []

        def receive(event, **_):
            events.append(event)

        event_published.connect(receive)
        try:
            with transaction.atomic(using=database):
                save(widget, name="b")
                with rolled_back(database):
                    save(widget, name="gone")
                save(widget, name="c")
                assert events == []
        finally:
            event_published.disconnect(receive)
        [event] = events
        assert event.data["changed"] == {"name": ["a", "c"]}
        if delivery == "outbox":
            body = body_of(records(database)[-1])
            assert (body["id"], body["time"]) == (event.id, event.time.isoformat())


class TestSavepoints:
    def test_what_was_rolled_back_is_not_in_it(self, database, widget, told):
        with transaction.atomic(using=database):
            save(widget, name="b")
            with rolled_back(database):
                save(widget, name="gone", count=9)
            widget.refresh_from_db()
            with transaction.atomic(using=database):
                save(widget, price=7)
                with transaction.atomic(using=database, savepoint=False):
                    save(widget, price=8)
        assert changes(told) == [("updated", {"name": ["a", "b"], "price": ["0.00", "8.00"]})]

    def test_what_was_rolled_back_does_not_stand_between(self, database, widget, told):
        with transaction.atomic(using=database):
            save(widget, name="b")
            with rolled_back(database):
                Widget.objects.using(database).all().delete()
            save(widget, name="c")
        assert changes(told) == [("updated", {"name": ["a", "c"]})]

    def test_by_hand(self, database, widget, told):
        connection = connections[database]
        with transaction.atomic(using=database):
            save(widget, name="b")
            savepoint = connection.savepoint()
            save(widget, name="gone")
            connection.savepoint_rollback(savepoint)
            widget.refresh_from_db()
            save(widget, count=5)
            connection.savepoint_commit(connection.savepoint())
        assert changes(told) == [("updated", {"name": ["a", "b"], "count": [1, 5]})]

    def test_a_transaction_that_was_rolled_back_leaves_nothing_to_the_next(
        self, database, widget, told
    ):
        with rolled_back(database):
            save(widget, name="gone")
        widget.refresh_from_db()
        with transaction.atomic(using=database):
            save(widget, name="b")
        assert changes(told) == [("updated", {"name": ["a", "b"]})]


class TestWhatCannotPass:
    @pytest.fixture(autouse=True)
    def small(self, settings, widget):
        given = settings.KINESIS_BRIDGE["STREAMS"]
        small = given["default"] | {"OPTIONS": {"MAX_RECORD_BYTES": 1024}}
        settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STREAMS": given | {"default": small}}

    def test_each_alone_is_refused_in_save(self, database, widget, told):
        with pytest.raises(RecordTooLarge, match=r"Widget\.extra cannot be published"):
            save(widget, extra="x" * 1024)

    def test_all_together_are_refused_before_the_commit(self, database, widget, told):
        calls = []
        save(widget, extra="x" * 280)
        told()

        @transaction.atomic(using=database)
        def block():
            transaction.on_commit(lambda: calls.append(1), using=database)
            save(widget, extra=None)
            save(widget, name="y" * 40)
            save(widget, extra="z" * 280)

        with pytest.raises(CoalesceError, match=r"updates of testapp\.Widget '[0-9]+' in this"):
            block()
        assert calls == []
        assert told() == []
        widget.refresh_from_db()
        assert (widget.name, widget.extra) == ("a", "x" * 280)
        save(widget, extra=None)
        assert [kind for kind, _ in told()] == ["updated"]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_async_code(database, widget, told):
    @sync_to_async
    def block():
        with transaction.atomic(using=database):
            save(widget, name="b")
            save(widget, name="c")
        connections.close_all()  # of another thread

    asyncio.run(block())
    assert changes(told) == [("updated", {"name": ["a", "c"]})]


class TestCapturedInATestCase:
    """It never commits: what the blocks of the code under test would send is told."""

    @pytest.fixture(autouse=True)
    def in_test_case(self):
        atomics = TestCase._enter_atomics()
        yield
        TestCase._rollback_atomics(atomics)

    def test_each_block_is_a_transaction(self):
        owner = Owner.objects.create(name="o")
        widget = Widget.objects.create(owner=owner, name="a")
        with capture_events() as events:
            with transaction.atomic():
                save(widget, name="b")
                with transaction.atomic():
                    save(widget, name="c")
                assert list(events) == []
            save(widget, name="d")
            save(widget, name="e")
            assert [event.data["changed"]["name"] for event in events] == [
                ["a", "c"],
                ["c", "d"],
                ["d", "e"],
            ]
            events.clear()
            assert list(events) == []

    def test_each_call_of_a_decorated_function_is_a_transaction(self):
        widget = Widget.objects.create(owner=Owner.objects.create(name="o"), name="a")

        @transaction.atomic
        def write(*names):
            for name in names:
                save(widget, name=name)

        with capture_events() as events:
            write("b", "c")
            write("d", "e")
        assert [event.data["changed"]["name"] for event in events] == [["a", "c"], ["c", "e"]]

    def test_callbacks_that_were_run_add_nothing(self):
        widget = Widget.objects.create(owner=Owner.objects.create(name="o"), name="a")
        with capture_events() as events:
            with TestCase.captureOnCommitCallbacks(execute=True), transaction.atomic():
                save(widget, name="b")
                save(widget, name="c")
            assert [event.data["changed"]["name"] for event in events] == [["a", "c"]]
