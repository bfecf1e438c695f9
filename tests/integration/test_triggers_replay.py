"""Random writes, also past the ORM, replayed from the events of triggers: the copy is the table."""

from __future__ import annotations

import pytest
from django.db import connections
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kinesis_bridge.models import OutboxRecord
from tests.integration.test_capture_replay import (
    RUNS,
    Shop,
    names,
    numbers,
    replayed,
    simple,
    table,
)
from tests.integration.test_capture_replay import steps as through_django
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.support.triggers import declared
from tests.testapp.models import Gadget, Owner, Thing
from tests.triggerapp.models import TriggerGadget, TriggerThing

DB = "postgres"
past_django = st.one_of(
    simple,
    st.tuples(st.just("raw_insert"), names),
    st.tuples(st.just("raw_update"), names, names),
    st.tuples(st.just("raw_delete"), names),
    st.tuples(st.just("move"), numbers),
)
steps = st.recursive(
    st.lists(past_django, max_size=6),
    lambda inner: st.lists(
        st.one_of(past_django, st.tuples(st.just("atomic"), inner, st.booleans())), max_size=6
    ),
    max_leaves=4,
)


class AnyShop(Shop):
    """Writes past the ORM, too."""

    def raw(self, statement, parameters=()):
        with connections[DB].cursor() as cursor:
            cursor.execute(statement.format(self.model._meta.db_table), parameters)

    def raw_insert(self, name):
        if owner := self.owner():
            self.raw(
                "INSERT INTO {} (owner_id, name, price, count, secret)"
                " SELECT %s, %s, n, n, '' FROM generate_series(1, 3) n",
                [owner.pk, name],
            )

    def raw_update(self, old, new):
        self.raw("UPDATE {} SET name = %s, count = count + 1 WHERE name = %s", [new, old])

    def raw_delete(self, name):
        self.raw("DELETE FROM {} WHERE name = %s", [name])

    def move(self, number):
        self.raw("UPDATE {} SET id = id + 100000000 WHERE id = %s", [self.pick(number)])


@pytest.mark.parametrize("model", [TriggerThing, TriggerGadget])
@pytest.mark.django_db(transaction=True, databases=["default", DB])
def test_the_copy_equals_the_table(model, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(DB)]
    with_outbox(settings)

    @hypothesis_settings(
        max_examples=RUNS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(steps)
    def run(given):
        for emptied in (TriggerThing, TriggerGadget, Owner, OutboxRecord):
            emptied.objects.using(DB).all()._raw_delete(DB)
        AnyShop(model, DB).run(given)
        assert replayed(model, DB, {TriggerGadget}) == table(model, DB)

    with declared(DB):
        run()


def by_row(model, steps):
    """The events of each row, in their order, of the same writes to an empty table."""
    for emptied in (Thing, Gadget, TriggerThing, TriggerGadget, Owner, OutboxRecord):
        emptied.objects.using(DB).all()._raw_delete(DB)
        table = emptied._meta.db_table
        with connections[DB].cursor() as cursor:
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), 1, false)", [table])
    Shop(model, DB).run(steps)
    rows = {}
    for record in records(DB):
        body = body_of(record)
        kind = body["type"].rsplit(".", 1)[-1]
        told = (kind, record.partition_key, record.lane, body["subject"], body["data"])
        rows.setdefault(body["data"]["id"], []).append(told)
    return rows


@pytest.mark.parametrize(
    ("by_signals", "by_triggers"), [(Thing, TriggerThing), (Gadget, TriggerGadget)]
)
@pytest.mark.django_db(transaction=True, databases=["default", DB])
def test_both_ways_of_capture_tell_the_same(by_signals, by_triggers, settings):
    settings.DATABASE_ROUTERS = [OutboxOn(DB)]
    with_outbox(settings)

    @hypothesis_settings(
        max_examples=RUNS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(through_django)
    def run(given):
        assert by_row(by_signals, given) == by_row(by_triggers, given)

    with declared(DB):
        run()
