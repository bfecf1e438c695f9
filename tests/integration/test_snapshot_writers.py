"""A snapshot among writers: no key ends with an older state than its row's."""

import json
import threading
from contextlib import contextmanager
from io import StringIO
from random import Random

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, connections, transaction

from kinesis_bridge.models import OutboxRecord, SnapshotRun
from kinesis_bridge.snapshot import Limits, Scope, Worker, declaration_of, open_run
from kinesis_bridge.snapshot import rows as rows_module
from kinesis_bridge.snapshot import worker as worker_module
from tests.support.capture import body_of, records, with_outbox
from tests.support.outbox import OutboxOn
from tests.support.servers import wait_for
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
servers = pytest.mark.parametrize(
    "database",
    [pytest.param("postgres", id="postgresql"), pytest.param("mysql", id="mysql")],
    indirect=True,
)
ROWS = 150


@pytest.fixture
def using(request, database, settings):
    """The alias of the one database with an outbox; an SQLite file, as threads share it."""
    with_outbox(settings)
    alias = request.getfixturevalue("sqlite_file") if database == "default" else database
    settings.DATABASE_ROUTERS = [OutboxOn(alias)]
    return alias


@pytest.fixture
def places(using):
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        statement = "INSERT INTO testapp_place (id, name) VALUES (%s, %s)"
        cursor.executemany(statement, [(n, f"p{n}") for n in range(1, ROWS + 1)])
    return using


def run_of(using):
    scope = Scope(declaration=declaration_of("testapp.Place"))
    return open_run(scope, using)[0], scope


def made(using, **limits):
    return Worker(*run_of(using), using, Limits(**{"batch": 10, "lock_timeout": 10, **limits}))


@contextmanager
def thread(work):
    """`work` in a thread with connections of its own; its error is raised at the end."""
    failures = []

    def run():
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)
        finally:
            connections.close_all()

    one = threading.Thread(target=run)
    one.start()
    try:
        yield one
    finally:
        one.join(30)
    assert not one.is_alive()
    if failures:
        raise failures[0]


def replayed(using):
    """What a consumer holds who takes each key's events in the order of the outbox."""
    state = {}
    for record in records(using):
        body = body_of(record)
        if body["type"].endswith(".deleted"):
            state.pop(body["subject"], None)
        else:
            state[body["subject"]] = body["data"]["name"]
    return state


def held(using):
    rows = Place.objects.using(using).values_list("id", "name")
    return {str(pk): name for pk, name in rows}


def change(using, random):
    """Insert, update or delete one row."""
    pk = random.randint(1, ROWS + 20)
    kind = random.random()
    place = Place.objects.using(using).filter(pk=pk).first()
    if place is None:
        Place(pk=pk, name=f"new {random.random()}").save(using=using)
    elif kind < 0.15:
        place.delete(using=using)
    else:
        place.name = str(random.random())
        place.save(using=using, update_fields=["name"] if kind < 0.5 else None)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_replayed_is_what_the_table_holds(places, seed, monkeypatch):
    ends, done = threading.Event(), [0, 0]

    def write_late(*given):
        # The writers come in between reading and writing, where nothing holds them up.
        enough = sum(done) + 4
        wait_for(lambda: sum(done) >= enough, 0.05)
        return write(*given)

    write = rows_module.write
    monkeypatch.setattr(rows_module, "write", write_late)

    def change_rows(number):
        random = Random(f"{seed} {number}")
        while not ends.is_set():
            try:
                with transaction.atomic(using=places):
                    for _ in range(random.randint(1, 3)):
                        change(places, random)
                    if random.random() < 0.2:
                        transaction.set_rollback(True, using=places)
                done[number] += 1
            except DatabaseError:  # a deadlock between the two, or SQLite's one writer
                connections[places].close_if_unusable_or_obsolete()

    def let_write(_):
        # And between two chunks, where on SQLite they only get their turn.
        enough = sum(done) + 1
        wait_for(lambda: sum(done) >= enough, 5)

    run, scope = run_of(places)
    worker = Worker(run, scope, places, Limits(batch=25), let_write)
    with thread(lambda: change_rows(0)), thread(lambda: change_rows(1)):
        try:
            assert wait_for(lambda: min(done) >= 3)
            before = list(done)
            assert worker.work()
            assert done != before  # they did write meanwhile
        finally:
            ends.set()

    found = replayed(places)
    assert found == held(places)
    kinds = {body_of(record)["type"] for record in records(places)}
    assert {"test.place.snapshot", "test.place.updated"} <= kinds


@contextmanager
def locking(using, pk, *, commit):
    """A transaction that has changed a row; it ends with the block, or by what it yields."""
    has, ends = threading.Event(), threading.Event()

    def write():
        with transaction.atomic(using=using):
            place = Place.objects.using(using).get(pk=pk)
            place.name = "of the long writer"
            place.save(using=using)
            has.set()
            assert ends.wait(20)
            transaction.set_rollback(not commit, using=using)

    with thread(write):
        try:
            assert has.wait(5)
            yield ends.set
        finally:
            ends.set()


@servers
@pytest.mark.parametrize("commit", [True, False])
def test_a_locked_row_stops_no_other_and_its_state_arrives(places, commit):
    worker = made(places)
    with locking(places, 42, commit=commit) as let_go, thread(worker.work) as working:
        # All the others are there, and the run waits for this one.
        assert wait_for(lambda: len(records(places)) == ROWS - 1)
        assert SnapshotRun.objects.using(places).get().locked == [42]
        assert "42" not in replayed(places)
        assert working.is_alive()
        let_go()

    assert replayed(places) == held(places)
    assert held(places)["42"] == ("of the long writer" if commit else "p42")
    run = SnapshotRun.objects.using(places).get()
    assert (run.state, run.rows, run.locked) == ("finished", ROWS, [])


@servers
def test_a_row_that_stays_locked_is_told_and_kept_for_later(places):
    def snapshot(*arguments):
        out = StringIO()
        call_command("kinesis_snapshot", "--database", places, "--json", *arguments, stdout=out)
        return json.loads(out.getvalue())

    with (
        locking(places, 7, commit=False),
        pytest.raises(CommandError, match=r"1 rows of testapp.Place \(primary keys 7\).*--resume"),
    ):
        snapshot("testapp.Place", "--lock-timeout", "0.1")
    (run,) = snapshot("--list")["runs"]
    assert (run["state"], run["rows"], run["locked"]) == ("unfinished", ROWS - 1, 1)

    answer = snapshot("--resume", str(run["run"]))
    assert (answer["state"], answer["rows"], answer["rows_now"]) == ("finished", ROWS, 1)
    assert replayed(places) == held(places)


@servers
def test_no_more_locked_rows_are_noted_than_there_is_room_for(places, monkeypatch):
    monkeypatch.setattr(worker_module, "MOST_LOCKED", 4)
    worker = made(places, batch=2)
    has, ends = threading.Event(), threading.Event()

    def lock():
        with transaction.atomic(using=places):
            rows = Place.objects.using(places).select_for_update().filter(pk__range=(11, 30))
            assert len(rows) == 20
            has.set()
            assert ends.wait(20)

    with thread(lock):
        assert has.wait(5)
        with thread(worker.work):
            run = SnapshotRun.objects.using(places)
            assert wait_for(lambda: len(run.get().locked) == 4)
            assert run.get().after == 14
            ends.set()
    assert replayed(places) == held(places)


@servers
def test_a_row_that_is_added_in_between_hides_no_locked_one(places):
    Place.objects.using(places).filter(pk=8).delete()
    OutboxRecord.objects.using(places).all().delete()
    added = []

    def add():
        Place(pk=8, name="added").save(using=places)

    def in_between(execute, sql, params, many, context):
        if "SKIP LOCKED" in sql and not added:
            added.append(sql)
            with thread(add):
                pass
        return execute(sql, params, many, context)

    worker = made(places, lock_timeout=0.05)
    with (
        locking(places, 5, commit=False),
        connections[places].execute_wrapper(in_between),
        pytest.raises(worker_module.SnapshotError, match="primary keys 5"),
    ):
        worker.work()
    assert worker.work()
    assert replayed(places) == held(places)
    assert held(places)["8"] == "added"


def test_a_row_that_is_deleted_while_it_is_locked_is_not_waited_for(places):
    worker = made(places)
    run = SnapshotRun.objects.using(places)
    run.filter(pk=worker.run.pk).update(locked=[9999])
    worker.run.refresh_from_db()
    assert worker.work()
    assert run.get().rows == ROWS


@pytest.mark.parametrize("place", ["insert", "commit"])
def test_a_chunk_is_tried_again_and_published_once(places, place, monkeypatch):
    """Also where the COMMIT worked and nobody was told."""
    worker = made(places)
    connection = connections[places]
    failures = []
    commit = connection.commit

    def fail(execute, sql, params, many, context):
        if "INSERT" in sql and OutboxRecord._meta.db_table in sql and len(failures) < 2:
            failures.append(sql)
            raise OperationalError("deadlock detected")
        return execute(sql, params, many, context)

    def lose():
        commit()
        if len(failures) < 2:
            failures.append("commit")
            raise OperationalError("server closed the connection unexpectedly")

    if place == "commit":
        connection.__dict__["commit"] = lose
        try:
            assert worker.work()
        finally:
            connection.__dict__["commit"] = commit
    else:
        with connection.execute_wrapper(fail):
            assert worker.work()
    assert len(failures) == 2
    assert [record.partition_key for record in records(places)] == [
        str(number) for number in range(1, ROWS + 1)
    ]
    assert SnapshotRun.objects.using(places).get().rows == ROWS


def test_one_that_is_taken_over_ends_and_publishes_nothing_more(places):
    run, scope = run_of(places)
    both = []

    def takes_over(_):
        if not both:
            both.append(Worker(run, scope, places))
            both[0].work()

    first = Worker(run, scope, places, Limits(batch=10), takes_over)
    with pytest.raises(worker_module.SnapshotError, match="taken over by another process"):
        first.work()
    assert [record.partition_key for record in records(places)] == [
        str(number) for number in range(1, ROWS + 1)
    ]
    assert first.published == 10


def test_a_stop_is_after_the_chunk_and_another_worker_goes_on(places):
    run, scope = run_of(places)
    first = Worker(run, scope, places, Limits(batch=10), lambda _: first.stop())
    assert first.work() is False
    assert len(records(places)) == 10

    assert Worker(run, scope, places).work() is True
    assert replayed(places) == held(places)
    assert len(records(places)) == ROWS
