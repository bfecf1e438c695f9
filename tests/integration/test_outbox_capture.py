"""DELIVERY "outbox": the rows that a transaction leaves, when they are written, what undoes it."""

from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction

from kinesis_bridge import publish
from kinesis_bridge.delivery import insert, precommit
from kinesis_bridge.exceptions import EventError, OutboxError
from kinesis_bridge.models import lane_of
from kinesis_bridge.signals import event_published
from kinesis_bridge.streams import Stream
from tests.support.capture import (
    TABLE,
    body_of,
    inserts,
    names,
    queries_of,
    records,
    rows,
    save,
    statements,
    with_outbox,
)
from tests.testapp.models import Branch, Place, Token, Untouched
from tests.testapp.rollback import RolledBack, rolled_back

ODD_TEXTS = ['"', "\\", '\\"', "{", "}", ",", "NULL", " ", "\n", "'", "%s", "\u20ac", "\U0001f600"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def outbox(settings):
    with_outbox(settings)


@contextmanager
def without_table(using):
    """The outbox's table is not there within the block."""
    rename(using, TABLE, f"{TABLE}_away")
    try:
        yield
    finally:
        rename(using, f"{TABLE}_away", TABLE)


def rename(using, old, new):
    with connections[using].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@contextmanager
def failing_insert(using, error):
    def fail(execute, sql, params, many, context):
        if TABLE in sql:
            raise error
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(fail):
        yield


class TestRows:
    def test_autocommit_saves_the_row_and_its_event_in_one_transaction(self, database):
        with queries_of(database) as queries:
            save(database, "a")

        found = statements(queries)
        assert len(found) == 4
        assert found[0].startswith("BEGIN")
        assert "testapp_place" in found[1]
        assert inserts(queries) == [2]
        assert found[3] == "COMMIT"
        assert names(database) == rows(database) == ["a"]

    def test_a_row_has_all_that_the_relay_needs(self, database):
        token = Token(label="x")
        token.save(using=database)
        event = publish("a.b", {"n": 1}, key="é" * 128, using=database)

        first, second = records(database)
        body = body_of(first)

        key = str(token.pk)
        assert (first.stream, first.partition_key) == ("audit", key)
        assert first.lane == lane_of("audit", key)
        assert (body["id"], body["type"]) == (first.event_id, "test.token.created")
        assert (second.stream, second.partition_key) == ("default", "é" * 128)
        assert second.event_id == event.id
        assert first.created <= second.created

    def test_all_changes_of_a_transaction_are_one_insert_just_before_the_commit(self, database):
        with queries_of(database) as queries, transaction.atomic(using=database):
            place = save(database, "a")
            place.name = "b"
            place.save()
            Token().save(using=database)
            publish("by.hand", {"name": "c"}, using=database)
            Untouched().save(using=database)
            place.delete()
            assert inserts(queries) == []

        assert inserts(queries) == [len(statements(queries)) - 2]
        assert statements(queries)[-1] == "COMMIT"
        assert [body_of(record)["type"] for record in records(database)] == [
            "test.place.created",
            "test.place.updated",
            "test.token.created",
            "by.hand",
            "test.place.deleted",
        ]

    def test_a_transaction_without_events_writes_nothing(self, database):
        save(database)  # from now on the connection is prepared
        with queries_of(database) as queries, transaction.atomic(using=database):
            Untouched().save(using=database)

        assert inserts(queries) == []
        assert len(records(database)) == 1

    def test_publish_outside_a_transaction_is_written_at_once(self, database):
        with queries_of(database) as queries:
            publish("a.b", {"name": "now"}, using=database)

        assert inserts(queries) == [0]
        assert names(database) == ["now"]

    @pytest.mark.parametrize("keys", [ODD_TEXTS, [*ODD_TEXTS, "\x1f"]], ids=["odd", "separator"])
    def test_texts_arrive_as_they_are(self, database, keys):

        with transaction.atomic(using=database):
            for key in keys:
                publish("a.b", {"name": key}, key=key, using=database)

        assert names(database) == keys
        assert [record.partition_key for record in records(database)] == keys

    @pytest.mark.parametrize("given", [[], [bytes(range(256))], [b"\x1f"], [b"\x00"]])
    def test_bytes_arrive_as_they_are(self, database, given):
        payloads = [*given, b"", b"\\", b'"', b"{}", "\u20ac".encode()]
        rows = [
            insert.Row("default", number, "k", payload, f"id {number}")
            for number, payload in enumerate(payloads)
        ]

        precommit.write(connections[database], rows)

        found = records(database)
        assert [bytes(record.payload) for record in found] == payloads
        assert [record.lane for record in found] == list(range(len(rows)))
        assert [record.event_id for record in found] == [row.event_id for row in rows]

    @pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_what_postgresql_cannot_hold_is_refused(self, count):
        def publish_some():
            with transaction.atomic(using="postgres"):
                for _ in range(count):
                    publish("a.b", {}, key="nul \x00", using="postgres")

        with pytest.raises(OutboxError, match="NUL"):
            publish_some()

        assert list(records("postgres")) == []

    def test_more_rows_than_one_statement_takes(self, database):
        most = connections[database].features.max_query_params
        fits = min(insert.MAX_ROWS, most // len(insert.COLUMNS)) if most else 1000
        expected = [str(number) for number in range(fits + 1)]

        with queries_of(database) as queries, transaction.atomic(using=database):
            for name in expected:
                publish("a.b", {"name": name}, key="k", using=database)

        assert len(inserts(queries)) == 2
        assert names(database) == expected

    def test_more_bytes_than_one_statement_takes(self, database):
        body = "x" * 900_000  # four are less than 4 MiB, five are more

        with queries_of(database) as queries, transaction.atomic(using=database):
            for number in range(5):
                publish("a.b", {"name": str(number), "body": body}, using=database)

        assert len(inserts(queries)) == 2
        assert names(database) == list("01234")

    def test_the_second_of_two_statements_fails_and_none_is_kept(self, database):
        def fail_second(execute, sql, params, many, context):
            if TABLE in sql:
                seen.append(sql)
                if len(seen) == 2:
                    raise DatabaseError("The second.")
            return execute(sql, params, many, context)

        seen = []

        @transaction.atomic(using=database)
        def publish_five():
            for _ in range(5):
                publish("a.b", {"body": "x" * 900_000}, using=database)

        wrapped = connections[database].execute_wrapper(fail_second)
        with wrapped, pytest.raises(OutboxError, match="5 events"):
            publish_five()

        assert len(seen) == 2
        assert records(database) == []


class TestBlocks:
    def test_a_savepoint_that_is_rolled_back_takes_its_events_along(self, database):
        with transaction.atomic(using=database):
            save(database, "before")
            with rolled_back(using=database):
                save(database, "gone")
                with transaction.atomic(using=database):
                    save(database, "gone too")
            with transaction.atomic(using=database):
                save(database, "kept")
            save(database, "after")

        assert names(database) == rows(database) == ["before", "kept", "after"]

    def test_a_savepoint_by_hand_takes_its_events_along(self, database):
        connection = connections[database]
        with transaction.atomic(using=database):
            save(database, "before")
            outer = connection.savepoint()
            save(database, "gone")
            inner = connection.savepoint()
            save(database, "gone too")
            connection.savepoint_commit(inner)
            connection.savepoint_rollback(outer)
            kept = connection.savepoint()
            save(database, "kept")
            connection.savepoint_commit(kept)
            connection.savepoint_rollback(outer)
            save(database, "after")

        assert names(database) == rows(database) == ["before", "after"]

    def test_a_savepoint_by_hand_before_the_first_event(self, database):
        connection = connections[database]
        connection.close()
        with transaction.atomic(using=database):
            first = connection.savepoint()
            save(database, "gone")
            connection.savepoint_rollback(first)
            save(database, "kept")

        assert names(database) == rows(database) == ["kept"]

    def test_nested_blocks_are_one_insert(self, database):
        with queries_of(database) as queries, transaction.atomic(using=database):
            save(database, "a")
            with transaction.atomic(using=database), transaction.atomic(using=database):
                save(database, "b")
            with transaction.atomic(using=database, savepoint=False):
                save(database, "c")

        assert inserts(queries) == [len(statements(queries)) - 2]
        assert names(database) == ["a", "b", "c"]

    def test_a_durable_block(self, database):
        with transaction.atomic(using=database, durable=True):
            save(database, "a")
            assert records(database) == []

        assert names(database) == ["a"]

    def test_a_select_for_update_block(self, database):
        pk = save(database, "old").pk
        with transaction.atomic(using=database):
            place = Place.objects.using(database).select_for_update().get(pk=pk)
            place.name = "new"
            place.save()

        assert names(database) == ["old", "new"]

    def test_an_exception_leaves_nothing_nor_does_it_reach_the_next_transaction(self, database):
        with rolled_back(using=database):
            save(database, "gone")
        with transaction.atomic(using=database):
            save(database, "gone")
            transaction.set_rollback(True, using=database)
        save(database, "next")

        assert names(database) == rows(database) == ["next"]

    # Django does not close SQLite in memory.
    @pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
    def test_a_connection_closed_in_its_transaction_leaves_nothing(self, database):
        with transaction.atomic(using=database):
            save(database, "gone")
            connections[database].close()
        save(database, "next")

        assert names(database) == rows(database) == ["next"]

    def test_the_connection_opened_anew_is_still_prepared(self, database):
        save(database, "a")
        connections[database].close()
        with queries_of(database) as queries, transaction.atomic(using=database):
            save(database, "b")
            save(database, "c")

        assert len(inserts(queries)) == 1
        assert names(database) == ["a", "b", "c"]


class TestWhenAnEventIsMade:
    """All events of a transaction are put together just before COMMIT, out of what save() noted."""

    def test_it_tells_of_the_save_not_of_the_commit(self, database):
        with transaction.atomic(using=database):
            before = datetime.now(UTC)
            place = save(database, "a")
            after = datetime.now(UTC)
            place.name = "changed and not saved"
            publish("a.b", {"name": "by hand"}, using=database)

        assert names(database) == ["a", "by hand"]
        told = datetime.fromisoformat(body_of(records(database)[0])["time"])
        assert before <= told <= after

    def test_ids_rise_with_the_rows(self, database):
        with transaction.atomic(using=database):
            for number in range(5):
                save(database, str(number))

        ids = [record.event_id for record in records(database)]
        assert ids == sorted(set(ids))

    def test_what_is_too_large_fails_in_save(self, settings, database):
        options = {"OPTIONS": {"MAX_RECORD_BYTES": 1024}}
        settings.KINESIS_BRIDGE["STREAMS"]["default"].update(options)
        settings.KINESIS_BRIDGE = {**settings.KINESIS_BRIDGE}
        messages = []

        with transaction.atomic(using=database):
            save(database, "fits")
            try:
                with transaction.atomic(using=database):
                    save(database, "\u20ac" * 50 + "x" * 700)
            except DatabaseError:  # of a database that keeps the limit of the column
                messages.append("Place.name cannot be published. The record has")
            except EventError as error:
                messages.append(str(error))

        assert messages
        assert "Place.name cannot be published. The record has" in messages[0]
        assert names(database) == ["fits"]

    def test_a_failure_then_takes_the_rows_with_it(self, database, monkeypatch):
        def fail(stream, event):
            raise EventError("No such event after all")

        monkeypatch.setattr(Stream, "payload_of", fail)
        with pytest.raises(EventError, match="after all"), transaction.atomic(using=database):
            save(database, "a")

        assert rows(database) == []
        assert records(database) == []

    def test_receivers_of_published_are_told_once(self, database):
        told = []

        def receive(event, **_):
            told.append(event.data["name"])

        event_published.connect(receive)
        try:
            with transaction.atomic(using=database):
                save(database, "kept")
                with rolled_back(database):
                    save(database, "dropped")
        finally:
            event_published.disconnect(receive)

        assert told == ["kept"]


class TestCallbacksOfTheSite:
    def test_they_run_after_the_commit_and_in_their_order(self, database):
        calls = []

        def note(name):
            def call():
                assert names(database) == ["a", "b"]
                assert not connections[database].in_atomic_block
                calls.append(name)

            transaction.on_commit(call, using=database)

        with transaction.atomic(using=database):
            note(1)
            save(database, "a")
            note(2)
            with rolled_back(using=database):
                note("gone")
                save(database, "gone")
            with transaction.atomic(using=database):
                note(3)
                save(database, "b")
            note(4)
            assert calls == []

        assert calls == [1, 2, 3, 4]

    def test_a_callback_may_save_too(self, database):
        with transaction.atomic(using=database):
            transaction.on_commit(lambda: save(database, "second"), using=database)
            save(database, "first")

        assert names(database) == ["first", "second"]

    def test_one_that_fails_stops_the_others_and_no_event(self, database):
        calls = []

        def fail():
            raise RolledBack

        @transaction.atomic(using=database)
        def block():
            transaction.on_commit(lambda: calls.append(1), using=database)
            save(database, "a")
            transaction.on_commit(fail, using=database)
            transaction.on_commit(lambda: calls.append(2), using=database)

        with pytest.raises(RolledBack):
            block()

        assert calls == [1]
        assert names(database) == rows(database) == ["a"]

    def test_robust_ones_stay_robust(self, database, caplog):
        calls = []

        def fail():
            raise RolledBack

        with transaction.atomic(using=database):
            transaction.on_commit(fail, using=database, robust=True)
            save(database, "a")
            transaction.on_commit(lambda: calls.append(1), using=database)

        assert calls == [1]
        assert "RolledBack" in caplog.text


class TestAFailingInsert:
    @pytest.mark.parametrize("own_block", [True, False], ids=["atomic", "autocommit"])
    def test_the_caller_is_told_and_nothing_is_kept(self, database, own_block):
        calls = []

        def block():
            with transaction.atomic(using=database) if own_block else nullcontext():
                Untouched().save(using=database)
                save(database, "gone")
                if own_block:
                    transaction.on_commit(lambda: calls.append(1), using=database)

        with without_table(database):
            with pytest.raises(OutboxError, match=f"migrate --database {database}") as raised:
                block()
            assert isinstance(raised.value, DatabaseError)
            assert isinstance(raised.value.__cause__, DatabaseError)
            assert TABLE in str(raised.value)
            assert rows(database) == []  # and the connection can be used
            assert Untouched.objects.using(database).exists() is not own_block

        connection = connections[database]
        assert connection.get_autocommit()
        assert not connection.run_on_commit
        save(database, "next")
        assert names(database) == rows(database) == ["next"]
        assert calls == []

    def test_what_is_no_database_error_rolls_back_too(self, database):
        failing = failing_insert(database, ValueError("Out of order"))
        with failing, pytest.raises(OutboxError, match="Out of order"):
            save(database, "gone")
        save(database, "next")

        assert names(database) == rows(database) == ["next"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_a_stop_in_the_middle_of_it_rolls_back(self, database, error):
        """Django rolls back for a DatabaseError only; turning autocommit on would commit."""
        calls = []

        @transaction.atomic(using=database)
        def block():
            transaction.on_commit(lambda: calls.append(1), using=database)
            save(database, "gone")

        with failing_insert(database, error()), pytest.raises(error):
            block()
        assert rows(database) == []
        save(database, "next")

        assert names(database) == rows(database) == ["next"]
        assert calls == []

    def test_a_commit_that_fails_after_it_keeps_nothing(self, database):
        """The database itself refuses: a foreign key that is checked in the COMMIT."""
        with pytest.raises(IntegrityError):
            Branch(place_id=99).save(using=database)
        save(database, "next")

        assert names(database) == rows(database) == ["next"]
