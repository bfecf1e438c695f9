"""Random writes through the ORM, replayed from their events into a copy: it equals the table."""

from __future__ import annotations

import os

import pytest
from django.db import connections, transaction
from django.db.models import F
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kinesis_bridge import allow_uncaptured
from kinesis_bridge.models import OutboxRecord
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.testapp.models import Gadget, Owner, Slip, Thing, Widget
from tests.testapp.rollback import rolled_back

# REPLAYS=1000 for the whole of it: a quarter of an hour.
RUNS = int(os.environ.get("REPLAYS", "30"))

TELLING = {Gadget, Slip, Widget}  # what was there before
FAR = 1_000_000  # beyond what a sequence comes to

names = st.sampled_from("abcde")
numbers = st.integers(0, 7)
simple = st.one_of(
    st.tuples(st.just("create"), names, numbers),
    st.tuples(st.just("save"), numbers, names),
    st.tuples(st.just("save_some"), numbers, names),
    st.tuples(st.just("save_expression"), numbers),
    st.tuples(st.just("save_stale"), numbers, names),
    st.tuples(st.just("update"), names, names),
    st.tuples(st.just("update_expression"), names),
    st.tuples(st.just("update_owner"), names),
    st.tuples(st.just("bulk_create"), st.lists(names, max_size=4)),
    st.tuples(st.just("bulk_ignore"), numbers, names),
    st.tuples(st.just("bulk_upsert"), numbers, names),
    st.tuples(st.just("bulk_update"), names, names),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("delete_many"), names),
    st.tuples(st.just("delete_owner"), st.just(0)),
)
steps = st.recursive(
    st.lists(simple, max_size=6),
    lambda inner: st.lists(
        st.one_of(simple, st.tuples(st.just("atomic"), inner, st.booleans())), max_size=6
    ),
    max_leaves=4,
)
# Transactions with much of what is told once: changes of few rows, from few values to few others.
changes = st.one_of(
    st.tuples(st.just("save"), st.just(0), st.sampled_from("ab")),
    st.tuples(st.just("save_some"), st.just(0), st.sampled_from("ab")),
    st.tuples(st.just("update"), st.sampled_from("ab"), st.sampled_from("ab")),
    st.tuples(st.just("update_owner"), st.sampled_from("ab")),
    simple,
)
transactions = st.lists(
    st.tuples(
        st.just("atomic"),
        st.lists(
            st.one_of(
                changes,
                st.tuples(st.just("atomic"), st.lists(changes, max_size=3), st.booleans()),
            ),
            max_size=6,
        ),
        st.just(False),
    ),
    max_size=3,
).map(lambda found: [("create", "a", 1), *found])


class Shop:
    """A table of things, and what writes to it."""

    def __init__(self, model, using):
        self.model = model
        self.using = using
        self.things = self.model.objects.using(using)
        self.owners = [Owner.objects.using(using).create(name=name) for name in "xy"]
        self.held = []

    def run(self, steps):
        for name, *arguments in steps:
            getattr(self, name)(*arguments)

    def atomic(self, inner, fails):
        with rolled_back(self.using) if fails else transaction.atomic(using=self.using):
            self.run(inner)
        if fails:
            self.held.clear()  # what it holds may never have been saved

    def pick(self, number):
        pks = list(self.things.order_by("pk").values_list("pk", flat=True))
        return pks[number % len(pks)] if pks else FAR

    def owner(self):
        return Owner.objects.using(self.using).order_by("pk").first()

    def create(self, name, count):
        thing = self.model(name=name, count=count, price=f"{count}.5", owner=self.owner())
        if thing.owner:
            thing.save(using=self.using)
            self.held.append(thing)

    def save(self, number, name):
        for thing in self.things.filter(pk=self.pick(number)):
            thing.name = name
            thing.save()

    def save_some(self, number, name):
        for thing in self.things.filter(pk=self.pick(number)).only("name"):
            thing.name, thing.count = name, 99
            thing.save(update_fields=["name"])

    def save_expression(self, number):
        for thing in self.things.filter(pk=self.pick(number)):
            thing.count = F("count") + 1
            thing.save()

    def save_stale(self, number, name):
        if self.held:
            thing = self.held[number % len(self.held)]
            thing.name = name
            if self.things.filter(pk=thing.pk, owner__isnull=False).exists():
                thing.owner = self.things.get(pk=thing.pk).owner
                thing.save(using=self.using)

    def update(self, old, new):
        self.things.filter(name=old).update(name=new, price="7.25")

    def update_expression(self, name):
        self.things.filter(name=name).update(count=F("count") * 2 + 1)

    def update_owner(self, name):
        if owner := Owner.objects.using(self.using).order_by("-pk").first():
            self.things.filter(name=name, owner__name__in="xy").update(owner=owner)

    def bulk_create(self, names):
        if owner := self.owner():
            self.things.bulk_create([self.model(name=name, owner=owner) for name in names])

    def bulk_ignore(self, number, name):
        if owner := self.owner():
            pks = [self.pick(number), self.pick(number) + FAR]
            given = [self.model(pk=pk, name=name, owner=owner) for pk in pks]
            self.things.bulk_create(given, ignore_conflicts=True)

    def bulk_upsert(self, number, name):
        if owner := self.owner():
            pks = [self.pick(number), self.pick(number) + 2 * FAR]
            given = [self.model(pk=pk, name=name, count=number, owner=owner) for pk in pks]
            unique = {} if connections[self.using].vendor == "mysql" else {"unique_fields": ["id"]}
            self.things.bulk_create(
                given, update_conflicts=True, update_fields=["name", "count"], **unique
            )

    def bulk_update(self, old, new):
        found = list(self.things.filter(name=old))
        for thing in found:
            thing.name = new
        self.things.bulk_update(found, ["name"])

    def delete(self, number):
        for thing in self.things.filter(pk=self.pick(number)):
            thing.delete()

    def delete_many(self, name):
        self.things.filter(name=name).delete()

    def delete_owner(self, _):
        if Owner.objects.using(self.using).count() > 1:
            self.owner().delete()


def replayed(model, using, telling=TELLING):
    """What a consumer has who applies the events one after the other, and believes each."""
    copy = {}
    for body in map(body_of, records(using)):
        data, kind = body["data"], body["type"].rsplit(".", 1)[-1]
        pk, changed = data["id"], data.pop("changed", None)
        assert (changed is not None) == (model in telling and kind == "updated")
        assert (pk in copy) == (kind != "created")
        if changed is not None:
            before = copy[pk]
            assert changed == {
                name: [before[name], data[name]] for name in data if before[name] != data[name]
            }
            assert changed
        if model is Slip:
            assert data["more"] == data["count"] + 1
            assert data["shout"] == data["name"].upper()
            assert data["whose"] in {"x", "y"}
        if kind == "deleted":
            del copy[pk]
        else:
            copy[pk] = data
    return {
        pk: (row.get("owner", row.get("owner_id")), row["name"], row["price"], row["count"])
        for pk, row in copy.items()
    }


def whose(using):
    """The owners' names in the last events of those that are there."""
    copy = {}
    for body in map(body_of, records(using)):
        copy[body["data"]["id"]] = body["data"]["whose"], body["type"].endswith("deleted")
    return {pk: name for pk, (name, is_gone) in copy.items() if not is_gone}


def table(model, using):
    rows = model.objects.using(using).values_list("id", "owner_id", "name", "price", "count")
    return {pk: (owner, name, f"{price:.2f}", count) for pk, owner, name, price, count in rows}


def assert_told_once(model, using):
    """No row has two updates, under one key, of one transaction with nothing else between."""
    last = {}
    for record in records(using):
        body = body_of(record)
        told = (body["type"].rsplit(".", 1)[-1], body["partitionkey"], record.created)
        pk = body["data"]["id"]
        assert told[0] != "updated" or last.get(pk) != told
        last[pk] = told


@pytest.mark.parametrize("model", [Thing, Gadget, Slip, Widget])
@pytest.mark.django_db(transaction=True)
def test_the_copy_equals_the_table(database, settings, model):
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    with_outbox(settings)
    replay(database, model, RUNS)


@pytest.mark.parametrize("model", [Thing, Widget])
@pytest.mark.django_db(transaction=True)
def test_none_of_these_writes_is_uncaptured(database, settings, model):
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {"STRICT": True}
    with_outbox(settings)
    replay(database, model, RUNS // 2)


def replay(database, model, runs):
    @hypothesis_settings(
        max_examples=runs,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(transactions if model is Widget else steps)
    def run(given):
        with allow_uncaptured():  # past the ORM's own delete
            for emptied in (Thing, Gadget, Slip, Widget, Owner, OutboxRecord):
                emptied.objects.using(database).all()._raw_delete(database)
        Shop(model, database).run(given)
        assert replayed(model, database) == table(model, database)
        if model is Slip:
            assert whose(database) == dict(
                Slip.objects.using(database).values_list("id", "owner__name")
            )
        if model is Widget:
            assert_told_once(model, database)

    run()
