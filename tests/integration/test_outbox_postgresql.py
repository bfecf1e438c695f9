"""COMMIT goes with the last INSERT of the outbox: PostgreSQL, psycopg 3."""

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, connections, transaction

from kinesis_bridge import publish
from kinesis_bridge.delivery import insert
from kinesis_bridge.exceptions import OutboxError
from tests.support.capture import names, records, rows, save, with_outbox
from tests.testapp.models import Branch, Place

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
USING = "postgres"


@pytest.fixture(autouse=True)
def outbox(settings):
    with_outbox(settings)


@pytest.fixture
def ends():
    """The outbox's statements, in an execute wrapper's hands."""
    found = []

    def note(execute, sql, params, many, context):
        if insert.OutboxRecord._meta.db_table in sql:
            found.append(sql[-8:])
        return execute(sql, params, many, context)

    with connections[USING].execute_wrapper(note):
        yield found


def status():
    return connections[USING].connection.info.transaction_status


def test_the_last_statement_ends_the_transaction(ends):
    seen = []

    with transaction.atomic(using=USING):
        transaction.on_commit(lambda: seen.append(status()), using=USING)
        save(USING, "a")

    assert ends == ["; COMMIT"]
    assert seen == [psycopg.pq.TransactionStatus.IDLE]
    assert (rows(USING), names(USING)) == (["a"], ["a"])


def test_only_the_last_of_several_does(ends, monkeypatch):
    monkeypatch.setattr(insert, "MAX_ROWS", 2)

    with transaction.atomic(using=USING):
        for name in "abcde":
            save(USING, name)

    assert [end == "; COMMIT" for end in ends] == [False, False, True]
    assert names(USING) == list("abcde")


def test_at_once_there_is_nothing_to_commit(ends):
    publish("a.b", {"name": "now"}, using=USING)

    assert len(ends) == 1
    assert ends != ["; COMMIT"]
    assert names(USING) == ["now"]


def test_a_constraint_that_waited_for_the_commit_is_what_it_always_was():
    def nowhere():
        with transaction.atomic(using=USING):
            save(USING, "a")
            Branch(place_id=10**6).save(using=USING)

    with pytest.raises(IntegrityError, match="foreign key") as raised:
        nowhere()

    assert not isinstance(raised.value, OutboxError)
    assert (rows(USING), records(USING)) == ([], [])
    save(USING, "b")  # the connection goes on
    assert names(USING) == ["b"]


def test_a_connection_that_broke_says_so():
    def cut():
        with transaction.atomic(using=USING):
            save(USING, "a")
            with connections[USING].cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                (pid,) = cursor.fetchone()
            with psycopg.connect(**connections[USING].get_connection_params() | PLAIN) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [pid])

    with pytest.raises(OperationalError) as raised:
        cut()

    assert not isinstance(raised.value, OutboxError)  # whether it committed nobody can tell
    connections[USING].close()
    assert Place.objects.using(USING).count() == 0


PLAIN = {"cursor_factory": None, "context": None, "prepare_threshold": None}


def test_parameters_bound_by_the_server_go_without(ends, monkeypatch):
    monkeypatch.setattr(connections[USING].features, "uses_server_side_binding", True)

    with transaction.atomic(using=USING):
        save(USING, "a")

    assert ends != ["; COMMIT"]
    assert names(USING) == ["a"]
