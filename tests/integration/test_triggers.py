"""``capture="triggers"``: PostgreSQL writes the events, whoever writes the rows."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from io import StringIO

import pytest
from django.contrib.postgres.fields import ArrayField
from django.core.management import call_command
from django.db import DataError, ProgrammingError, connections, models, transaction
from django.db.models import F
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kinesis_bridge.capture.sql.values import OnlyInPython, json_of
from kinesis_bridge.models import OutboxRecord, lane_of
from kinesis_bridge.serializers import to_json
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.support.triggers import declared
from tests.testapp.models import Owner, Thing
from tests.testapp.rollback import rolled_back
from tests.triggerapp.models import (
    SignalSample,
    SignalVisit,
    TriggerGadget,
    TriggerMemo,
    TriggerPlace,
    TriggerSample,
    TriggerSeat,
    TriggerThing,
    TriggerToken,
    TriggerVisit,
)

DB = "postgres"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", DB])


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.DATABASE_ROUTERS = [OutboxOn(DB)]
    with_outbox(settings)
    with declared(DB):
        yield


@pytest.fixture
def owner():
    return Owner.objects.using(DB).create(name="x")


def run(statement, parameters=()):
    with connections[DB].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else None


def told():
    """The events so far: kind and data."""
    return [(body["type"].rsplit(".", 1)[-1], body["data"]) for body in map(body_of, records(DB))]


def forget():
    OutboxRecord.objects.using(DB).all().delete()


def place(name="a"):
    made = TriggerPlace(name=name)
    made.save(using=DB)
    return made


def places():
    return TriggerPlace.objects.using(DB)


class TestEnvelope:
    def test_is_that_of_a_signal(self, owner):
        TriggerThing(owner=owner, name='a"\\\n\u2028ü').save(using=DB)
        [record] = records(DB)
        body = body_of(record)
        assert body == {
            "specversion": "1.0",
            "type": "trigger.thing.created",
            "id": record.event_id,
            "source": "/tests",
            "time": body["time"],
            "datacontenttype": "application/json",
            "partitionkey": str(owner.pk),
            "subject": "1" if body["subject"] == "1" else str(body["data"]["id"]),
            "data": {
                "id": body["data"]["id"],
                "owner": owner.pk,
                "name": 'a"\\\n\u2028ü',
                "price": "0.00",
                "count": 0,
                "made": None,
                "extra": None,
            },
        }
        assert body["subject"] == str(body["data"]["id"])

    def test_time_and_id_are_those_of_the_moment(self):
        began = dt.datetime.now(dt.UTC)
        place()
        [record] = records(DB)
        moment = dt.datetime.fromisoformat(body_of(record)["time"])
        assert abs(moment - began) < dt.timedelta(seconds=30)
        made = uuid.UUID(record.event_id)
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert abs((made.int >> 80) / 1000 - began.timestamp()) < 30
        assert record.created is not None

    def test_ids_are_all_different(self):
        run("INSERT INTO triggerapp_triggerplace (name) SELECT 'x' FROM generate_series(1, 20000)")
        assert len(set(OutboxRecord.objects.using(DB).values_list("event_id", flat=True))) == 20000

    def test_goes_to_the_lane_of_its_key(self, owner):
        for number in range(50):
            TriggerSeat(row=chr(65 + number % 26) + "é", number=number).save(using=DB)
        TriggerToken(label="a").save(using=DB)
        found = records(DB)
        assert len(found) == 51
        assert all(one.lane == lane_of(one.stream, one.partition_key) for one in found)

    def test_a_composite_key_is_the_subject_with_a_comma(self):
        TriggerSeat(row="A", number=7).save(using=DB)
        assert body_of(records(DB)[0])["subject"] == "A,7"

    def test_wakes_the_relays(self):
        with connections[DB].cursor() as cursor:
            cursor.execute("LISTEN kinesis_bridge")
            place()
            raw = connections[DB].connection
            assert [notice.channel for notice in raw.notifies(timeout=5, stop_after=1)] == [
                "kinesis_bridge"
            ]
            cursor.execute("UNLISTEN kinesis_bridge")


class TestWrites:
    def test_a_row_is_created_updated_and_deleted(self):
        one = place("a")
        one.name = "b"
        one.save()
        one.delete()
        pk = one.pk or told()[0][1]["id"]
        assert told() == [
            ("created", {"id": pk, "name": "a"}),
            ("updated", {"id": pk, "name": "b"}),
            ("deleted", {"id": pk, "name": "b"}),
        ]

    def test_raw_sql(self):
        run("INSERT INTO triggerapp_triggerplace (name) VALUES ('a'), ('b')")
        run("UPDATE triggerapp_triggerplace SET name = name || '!'")
        run("DELETE FROM triggerapp_triggerplace WHERE name = 'a!'")
        assert [(kind, data["name"]) for kind, data in told()] == [
            ("created", "a"),
            ("created", "b"),
            ("updated", "a!"),
            ("updated", "b!"),
            ("deleted", "a!"),
        ]

    def test_copy(self):
        with (
            connections[DB].cursor() as cursor,
            cursor.copy("COPY triggerapp_triggerplace (name) FROM STDIN") as copy,
        ):
            copy.write_row(["a"])
            copy.write_row(["b"])
        assert [data["name"] for _, data in told()] == ["a", "b"]

    def test_bulk_operations(self):
        made = places().bulk_create([TriggerPlace(name="a"), TriggerPlace(name="b")])
        for one in made:
            one.name += "!"
        places().bulk_update(made, ["name"])
        places().bulk_create(
            [TriggerPlace(id=made[0].pk, name="up"), TriggerPlace(id=10**6, name="new")],
            update_conflicts=True,
            update_fields=["name"],
            unique_fields=["id"],
        )
        places().bulk_create([TriggerPlace(id=10**6, name="not")], ignore_conflicts=True)
        places().all()._raw_delete(DB)
        assert sorted((kind, data["name"]) for kind, data in told()) == [
            ("created", "a"),
            ("created", "b"),
            ("created", "new"),
            ("deleted", "b!"),
            ("deleted", "new"),
            ("deleted", "up"),
            ("updated", "a!"),
            ("updated", "b!"),
            ("updated", "up"),
        ]

    def test_a_cascade_of_the_database(self, owner):
        [(constraint,)] = run(
            "SELECT conname FROM pg_constraint WHERE contype = 'f'"
            " AND conrelid = 'triggerapp_triggerthing'::regclass"
        )
        alter = f'ALTER TABLE triggerapp_triggerthing DROP CONSTRAINT "{constraint}",'
        key = "ADD CONSTRAINT {} FOREIGN KEY (owner_id) REFERENCES testapp_owner (id) {}"
        run(f"{alter} {key.format('by_database', 'ON DELETE CASCADE')}")
        try:
            TriggerThing(owner=owner, name="gone").save(using=DB)
            run("DELETE FROM testapp_owner")
            assert [(kind, data["name"]) for kind, data in told()] == [
                ("created", "gone"),
                ("deleted", "gone"),
            ]
        finally:
            alter = alter.replace(constraint, "by_database")
            run(f"{alter} {key.format(constraint, 'DEFERRABLE INITIALLY DEFERRED')}")

    def test_what_is_rolled_back_is_not_published(self):
        with transaction.atomic(using=DB):
            place("kept")
            with rolled_back(DB):
                place("not")
        with rolled_back(DB):
            place("not")
        assert [data["name"] for _, data in told()] == ["kept"]

    def test_a_primary_key_that_changes_is_another_row(self):
        first, second = place("a"), place("b")
        forget()
        # In one statement: 1 -> 2 and 2 -> 3.
        assert second.pk == first.pk + 1
        run("ALTER TABLE triggerapp_triggerplace DROP CONSTRAINT triggerapp_triggerplace_pkey")
        try:
            places().update(id=F("id") + 1)
        finally:
            run("ALTER TABLE triggerapp_triggerplace ADD PRIMARY KEY (id)")
        events = told()
        assert [kind for kind, _ in events] == ["deleted", "deleted", "created", "created"]
        assert [data for _, data in events] == [
            {"id": first.pk, "name": "a"},
            {"id": second.pk, "name": "b"},
            {"id": second.pk, "name": "a"},
            {"id": second.pk + 1, "name": "b"},
        ]
        forget()
        places().update(name="c")  # the next update is an ordinary one again
        assert {kind for kind, _ in told()} == {"updated"}

    def test_an_update_of_what_nobody_sees_has_no_event(self, owner):
        thing = TriggerThing(owner=owner)
        thing.save(using=DB)
        forget()
        TriggerThing.objects.using(DB).update(secret="x")
        assert told() == []
        thing.refresh_from_db()
        thing.save()  # it changes nothing, as a signal does not know
        assert [kind for kind, _ in told()] == ["updated"]

    def test_only_the_changes_that_are_declared(self):
        token = TriggerToken(label="a")
        token.save(using=DB)
        token.label = "b"
        token.save()
        token.delete()
        assert [kind for kind, _ in told()] == ["created", "deleted"]

    def test_changed_has_old_and_new(self, owner):
        gadget = TriggerGadget(owner=owner, name="a")
        gadget.save(using=DB)
        gadget.save()
        gadget.name, gadget.count = "b", 5
        gadget.save()
        assert [(kind, data.get("changed")) for kind, data in told()] == [
            ("created", None),
            ("updated", {"name": ["a", "b"], "count": [0, 5]}),
        ]

    def test_a_condition_makes_rows_come_and_go(self):
        memo = TriggerMemo(text="a", deleted=1)
        memo.save(using=DB)
        for deleted, text in ((None, "b"), (None, "c"), (1, "c"), (1, "d"), (None, "d")):
            memo.deleted, memo.text = deleted, text
            memo.save()
        memo.delete()
        assert [(kind, data["text"]) for kind, data in told()] == [
            ("created", "b"),
            ("updated", "c"),
            ("deleted", "c"),
            ("created", "d"),
            ("deleted", "d"),
        ]


class TestBeside:
    def test_a_snapshot_publishes_the_rows_that_are_there(self):
        place("a")
        forget()
        call_command("kinesis_snapshot", "triggerapp.TriggerPlace", database=DB, stdout=StringIO())
        [body] = map(body_of, records(DB))
        assert (body["type"], body["data"]["name"]) == ("trigger.place.snapshot", "a")

    def insert_as(self, role, name):
        with transaction.atomic(using=DB):
            run(f"SET LOCAL ROLE {role}")
            run("INSERT INTO triggerapp_triggerplace (name) VALUES (%s)", [name])

    def test_another_program_needs_the_right_to_insert_events_and_no_other(self):
        role = "kinesis_bridge_importer"
        run(f"CREATE ROLE {role}")
        try:
            run(f"GRANT INSERT ON triggerapp_triggerplace TO {role}")
            with pytest.raises(ProgrammingError, match="permission denied"):
                self.insert_as(role, "a")
            run(f"GRANT INSERT ON kinesis_bridge_outboxrecord TO {role}")
            self.insert_as(role, "b")
        finally:
            run(f"DROP OWNED BY {role}")
            run(f"DROP ROLE {role}")
        assert [data["name"] for _, data in told()] == ["b"]

    def test_signals_of_other_models_go_on(self, owner):
        """One transaction, both ways: for each row the order is that of its changes."""
        with transaction.atomic(using=DB):
            thing = Thing(owner=owner, name="signal")
            thing.save(using=DB)
            place("trigger")
            thing.name = "again"
            thing.save()
        by_row = {}
        for body in map(body_of, records(DB)):
            by_row.setdefault(body["type"].split(".")[1], []).append(body["data"]["name"])
        assert by_row == {"place": ["trigger"], "thing": ["signal", "again"]}

    def test_a_plan_made_for_one_row_is_good_for_many(self, owner):
        """By nested loops this would be 400 million comparisons."""
        gadget = TriggerGadget(owner=owner)
        gadget.save(using=DB)
        for count in range(7):  # PostgreSQL keeps a plan from the sixth time on
            gadget.count = count + 1
            gadget.save()
        run(
            "INSERT INTO triggerapp_triggergadget (owner_id, name, price, count, secret)"
            " SELECT %s, '', 0, 0, '' FROM generate_series(1, 20000)",
            [owner.pk],
        )
        forget()
        with transaction.atomic(using=DB):
            run("SET LOCAL statement_timeout = '20s'")
            run("UPDATE triggerapp_triggergadget SET count = count + 1")
        assert OutboxRecord.objects.using(DB).count() == 20001


class TestRefused:
    def refused(self, write):
        before = len(records(DB))
        with pytest.raises(DataError) as caught, transaction.atomic(using=DB):
            write()
        assert len(records(DB)) == before
        return str(caught.value)

    def test_an_empty_key(self):
        message = self.refused(lambda: TriggerThing(id=77).save(using=DB, force_insert=True))
        assert "tests_" not in message
        assert "triggerapp.TriggerThing.owner_id is empty for 77" in message
        assert "Choose a key= that always has a value." in message
        assert not TriggerThing.objects.using(DB).exists()

    @pytest.mark.parametrize("key", ["", "x" * 257])
    def test_a_key_that_is_no_partition_key(self, key):
        message = self.refused(lambda: TriggerSample(key=key).save(using=DB))
        assert "triggerapp.TriggerSample.key is empty, or longer than 256 characters" in message

    @pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
    def test_what_json_does_not_have(self, weight):
        message = self.refused(lambda: TriggerSample(key="k", weight=weight).save(using=DB))
        assert "triggerapp.TriggerSample.weight cannot be published" in message
        assert "NaN or Infinity" in message

    def test_a_record_that_is_too_large(self):
        limit = 1024 * 1024
        TriggerSample(key="k", text="x" * (limit - 2000)).save(using=DB)
        message = self.refused(lambda: TriggerSample(key="k", text="x" * limit).save(using=DB))
        assert "stream 'default' takes 1,048,576. Publish less (fields=)" in message

    def test_the_largest_record_is_as_large_as_python_lets_it_be(self):
        """To the byte: what one takes, the other does."""
        sample = TriggerSample(key="k")
        sample.save(using=DB)
        [record] = records(DB)
        spare = 1024 * 1024 - len(bytes(record.payload)) - len("k")
        forget()
        pk = sample.pk
        sample.delete()
        forget()
        TriggerSample(pk=pk, key="k", text="x" * spare).save(using=DB, force_insert=True)
        [record] = records(DB)
        assert len(bytes(record.payload)) + 1 == 1024 * 1024
        run("DELETE FROM triggerapp_triggersample")
        forget()
        self.refused(
            lambda: TriggerSample(pk=pk, key="k", text="x" * (spare + 1)).save(
                using=DB, force_insert=True
            )
        )


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(
    dt.datetime(1, 1, 2),  # noqa: DTZ001 - what hypothesis wants
    dt.datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(dt.UTC),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
samples = st.fixed_dictionaries(
    {
        "key": texts.filter(bool),
        "code": st.none() | texts,
        "text": texts,
        "count": st.integers(-(2**61), 2**61),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "price": st.none() | st.decimals("-99999999999", "99999999999", places=4),
        "active": st.booleans(),
        "when": st.none() | moments,
        "day": st.none() | st.dates(),
        "at": st.none() | st.times(),
        "lasts": st.none() | st.timedeltas(dt.timedelta(days=-9999), dt.timedelta(days=9999)),
        "token": st.none() | st.uuids(),
        "raw": st.none() | st.binary(max_size=200),
        "doc": texts.filter(lambda text: len(text) < 100),
        "address": st.none() | st.ip_addresses().map(str),
        "extra": st.none() | json_values,
    }
)


def same(first, second):
    """Whether two bodies are the same event, but for what differs from event to event."""
    own = {"id", "time"}
    return {k: v for k, v in first.items() if k not in own} == {
        k: v for k, v in second.items() if k not in own
    }


def test_a_field_of_each_kind_is_written_as_python_writes_it():
    """Both ways of capture, the same values: the same JSON, in events of the same keys."""

    @hypothesis_settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(samples, samples)
    def compare(values, later):
        for model in (SignalSample, TriggerSample):
            model.objects.using(DB).all()._raw_delete(DB)
        forget()
        bodies = []
        for model in (SignalSample, TriggerSample):
            row = model(pk=1, **values)
            row.save(using=DB, force_insert=True)
            row = model.objects.using(DB).get()
            for name, value in (later | {"key": values["key"]}).items():
                setattr(row, name, value)
            row.save()
            row.delete()
            bodies.append(list(map(body_of, records(DB))))
            keys = [(one.partition_key, one.lane) for one in records(DB)]
            bodies[-1].append({"keys": keys})
            forget()
        by_signals, by_triggers = bodies
        assert len(by_signals) == len(by_triggers)
        for first, second in zip(by_signals, by_triggers, strict=True):
            assert first.keys() == second.keys()
            assert same(first, second), (first, second)

    compare()


@pytest.mark.parametrize(
    ("base", "values"),
    [
        (models.CharField(max_length=9), ["a", 'b"\\', ""]),
        (models.IntegerField(), [1, -2]),
        (models.BooleanField(), [True, False]),
        (models.UUIDField(), [uuid.UUID(int=7)]),
    ],
)
def test_arrays_are_lists(base, values):
    field = ArrayField(base, null=True)
    [(text, empty)] = run(
        f"SELECT {json_of(field, 'x')}, {json_of(field, 'nothing')}"
        f" FROM (SELECT %s::{field.db_type(connections[DB])} AS x, NULL::integer[] AS nothing) t",
        [values],
    )
    assert to_json(json.loads(text)) == to_json(values)
    assert empty == "null"


def test_an_array_of_what_only_python_can_write_is_refused():
    with pytest.raises(OnlyInPython, match="an array of DateTimeField"):
        json_of(ArrayField(models.DateTimeField()), "x")


def test_paths_expressions_and_versions_are_the_same(owner):
    thing, twin = TriggerThing(owner=owner, name="t"), TriggerThing(owner=owner, name="t")
    thing.save(using=DB)
    twin.save(using=DB)
    bodies = []
    for model in (SignalVisit, TriggerVisit):
        forget()
        visit = model(pk=5, thing=thing, days=2)
        visit.save(using=DB, force_insert=True)
        visit.days, visit.thing = 3, None
        visit.save()
        model.objects.using(DB).update(days=F("days") + 1, thing=thing)
        model.objects.using(DB).update(thing=twin)  # it differs by its key alone
        visit.delete()
        bodies.append(list(map(body_of, records(DB))))
    by_signals, by_triggers = bodies
    assert [body["type"] for body in by_triggers] == [
        f"trigger.visit.v2.{kind}"
        for kind in ("created", "updated", "updated", "updated", "deleted")
    ]
    first = {"id": 5, "owner": "x", "thing": "t", "thing_id": thing.pk, "twice": 4}
    assert by_triggers[0]["data"] == first
    assert by_triggers[1]["data"] == first | dict.fromkeys(("owner", "thing", "thing_id")) | {
        "twice": 6
    }
    assert by_triggers[3]["data"]["thing_id"] == twin.pk
    for first, second in zip(by_signals, by_triggers, strict=True):
        assert same(first, second), (first, second)
