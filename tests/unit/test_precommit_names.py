"""The names inside Django that the outbox leans on, and what it does where they are others."""

import inspect
from collections import UserList
from typing import NamedTuple

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from kinesis_bridge import publish
from kinesis_bridge.exceptions import OutboxError
from kinesis_bridge.models import OutboxRecord
from tests.testapp.rollback import rolled_back

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = OutboxRecord._meta.db_table


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.KINESIS_BRIDGE = settings.KINESIS_BRIDGE | {
        "STREAMS": {"default": {"STREAM": "orders", "DELIVERY": "outbox"}}
    }


@pytest.fixture
def connection(sqlite_file):
    """One that no event was written on yet."""
    return connections[sqlite_file]


def event(connection, name):
    publish("a.b", name, key=name, using=connection.alias)


def written(connection):
    found = OutboxRecord.objects.using(connection.alias).order_by("id")
    return list(found.values_list("partition_key", flat=True))


def inserts(queries):
    return sum("INSERT INTO" in query["sql"] and TABLE in query["sql"] for query in queries)


class TestDjangosNames:
    def test_on_commit_keeps_tuples_of_savepoints_function_and_robust_in_a_list(self, connection):
        def first():
            """Do nothing."""

        def second():
            """Do nothing."""

        with transaction.atomic(using=connection.alias):
            transaction.on_commit(first, using=connection.alias)
            with transaction.atomic(using=connection.alias):
                (savepoint,) = connection.savepoint_ids
                transaction.on_commit(second, using=connection.alias, robust=True)
                assert type(connection.__dict__["run_on_commit"]) is list
                assert connection.run_on_commit == [
                    (set(), first, False),
                    ({savepoint}, second, True),
                ]
        assert connection.run_on_commit == []

    def test_the_outermost_block_tells_whether_it_is_a_test_case(self, connection):
        with transaction.atomic(using=connection.alias):
            (outermost,) = connection.atomic_blocks
            assert outermost._from_testcase is False
        in_test_case = TestCase._enter_atomics()
        try:
            blocks = [connections[alias].atomic_blocks for alias in in_test_case]
            assert blocks
            assert all(outermost._from_testcase is True for (outermost,) in blocks)
        finally:
            TestCase._rollback_atomics(in_test_case)

    def test_events_share_a_callback_but_not_in_a_test_case(self, connection):
        def callbacks():
            event(connection, "a")
            event(connection, "b")
            with transaction.atomic(using=connection.alias):
                event(connection, "c")
                event(connection, "d")
            event(connection, "e")
            return len(connection.run_on_commit)

        with transaction.atomic(using=connection.alias):
            assert callbacks() == 3
        assert written(connection) == list("abcde")
        with transaction.atomic(using=connection.alias):
            connection.atomic_blocks[0]._from_testcase = True
            assert callbacks() == 5
        assert written(connection) == list("abcdeabcde")

    def test_a_savepoint_drops_those_that_were_added_in_it(self, connection):
        with transaction.atomic(using=connection.alias):
            transaction.on_commit(print, using=connection.alias)
            with rolled_back(using=connection.alias):
                transaction.on_commit(repr, using=connection.alias)
            assert [entry[1] for entry in connection.run_on_commit] == [print]
            connection.run_on_commit = []

    def test_the_outermost_block_commits_by_the_connections_commit(self, connection, monkeypatch):
        calls = []
        commit = connection.commit

        def noted():
            calls.append((connection.in_atomic_block, connection.get_autocommit()))
            commit()

        monkeypatch.setattr(connection, "commit", noted)
        with transaction.atomic(using=connection.alias):
            with transaction.atomic(using=connection.alias):
                pass
            assert calls == []
        assert calls == [(False, False)]
        assert connection.get_autocommit()

    def test_a_database_error_in_commit_is_rolled_back_and_raised(self, connection, monkeypatch):
        calls = []
        rollback = connection.rollback

        def fail():
            raise OperationalError("No.")

        def noted():
            calls.append("rollback")
            rollback()

        monkeypatch.setattr(connection, "commit", fail)
        monkeypatch.setattr(connection, "rollback", noted)
        with (
            pytest.raises(OperationalError, match="No"),
            transaction.atomic(using=connection.alias),
        ):
            transaction.on_commit(lambda: calls.append("called"), using=connection.alias)
        assert calls == ["rollback"]
        assert connection.run_on_commit == []

    def test_only_a_database_error_is(self):
        _, after = inspect.getsource(Atomic.__exit__).split("connection.commit()\n")
        assert after.split(":")[0].strip() == "except DatabaseError"
        assert issubclass(OutboxError, DatabaseError)

    def test_commit_is_called_without_arguments(self):
        assert list(inspect.signature(BaseDatabaseWrapper.commit).parameters) == ["self"]

    def test_commit_on_exit_tells_whose_transaction_it_is(self, connection):
        alias = connection.alias
        with transaction.atomic(using=alias):
            assert connection.in_atomic_block
            assert connection.commit_on_exit
        transaction.set_autocommit(False, using=alias)
        try:
            with transaction.atomic(using=alias, savepoint=False):
                assert connection.in_atomic_block
                assert not connection.commit_on_exit
        finally:
            transaction.rollback(using=alias)
            transaction.set_autocommit(True, using=alias)

    def test_a_savepoint_by_hand_is_made_by_the_connection(self, connection, monkeypatch):
        calls = []
        monkeypatch.setattr(connection, "savepoint", lambda: calls.append("made"))
        monkeypatch.setattr(connection, "savepoint_rollback", calls.append)
        # The older name is deprecated from Django 6.1 on.
        create = getattr(transaction, "savepoint_create", transaction.savepoint)
        create(using=connection.alias)
        transaction.savepoint_rollback("sid", using=connection.alias)
        assert calls == ["made", "sid"]

    def test_a_savepoint_by_hand_is_unknown_to_the_list(self, connection):
        """Why the outbox looks after those itself."""
        alias = connection.alias
        with transaction.atomic(using=alias):
            savepoint = connection.savepoint()
            transaction.on_commit(print, using=alias)
            connection.savepoint_rollback(savepoint)
            assert len(connection.run_on_commit) == 1
            connection.run_on_commit = []


def test_the_commit_is_wrapped_once(connection):
    event(connection, "a")
    assert "commit" not in connection.__dict__  # nothing to wait for
    for name in "bc":
        with transaction.atomic(using=connection.alias):
            event(connection, name)
        wrapped = connection.__dict__["commit"]
    with transaction.atomic(using=connection.alias):
        event(connection, "d")
    assert connection.__dict__["commit"] is wrapped
    assert written(connection) == ["a", "b", "c", "d"]


class Entry(NamedTuple):
    """The same three, in another order."""

    func: object
    sids: set
    robust: bool


class Other:
    """Cannot be read by its place."""

    def __init__(self, sids, func, robust):
        self.parts = (sids, func, robust)


class Others(list):
    """A list that keeps what is added in a shape of its own, and gives it back as Django's."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def append(self, entry):
        super().append(self.shape(*entry))

    def pop(self, index=-1):
        entry = super().pop(index)
        return entry.parts if isinstance(entry, Other) else (entry.sids, entry.func, entry.robust)


SHAPES = {
    "another order": lambda sids, func, robust: Entry(func, sids, robust),
    "objects": Other,
}


class TestFallback:
    """Each event is written at once, in the same transaction: slower, and nothing is lost."""

    def publish_three(self, connection, prepare):
        calls = []
        alias = connection.alias
        with CaptureQueriesContext(connection) as queries, transaction.atomic(using=alias):
            prepare()
            event(connection, "a")
            assert written(connection) == ["a"]
            transaction.on_commit(lambda: calls.append(1), using=alias)
            event(connection, "b")
            event(connection, "c")
        assert inserts(queries) == 3
        assert calls == [1]
        assert written(connection) == ["a", "b", "c"]

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("is_prepared", [False, True], ids=["new", "prepared"])
    def test_entries_of_another_shape(self, connection, shape, is_prepared):
        if is_prepared:
            with transaction.atomic(using=connection.alias):
                event(connection, "first")
            OutboxRecord.objects.using(connection.alias).all().delete()

        def prepare():
            connection.run_on_commit = Others(SHAPES[shape])

        self.publish_three(connection, prepare)

    def test_no_list(self, connection):
        def prepare():
            connection.run_on_commit = UserList()

        self.publish_three(connection, prepare)

    @pytest.mark.parametrize("name", ["commit", "savepoint", "savepoint_rollback"])
    def test_no_such_method(self, connection, monkeypatch, name):
        with transaction.atomic(using=connection.alias):
            monkeypatch.setattr(connection, name, None)
            event(connection, "a")
            event(connection, "b")
            assert written(connection) == ["a", "b"]
            assert connection.run_on_commit == []
            monkeypatch.undo()
        assert written(connection) == ["a", "b"]

    def test_what_is_rolled_back_is_gone(self, connection):
        # Before the block: Atomic itself reads the list where a savepoint is rolled back.
        connection.ensure_connection()
        connection.run_on_commit = UserList()
        with transaction.atomic(using=connection.alias):
            event(connection, "a")
            with rolled_back(using=connection.alias):
                event(connection, "gone")
            connection.run_on_commit = UserList()
            event(connection, "b")
        with rolled_back(using=connection.alias):
            event(connection, "gone")
        assert written(connection) == ["a", "b"]

    def test_a_failure_reaches_the_caller_at_once(self, connection):
        connection.ensure_connection()
        connection.run_on_commit = UserList()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {TABLE}")
        with transaction.atomic(using=connection.alias):
            with pytest.raises(OutboxError, match="1 events could not be written"):
                event(connection, "a")
            transaction.set_rollback(True, using=connection.alias)
