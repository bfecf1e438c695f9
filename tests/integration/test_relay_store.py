"""What keeps two relays from sending the same rows: lanes, their locks, the rows behind them."""

import os
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connections, transaction

from kinesis_bridge.event import RejectedRecord
from kinesis_bridge.models import LANES, DeadLetter, Lane, OutboxRecord
from kinesis_bridge.relay.store import Store
from tests.support.aws import ROOT
from tests.support.outbox import dead, now, waiting
from tests.support.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
servers = pytest.mark.parametrize(
    "database",
    [pytest.param("postgres", id="postgresql"), pytest.param("mysql", id="mysql")],
    indirect=True,
)
sqlite = pytest.mark.parametrize("database", ["default"], indirect=True)
BACKEND = {"postgresql": "pg_backend_pid()", "mysql": "CONNECTION_ID()"}
KILL = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
REFUSED = RejectedRecord("ValidationException", "Too large.")


@pytest.fixture
def store(outbox):
    made = Store(outbox, "default", blocks=False)
    made.make_lanes()
    return made


class Owner:
    """Owns lanes on a connection of its own, in a thread, until it is told to let go."""

    def __init__(self, store, lanes):
        self.owned = self.backend = self.failure = None
        self._store, self._lanes = store, lanes
        self._has, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        assert self._has.wait(5)
        return self

    def __exit__(self, *exc):
        self._end.set()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _run(self):
        connection = connections[self._store.database]
        try:
            with self._store.owning(self._lanes) as owned:
                self.owned = sorted(owned)
                if connection.vendor in BACKEND:
                    with connection.cursor() as cursor:
                        cursor.execute(f"SELECT {BACKEND[connection.vendor]}")
                        self.backend = cursor.fetchone()[0]
                self._has.set()
                self._end.wait(10)
        except Exception as error:  # noqa: BLE001 - that of a connection that was cut
            self.failure = error
        finally:
            self._has.set()
            connections.close_all()


def owned_now(store, lanes):
    with store.owning(lanes) as owned:
        return sorted(owned)


def test_lanes_are_made_once(outbox):
    for _ in range(2):
        Store(outbox, "default", blocks=False).make_lanes()
    Store(outbox, "audit", blocks=False).make_lanes()

    lanes = Lane.objects.using(outbox)
    for stream in ("default", "audit"):
        numbers = lanes.filter(stream=stream).order_by("number").values_list("number", flat=True)
        assert list(numbers) == list(range(LANES))


def test_a_lane_that_is_missing_is_made_beside_the_others(store):
    lanes = Lane.objects.using(store.database)
    kept = set(lanes.exclude(number__in=[3, 63]).values_list("id", flat=True))
    lanes.filter(number__in=[3, 63]).delete()

    store.make_lanes()

    assert lanes.count() == LANES
    assert kept <= set(lanes.values_list("id", flat=True))


def test_relays_that_start_together_make_the_lanes_once(outbox):
    failures = []
    together = threading.Barrier(4)

    def make():
        try:
            together.wait(5)
            Store(outbox, "default", blocks=False).make_lanes()
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert failures == []
    assert Lane.objects.using(outbox).count() == LANES


@servers
def test_a_lane_has_one_owner(store):
    with Owner(store, range(10)) as first:
        assert first.owned == list(range(10))
        assert owned_now(store, range(5, 15)) == list(range(10, 15))
        assert owned_now(store, range(10)) == []
        with Owner(store, range(64)) as second:
            assert second.owned == list(range(10, 64))
    assert owned_now(store, range(64)) == list(range(64))


@servers
def test_owners_that_race_share_no_lane(store):
    holders = [set() for _ in range(LANES)]
    clashes, guard = [], threading.Lock()

    def race(me):
        try:
            for turn in range(30):
                lanes = [(me * 7 + turn * 5 + step) % LANES for step in range(32)]
                with store.owning(sorted(lanes)) as owned:
                    with guard:
                        clashes.extend(lane for lane in owned if holders[lane])
                        for lane in owned:
                            holders[lane].add(me)
                    with guard:
                        for lane in owned:
                            holders[lane].discard(me)
        except Exception as error:  # noqa: BLE001 - shown below
            clashes.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert clashes == []


@servers
def test_the_same_lane_of_another_stream_is_free(store):
    other = Store(store.database, "audit", blocks=False)
    other.make_lanes()
    with Owner(store, range(64)):
        assert owned_now(other, range(64)) == list(range(64))


@servers
def test_the_lanes_of_an_owner_whose_connection_is_cut_are_free(store):
    vendor = connections[store.database].vendor
    with Owner(store, range(64)) as owner:
        assert owned_now(store, range(64)) == []
        with connections[store.database].cursor() as cursor:
            cursor.execute(KILL[vendor], [owner.backend])
        assert wait_for(lambda: len(owned_now(store, range(64))) == 64, 2)
    assert owner.failure is not None  # its COMMIT could not be


@servers
def test_what_an_owner_deleted_is_back_when_its_connection_is_cut(store):
    row = waiting(store.database)
    cut = connections[store.database].vendor

    def lose():
        connection = connections[store.database]
        try:
            with store.owning([row.lane]) as owned, connection.cursor() as cursor:
                store.settle([found.id for found in store.read(owned, 10)], [])
                cursor.execute(f"SELECT {BACKEND[cut]}")
                backends.append(cursor.fetchone()[0])
                deleted.set()
                killed.wait(5)
        except Exception as error:  # noqa: BLE001 - that of a connection that was cut
            failures.append(error)
        finally:
            connections.close_all()

    backends, failures = [], []
    deleted, killed = threading.Event(), threading.Event()
    thread = threading.Thread(target=lose)
    thread.start()
    assert deleted.wait(5)
    with connections[store.database].cursor() as cursor:
        cursor.execute(KILL[cut], backends)
    killed.set()
    thread.join(5)

    assert failures
    assert OutboxRecord.objects.using(store.database).filter(pk=row.pk).exists()


def test_lanes_are_kept_while_the_block_fails_and_free_afterwards(store):
    class OursError(Exception):
        pass

    def fail():
        with store.owning([1, 2]):
            raise OursError

    with pytest.raises(OursError):
        fail()
    assert owned_now(store, [1, 2]) == [1, 2]


@sqlite
def test_one_thread_has_all_lanes_of_an_sqlite_file_and_the_site_writes(store):
    with Owner(store, [1, 2]) as owner:
        assert owner.owned == [1, 2]
        assert owned_now(store, [3]) == []
        other = Store(store.database, "audit", blocks=False)
        assert owned_now(other, [3]) == [3]
        with transaction.atomic(using=store.database):
            waiting(store.database)
        assert OutboxRecord.objects.using(store.database).count() == 1
    assert owned_now(store, [3]) == [3]


HOLD = """
import sys, time
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["kinesis_bridge"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    KINESIS_BRIDGE={},
)
django.setup()
from kinesis_bridge.relay.store import Store
with Store("default", "default", blocks=False).owning([1]) as owned:
    print(owned, flush=True)
    time.sleep(30)
"""


@sqlite
def test_an_sqlite_file_is_free_when_the_process_that_has_it_is_killed(store):
    name = str(connections[store.database].settings_dict["NAME"])
    command = [sys.executable, "-c", textwrap.dedent(HOLD), name]
    with subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "[1]\n"
            assert owned_now(store, [1]) == []
        finally:
            process.kill()
    assert owned_now(store, [1]) == [1]


def test_rows_are_read_by_lane_in_the_order_of_their_ids(store):
    rows = [waiting(store.database, key=f"k{n % 5}", payload=b"%d" % n) for n in range(20)]
    waiting(store.database, stream="audit", key="k0")
    lanes = {rows[0].lane, rows[1].lane}

    found = store.read(sorted(lanes), 100)

    mine = [row for row in rows if row.lane in lanes]
    assert [row.id for row in found] == [row.pk for row in mine]
    assert [row.payload for row in found] == [row.payload for row in mine]
    assert [row.id for row in store.read(sorted(lanes), 3)] == [row.pk for row in mine[:3]]
    hint = store.lanes_with_work(100)
    assert sorted(hint) == sorted({row.lane for row in rows})
    assert store.lanes_with_work(1) == [rows[0].lane]


@pytest.mark.parametrize(("use_tz", "zone"), [(True, "UTC"), (True, "Asia/Tokyo"), (False, "UTC")])
def test_a_row_tells_its_age(store, settings, use_tz, zone):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
    connections[store.database].close()
    given = [90.5, 0, -60]  # of a site whose clock is ahead, too
    for ago in given:
        waiting(store.database, created=now() - timedelta(seconds=ago))

    ages = [row.age for row in store.read(range(LANES), 10)]

    for age, ago in zip(ages, given, strict=True):
        assert ago - 0.5 <= age < ago + 30  # a busy machine takes its time to write them
    assert {type(age) for age in ages} == {float}


def test_a_row_that_was_committed_late_is_read_first(store):
    late = waiting(store.database, key="k")
    values = OutboxRecord.objects.using(store.database).filter(pk=late.pk).values().get()
    OutboxRecord.objects.using(store.database).all().delete()
    after = waiting(store.database, key="k")
    assert [row.id for row in store.read([late.lane], 10)] == [after.pk]
    if after.pk == late.pk:  # SQLite gives the same id anew
        OutboxRecord.objects.using(store.database).all().delete()
        after = waiting(store.database, key="k", id=late.pk + 1)
    OutboxRecord.objects.using(store.database).create(**values)

    assert [row.id for row in store.read([late.lane], 10)] == [late.pk, after.pk]


@contextmanager
def counted(alias, table):
    before = table.objects.using(alias).count()
    change = []
    yield change
    change.append(table.objects.using(alias).count() - before)


def test_settling_deletes_what_went_and_keeps_the_rest(store):
    sent, refused, kept = (waiting(store.database, key=key, event_id=key) for key in "abc")
    rows = {row.id: row for row in store.read(range(LANES), 10)}

    with counted(store.database, DeadLetter) as letters:
        store.settle([sent.pk], [(rows[refused.pk], REFUSED)])

    assert letters == [1]
    assert [row.pk for row in OutboxRecord.objects.using(store.database).all()] == [kept.pk]
    letter = DeadLetter.objects.using(store.database).get()
    assert (letter.outbox_id, letter.event_id, letter.code) == (refused.pk, "b", REFUSED.code)
    assert letter.lane == refused.lane
    assert letter.blocks is False


def test_settling_more_rows_than_a_statement_takes_parameters(store):
    OutboxRecord.objects.using(store.database).bulk_create(
        OutboxRecord(stream="default", lane=1, partition_key="k", payload=b"1", event_id=str(n))
        for n in range(2500)
    )
    rows = store.read([1], 10_000)
    assert len(rows) == 2500
    store.settle([row.id for row in rows[:-1]], [])
    assert [row.id for row in store.read([1], 10)] == [rows[-1].id]


def test_a_dead_letter_that_blocks_holds_up_its_key_of_its_stream_alone(outbox):
    store = Store(outbox, "default", blocks=True)
    dead(outbox, key="held", blocks=True)
    dead(outbox, key="passing", blocks=False)
    dead(outbox, key="of another", stream="audit", blocks=True)
    held = waiting(outbox, key="held")
    free = [waiting(outbox, key=key) for key in ("passing", "of another", "new")]

    assert {row.id for row in store.read(range(LANES), 10)} == {row.pk for row in free}
    assert set(store.lanes_with_work(10)) == {row.lane for row in free}

    DeadLetter.objects.using(outbox).filter(partition_key="held").discard()
    assert held.pk in {row.id for row in store.read(range(LANES), 10)}


def test_where_dead_letters_block_one_row_of_each_key_is_read(outbox):
    store = Store(outbox, "default", blocks=True)
    rows = [waiting(outbox, key=f"k{n % 3}") for n in range(9)]

    assert [row.id for row in store.read(range(LANES), 100)] == [row.pk for row in rows[:3]]


def test_a_dead_letter_holds_up_no_key_that_only_looks_like_its_own(outbox):
    """MySQL's usual collations take these for the same."""
    store = Store(outbox, "default", blocks=True)
    dead(outbox, key="Key", blocks=True)
    keys = {"key", "Key ", "k\u00e9y"}
    for key in keys:
        waiting(outbox, key=key)
    waiting(outbox, key="Key")

    assert {row.partition_key for row in store.read(range(LANES), 10)} == keys
