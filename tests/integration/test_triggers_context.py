"""Who and why, in events that PostgreSQL writes: one setting a transaction, gone with it."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.db import connection as default_connection
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from kinesis_bridge.context import event_context
from kinesis_bridge.signals import context_telling
from tests.support.capture import body_of, records, with_outbox
from tests.support.databases import HOST, PgBouncer
from tests.support.outbox import OutboxOn
from tests.support.signals import heard
from tests.support.triggers import declared
from tests.testapp.models import Place
from tests.testapp.rollback import rolled_back
from tests.triggerapp.models import TriggerPlace

DB = "postgres"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", DB])


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.DATABASE_ROUTERS = [OutboxOn(DB)]
    with_outbox(settings)
    with declared(DB):
        yield


def save(name="a", using=DB):
    made = TriggerPlace(name=name)
    made.save(using=using)
    return made


def who(using=DB):
    """Of each event: the name, and who it was."""
    return [(b["data"]["name"], b.get("userid")) for b in map(body_of, records(using))]


def run(statement, parameters=(), using=DB):
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else None


def held():
    """What the connection holds of it outside of a transaction."""
    return run("SELECT coalesce(current_setting('kinesis_bridge.context', true), '')")[0][0]


@contextmanager
def settings_made():
    """The statements that set it."""
    made = []

    def note(execute, sql, params, many, context):
        if "set_config" in sql:
            made.append(params)
        return execute(sql, params, many, context)

    with connections[DB].execute_wrapper(note):  # within ours: it sees what ours executes
        yield made


def test_all_of_it_is_in_the_event_as_a_signal_would_have_it():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with event_context(requestid='a"1', userid=7, traceparent=trace, retry=3, manual=True):
        save()
        Place(name="a").save(using=DB)
    by_trigger, by_signal = map(body_of, records(DB))
    own = {"id", "time", "type", "subject", "partitionkey", "data"}
    assert {k: v for k, v in by_trigger.items() if k not in own} == {
        k: v for k, v in by_signal.items() if k not in own
    }
    assert by_trigger["requestid"] == 'a"1'
    assert (by_trigger["retry"], by_trigger["manual"]) == (3, True)


def test_without_a_context_nothing_is_asked():
    with settings_made() as made:
        save()
        with transaction.atomic(using=DB):
            save()
    assert made == []
    assert who() == [("a", None), ("a", None)]


def test_one_statement_a_transaction():
    with event_context(userid="u"), settings_made() as made, transaction.atomic(using=DB):
        for name in "abc":
            save(name)
        TriggerPlace.objects.using(DB).update(name="d")
        run("DELETE FROM triggerapp_triggerplace")
    assert len(made) == 1
    assert {user for _, user in who()} == {"u"}
    assert len(who()) == 9


@pytest.mark.parametrize(
    "write",
    [
        save,
        lambda: TriggerPlace.objects.using(DB).bulk_create([TriggerPlace(name="a")]),
        lambda: run("INSERT INTO triggerapp_triggerplace (name) VALUES ('a')"),
        lambda: run(
            "/* a */ WITH x AS (SELECT 'a' n) INSERT INTO triggerapp_triggerplace (name)"
            " SELECT n FROM x"
        ),
    ],
)
def test_without_a_transaction_of_the_site(write):
    with event_context(userid="u"):
        write()
    assert who() == [("a", "u")]
    assert held() == ""
    assert connections[DB].get_autocommit()


def test_a_context_that_changes_within_a_transaction():
    with transaction.atomic(using=DB):
        save("none")
        with event_context(userid="first"):
            save("one")
            with event_context(userid="second"):
                save("two")
            save("three")
        save("four")
    assert who() == [
        ("none", None),
        ("one", "first"),
        ("two", "second"),
        ("three", "first"),
        ("four", None),
    ]


def test_a_savepoint_that_is_rolled_back_takes_no_context_with_it():
    with event_context(userid="u"), transaction.atomic(using=DB):
        with rolled_back(DB):
            save("not")
        save("kept")
        sid = connections[DB].savepoint()
        with event_context(userid="v"):
            save("not")
        connections[DB].savepoint_rollback(sid)
        save("too")
    assert who() == [("kept", "u"), ("too", "u")]


def test_it_ends_with_the_transaction():
    for ends in (transaction.atomic, rolled_back):
        with event_context(userid="u"), ends(using=DB):
            save("with")
        assert held() == ""
    save("without")
    with transaction.atomic(using=DB):
        save("without")
    assert who() == [("with", "u"), ("without", None), ("without", None)]


def test_where_the_site_ends_its_transactions_itself():
    transaction.set_autocommit(False, using=DB)
    try:
        with event_context(userid="u"):
            save("one")
            transaction.commit(using=DB)
            save("two")
            transaction.commit(using=DB)
    finally:
        transaction.set_autocommit(True, using=DB)
    assert who() == [("one", "u"), ("two", "u")]


@pytest.fixture
def adding():
    """A receiver that adds what `adding.answer` is to what triggers are told."""
    given = SimpleNamespace(answer=None)

    def receiver(**_):
        return given.answer

    context_telling.connect(receiver)
    yield given
    context_telling.disconnect(receiver)


def test_a_receiver_adds_to_what_they_are_told(adding):
    adding.answer = {"userid": "added"}
    with heard(context_telling) as asked, event_context(requestid="r"):
        save()
    assert who() == [("a", "added")]
    assert body_of(records(DB)[0])["requestid"] == "r"
    assert {one["database"] for one in asked} == {DB}
    assert dict(asked[0]["context"]) == {"requestid": "r"}


@pytest.mark.parametrize("answer", [{"time": "x"}, {"huge": "x" * 3000}, "text"])
def test_what_a_receiver_cannot_add_breaks_no_write(adding, answer):
    adding.answer = answer
    with event_context(userid="u"):
        save()
    save("b")
    assert who() == [("a", "u"), ("b", None)]


def test_async_code_has_its_own():
    async def work():
        with event_context(userid="u"):
            await TriggerPlace.objects.using(DB).acreate(name="a")

    async_to_sync(work)()
    assert who() == [("a", "u")]


def test_other_programs_may_set_it():
    run(
        "BEGIN; SELECT set_config('kinesis_bridge.context', ' {\"userid\": \"cron\"} ', true);"
        " INSERT INTO triggerapp_triggerplace (name) VALUES ('a'); COMMIT"
    )
    assert who() == [("a", "cron")]


def test_other_databases_are_let_alone():
    assert default_connection.vendor == "sqlite"
    with event_context(userid="u"), CaptureQueriesContext(default_connection) as queries:
        Place(name="a").save(using="default")
    assert not [query for query in queries if "set_config" in query["sql"]]


@pytest.mark.skipif(bool(PgBouncer.missing()), reason=PgBouncer.missing())
def test_behind_a_pooler_nobody_has_the_context_of_another():
    """One connection to the server for two clients, which take it in turns."""
    server = SimpleNamespace(port=connections[DB].settings_dict["PORT"])
    with PgBouncer(server, default_pool_size=1) as pooler:
        aliases = ("pooled_1", "pooled_2")
        for alias in aliases:
            connections[alias] = connections[DB].copy(alias=alias)
            connections[alias].settings_dict |= {"HOST": HOST, "PORT": pooler.port}
        first, second = aliases
        try:
            for number in range(5):
                with event_context(userid="u"):
                    save(f"with-{number}", first)
                save(f"without-{number}", second)
                with event_context(userid="v"), transaction.atomic(using=second):
                    save(f"atomic-{number}", second)
                save(f"without-{number}", first)
        finally:
            for alias in aliases:
                connections[alias].close()
                del connections[alias]
    users = {"with": "u", "atomic": "v", "without": None}
    found = who()
    assert len(found) == 20
    assert all(users[name.partition("-")[0]] == user for name, user in found)
