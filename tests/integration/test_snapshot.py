"""``kinesis_snapshot``: which rows, as what, how fast; what is refused."""

import json
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connections, transaction

from kinesis_bridge import publishes
from kinesis_bridge.declarations import forget
from kinesis_bridge.models import OutboxRecord, SnapshotRun
from kinesis_bridge.snapshot import Part, Scope, declaration_of, open_run, rows
from kinesis_bridge.snapshot.pace import Backlog, Rate
from kinesis_bridge.testing import capture_events
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn, waiting
from tests.testapp.models import (
    Branch,
    Document,
    Owner,
    Place,
    Plain,
    Restaurant,
    Sample,
    Seat,
    Thing,
    Token,
)

pytestmark = pytest.mark.django_db(transaction=True)
on_postgres = pytest.mark.parametrize("database", ["postgres"], indirect=True)
on_sqlite = pytest.mark.parametrize("database", ["default"], indirect=True)


@pytest.fixture
def using(request, database, settings):
    """The alias of the one database with an outbox; an SQLite file, as threads share it."""
    with_outbox(settings)
    alias = request.getfixturevalue("sqlite_file") if database == "default" else database
    settings.DATABASE_ROUTERS = [OutboxOn(alias)]
    return alias


def snapshot(using, *arguments):
    out = StringIO()
    call_command("kinesis_snapshot", *arguments, "--database", using, "--json", stdout=out)
    return json.loads(out.getvalue())


def refused(using, *arguments):
    """The message; and nothing was begun."""
    with pytest.raises(CommandError) as caught:
        snapshot(using, *arguments)
    assert not SnapshotRun.objects.using(using).exists()
    assert not OutboxRecord.objects.using(using).exists()
    return str(caught.value)


def fill(using, count):
    """Places with the ids 1 to `count`, of which nobody is told."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        statement = "INSERT INTO testapp_place (id, name) VALUES (%s, %s)"
        cursor.executemany(statement, [(n, f"p{n}") for n in range(1, count + 1)])


def bare(model, using, instances):
    """Rows as a site has them that did not publish yet."""
    for instance in instances:
        instance.save_base(raw=True, force_insert=True, using=using)


def bodies(using):
    return [body_of(record) for record in records(using)]


def owned(using, pk, owner):
    """Change a row behind the back of capture."""
    with connections[using].cursor() as cursor:
        cursor.execute("UPDATE testapp_thing SET owner_id = %s WHERE id = %s", [owner, pk])


def ids(using):
    return [int(body["subject"]) for body in bodies(using)]


def taken(using):
    """The events that wait, which are then gone."""
    found = bodies(using)
    OutboxRecord.objects.using(using).all().delete()
    return found


class TestEvents:
    def test_a_row_of_each_kind_is_published_as_its_save_was(self, using):
        owner = Owner(name="o")
        owner.save(using=using)
        instances = [
            Thing(
                owner=owner, name="\u20ac", price="9.9", made=datetime.now(UTC), extra={"a": [1]}
            ),
            Restaurant(name="r", stars=3),
            Token(label="t"),
            Seat(row="A", number=7),
            Document(title="hidden", hidden=True),
            Branch(size=2),
            Group(name="g"),
            Sample(
                code="c",
                weight=0.5,
                price="1.5",
                when=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
                day=date(2026, 1, 2),
                lasts=timedelta(seconds=90),
                token=uuid.uuid4(),
                raw=b"\x00\xff",
                doc="a/b.txt",
                extra={"x": None},
            ),
        ]
        for instance in instances:
            model = type(instance)._meta.label
            instance.save(using=using)
            created = taken(using)[-1]
            answer = snapshot(using, model)
            (found,) = taken(using)
            assert answer["rows"] == answer["rows_now"] == 1
            assert found["type"] == created["type"].replace(".created", ".snapshot"), model
            for name in ("data", "subject", "partitionkey", "source"):
                assert found[name] == created[name], model
            assert uuid.UUID(found["id"]).version == 7
            assert found["id"] != created["id"]

    def test_a_row_of_the_outbox_is_as_the_relay_wants_it(self, using):
        bare(Token, using, [Token(label="a")])
        (place,) = Token.objects.using(using).all()
        snapshot(using, "testapp.Token")
        (record,) = records(using)
        assert record.stream == "audit"
        assert record.partition_key == str(place.pk)
        assert record.event_id == body_of(record)["id"]

    def test_all_rows_are_published_once_in_the_order_of_their_keys(self, using):
        fill(using, 1234)
        answer = snapshot(using, "testapp.Place", "--batch", "500")
        assert ids(using) == list(range(1, 1235))
        assert answer["state"] == "finished"
        assert answer["rows"] == 1234
        assert answer["skipped"] == answer["locked"] == 0
        assert answer["resumed"] is False
        assert SnapshotRun.objects.using(using).get().scope is None

    def test_keys_that_are_no_numbers(self, using):
        tokens = [Token(label=str(number)) for number in range(30)]
        seats = [Seat(row=row, number=number) for row in "ABC" for number in range(7)]
        bare(Token, using, tokens)
        bare(Seat, using, seats)
        snapshot(using, "testapp.Token", "--batch", "7")
        assert {body["subject"] for body in taken(using)} == {str(one.pk) for one in tokens}
        snapshot(using, "testapp.Seat", "--batch", "5")
        subjects = [body["subject"] for body in taken(using)]
        assert subjects == [f"{seat.row},{seat.number}" for seat in seats]

    def test_an_empty_table_is_done_at_once(self, using):
        first, second = (snapshot(using, "testapp.Place") for _ in range(2))
        assert (first["state"], first["rows"]) == ("finished", 0)
        assert second["run"] > first["run"]

    @on_sqlite
    def test_large_rows_are_fewer_at_once(self, using, monkeypatch):
        monkeypatch.setattr(rows, "MOST_BYTES", 1)
        monkeypatch.setattr(rows, "PART", 10)
        fill(using, 25)
        told = []
        monkeypatch.setattr(rows, "write", lambda _, made: told.append(len(made)))
        snapshot(using, "testapp.Place")
        assert told == [10, 10, 5]

    @on_sqlite
    def test_another_delivery_gets_the_events_in_tests(self, using):
        fill(using, 3)
        with capture_events() as events:
            snapshot(using, "testapp.Place")
        assert [event.type for event in events] == ["test.place.snapshot"] * 3
        assert records(using) == []


WHERE = [
    (["count=5"], [5]),
    (["count__gte=8"], [8, 9]),
    (["count__in=1,3,77"], [1, 3]),
    (["count__range=2,4"], [2, 3, 4]),
    (["name=n=6"], [6]),
    (["name__endswith=7", "count__lt=100"], [7]),
    (["owner__name=b"], [2, 4, 6, 8]),
    (["owner=1", "count__gt=5"], [7, 9]),
    (["owner_id=1", "count__gt=5"], [7, 9]),
    (["owner__isnull=true"], [10]),
    (["made__gte=2026-01-09T00:00:00"], [9]),
    (["made__date=2026-01-03"], [3]),
    (["extra__a=4"], [4]),
    (["pk__lte=2"], [1, 2]),
    (["price__lt=3.5"], [1, 2, 3, 10]),
]


class TestWhich:
    def test_where(self, using):
        bare(Owner, using, [Owner(pk=1, name="a"), Owner(pk=2, name="b")])
        things = [
            Thing(pk=n, owner_id=n % 2 or 2, name=f"n={n}", count=n, price=n, extra={"a": n},
                  made=datetime(2026, 1, n, 12, tzinfo=UTC))
            for n in range(1, 10)
        ]  # fmt: skip
        # Its key would be empty: it shows that the row is found, not that it is published.
        things.append(Thing(pk=10, name="none", count=0))
        bare(Thing, using, things)
        for where, expected in WHERE:
            arguments = [part for text in where for part in ("--where", text)]
            answer = snapshot(using, "testapp.Thing", "--batch", "2", "--skip-invalid", *arguments)
            found = [int(body["subject"]) for body in taken(using)]
            assert found == [number for number in expected if number != 10], where
            assert answer["skipped"] == len(expected) - len(found), where

    def test_a_related_row_does_not_bring_a_row_twice(self, using):
        bare(Place, using, [Place(pk=1, name="a"), Place(pk=2, name="b")])
        bare(Branch, using, [Branch(pk=n, size=5, place_id=1) for n in range(1, 4)])
        snapshot(using, "testapp.Place", "--where", "branch__size=5")
        assert ids(using) == [1]

    def test_booleans(self, using):
        bare(Sample, using, [Sample(pk=1, code="a"), Sample(pk=2, code="b", active=False)])
        snapshot(using, "testapp.Sample", "--where", "active=false")
        assert ids(using) == [2]

    @on_sqlite
    def test_since(self, using):
        bare(Owner, using, [Owner(pk=1)])
        days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 10)]
        bare(Thing, using, [Thing(pk=d.day, owner_id=1, made=d) for d in days])
        since = ["--since", "2026-01-07T00:00:00Z", "--since-field", "made"]
        assert snapshot(using, "testapp.Thing", *since)["rows"] == 3
        assert ids(using) == [7, 8, 9]
        assert snapshot(using, "testapp.Thing", "--since", "2026-01-09", *since[2:])["rows"] == 1

    def test_ranges(self, using):
        fill(using, 20)
        for text, expected in (("5:8", [5, 6, 7]), ("18:", [18, 19, 20]), (":3", [1, 2])):
            snapshot(using, "testapp.Place", "--range", text)
            assert [int(body["subject"]) for body in taken(using)] == expected

    def test_parts_cover_the_whole_and_no_row_twice(self, using):
        fill(using, 100)
        Place.objects.using(using).filter(pk__range=(20, 50)).delete()
        taken(using)
        first = snapshot(using, "testapp.Place", "--part", "2/3")
        # What comes in the meantime moves no end: the parts were made together.
        bare(Place, using, [Place(pk=5000, name="late")])
        others = [snapshot(using, "testapp.Place", "--part", f"{k}/3") for k in (1, 3)]
        assert sorted(ids(using)) == [*range(1, 20), *range(51, 101)]
        assert len({one["run"] for one in (first, *others)}) == 3
        assert sum(one["rows"] for one in (first, *others)) == 69

    @on_sqlite
    def test_a_part_that_is_finished_waits_for_the_others(self, using):
        fill(using, 10)
        first = snapshot(using, "testapp.Place", "--part", "1/2")
        again = snapshot(using, "testapp.Place", "--part", "1/2")
        assert (again["run"], again["rows_now"], again["state"]) == (first["run"], 0, "finished")
        snapshot(using, "testapp.Place", "--part", "2/2")
        assert snapshot(using, "testapp.Place", "--part", "1/2")["run"] > first["run"]

    @on_sqlite
    def test_a_dry_run_counts_and_begins_nothing(self, using):
        fill(using, 10)
        answer = snapshot(using, "testapp.Place", "--where", "pk__gt=3", "--dry-run")
        assert (answer["rows"], answer["state"]) == (7, "dry run")
        assert not SnapshotRun.objects.using(using).exists()
        assert records(using) == []


WRONG = [
    ([], "Name a MODEL"),
    (["Nonsense"], "no model 'Nonsense'.*testapp.Place"),
    (["testapp.Nope"], "no model 'testapp.Nope'"),
    (["testapp.Untouched"], "testapp.Untouched is not declared: nothing"),
    (["testapp.Bar"], "testapp.Place is: .*kinesis_snapshot testapp.Place"),
    (["testapp.Place", "--type", "x"], "none of its declarations fits.*--type test.place"),
    (["testapp.Place", "--where", "name"], "--where name: write FIELD=VALUE"),
    (["testapp.Place", "--where", "nope=1"], "--where nope=1: .*'nope'.*Choices are"),
    (["testapp.Place", "--where", "name__nope=1"], "--where name__nope=1: .*nope"),
    (["testapp.Place", "--where", "id=x"], "--where id=x: .*'id'.*'x'"),
    (["testapp.Sample", "--where", "active=7"], "--where active=7: '7' is neither"),
    (["testapp.Sample", "--where", "when=7"], "--where when=7: .*7.*invalid format"),
    (["testapp.Sample", "--where", "code__isnull=x"], "'x' is neither true nor false"),
    (["testapp.Place", "--since", "2026-01-01"], "no field with auto_now.*--since-field"),
    (["testapp.Thing", "--since", "x", "--since-field", "made"], "--since x: write ISO"),
    (["testapp.Thing", "--since", "2026-13-01", "--since-field", "made"], "--since 2026-13"),
    (["testapp.Thing", "--since", "2026-01-01", "--since-field", "name"], "it has: made"),
    (["testapp.Thing", "--since-field", "made"], "--since-field without --since"),
    (["testapp.Place", "--range", "5"], "--range 5: write FROM:TO"),
    (["testapp.Place", "--range", ":"], "--range :: write FROM:TO"),
    (["testapp.Place", "--range", "a:9"], "--range a:9: no value of testapp.Place.id"),
    (["testapp.Place", "--range", "9:3"], "--range 9:3 is empty"),
    (["testapp.Seat", "--range", "1:2"], "composite primary key"),
    (["testapp.Place", "--part", "3/2"], "--part 3/2: write K/N"),
    (["testapp.Place", "--part", "0/2"], "--part 0/2: write K/N"),
    (["testapp.Token", "--part", "1/2"], "--part splits integer primary keys.*--range"),
    (["testapp.Place", "--part", "2/2", "--restart"], "--part 1/2"),
    (["testapp.Place", "--batch", "0"], "--batch is from 1"),
    (["testapp.Place", "--rate", "-1"], "--rate is a number"),
    (["testapp.Place", "--rate", "nan"], "--rate is a number"),
    (["--resume", "77"], "--resume 77: there is none of that number"),
    (["testapp.Place", "--resume", "1"], "leave out model"),
]  # fmt: skip


class TestRefused:
    @on_sqlite
    def test_arguments(self, using):
        bare(Token, using, [Token(label="a")])
        for arguments, message in WRONG:
            assert re.search(message, refused(using, *arguments), re.DOTALL), arguments

    @on_sqlite
    def test_a_stream_without_the_outbox(self, using, settings):
        streams = settings.KINESIS_BRIDGE["STREAMS"]
        direct = {**streams, "default": {**streams["default"], "DELIVERY": "direct"}}
        settings.KINESIS_BRIDGE = {**settings.KINESIS_BRIDGE, "STREAMS": direct}
        said = refused(using, "testapp.Place")
        assert 'KINESIS_BRIDGE["STREAMS"]["default"]["DELIVERY"] = "outbox"' in said

    @on_sqlite
    def test_a_model_of_two_declarations_wants_one_of_them(self, using):
        publishes("one.plain", fields=["id"])(Plain)
        publishes("two.plain", fields=["id"], stream="audit")(Plain)
        try:
            assert "--type two.plain --stream audit" in refused(using, "testapp.Plain")
            bare(Plain, using, [Plain(pk=1)])
            assert snapshot(using, "testapp.Plain", "--type", "one.plain")["rows"] == 1
            assert snapshot(using, "testapp.Plain", "--stream", "audit")["type"] == "two.plain"
        finally:
            forget(Plain)

    @on_sqlite
    def test_a_database_without_the_progress_table(self, using):
        with connections[using].schema_editor() as editor:
            editor.delete_model(SnapshotRun)
        with pytest.raises(CommandError, match="lacks kinesis_bridge_snapshotrun"):
            snapshot(using, "testapp.Place")

    @on_sqlite
    def test_json_tells_the_error(self, using):
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("kinesis_snapshot", "testapp.Nope", "--json", stdout=out)
        assert json.loads(out.getvalue())["error"]["name"] == "SnapshotError"


class TestRuns:
    def test_a_row_that_can_have_no_event_stops_it_and_mended_it_goes_on(self, using):
        bare(Owner, using, [Owner(pk=1)])
        bare(Thing, using, [Thing(pk=n, owner_id=1) for n in range(1, 6)])
        owned(using, 4, None)
        with pytest.raises(CommandError, match=r"row 4 .*Thing\.owner_id is empty.*--skip-invalid"):
            snapshot(using, "testapp.Thing", "--batch", "2")
        assert ids(using) == [1, 2]  # the chunk of 3 and 4 was rolled back whole
        owned(using, 4, 1)
        taken(using)
        answer = snapshot(using, "testapp.Thing", "--batch", "2")
        assert ids(using) == [3, 4, 5]
        assert (answer["resumed"], answer["rows"], answer["rows_now"]) == (True, 5, 3)

    @on_sqlite
    def test_restart_begins_anew_and_the_older_one_is_not_resumed(self, using):
        fill(using, 4)
        run, _ = open_run(Scope(declaration=declaration_of("testapp.Place")), using)
        answer = snapshot(using, "testapp.Place", "--restart")
        assert (answer["run"], answer["resumed"], answer["rows"]) == (run.pk + 1, False, 4)
        with pytest.raises(CommandError, match="it is abandoned"):
            snapshot(using, "--resume", str(run.pk))
        with pytest.raises(CommandError, match="it is finished"):
            snapshot(using, "--resume", str(run.pk + 1))

    def test_resume_goes_on_with_what_was_asked(self, using):
        fill(using, 10)
        asked = Scope(declaration=declaration_of("testapp.Place"), where=("pk__gt=5",))
        run, there = open_run(asked, using, Part(1, 2))
        assert not there
        answer = snapshot(using, "--resume", str(run.pk))
        assert (answer["run"], answer["resumed"], answer["part"]) == (run.pk, True, "1/2")
        other = snapshot(using, "testapp.Place", "--where", "pk__gt=5", "--part", "2/2")
        assert sorted(ids(using)) == [6, 7, 8, 9, 10]
        assert other["run"] == run.pk + 1

    @on_sqlite
    def test_the_list(self, using):
        fill(using, 3)
        snapshot(using, "testapp.Place")
        open_run(Scope(declaration=declaration_of("testapp.Token")), using)
        runs = snapshot(using, "--list")["runs"]
        assert [(run["model"], run["state"], run["rows"]) for run in runs] == [
            ("testapp.Place", "finished", 3),
            ("testapp.Token", "unfinished", 0),
        ]
        out = StringIO()
        call_command("kinesis_snapshot", "--list", stdout=out)
        assert "unfinished" in out.getvalue()


class TestPace:
    def test_the_rate_is_kept_and_not_made_up_for(self):
        now = [100.0]
        rate = Rate(10, clock=lambda: now[0])
        assert rate.wait() == 0
        rate.used(5)
        assert rate.wait() == pytest.approx(0.5)
        now[0] += 60  # nothing was published for a minute
        assert rate.wait() == 0
        rate.used(10)
        assert rate.wait() == pytest.approx(1)
        assert Rate(0, clock=lambda: now[0]).wait() == 0

    @on_sqlite
    def test_it_takes_as_long_as_the_rate_says(self, using):
        fill(using, 12)
        answer = snapshot(using, "testapp.Place", "--rate", "10", "--batch", "3")
        assert answer["rows"] == 12
        assert answer["seconds"] >= 0.9  # three of the four chunks were waited for

    @on_sqlite
    def test_a_full_outbox_is_waited_for(self, using, monkeypatch):
        fill(using, 8)
        for _ in range(10):
            waiting(using)
        waiting(using, stream="audit")
        from kinesis_bridge.snapshot import worker

        monkeypatch.setattr(worker, "FULL_SECONDS", 0.01)
        counted = []
        has_room = Backlog.has_room

        def watched(backlog):
            room = has_room(backlog)
            counted.append((backlog.waiting, room))
            if not room:  # a relay comes by
                OutboxRecord.objects.using(using).filter(stream="default").delete()
            return room

        monkeypatch.setattr(Backlog, "has_room", watched)
        answer = snapshot(using, "testapp.Place", "--max-backlog", "10", "--batch", "2")
        assert answer["rows"] == 8
        assert counted[:2] == [(10, False), (0, True)]
        assert max(count for count, _ in counted) == 10
