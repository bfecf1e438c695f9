"""DELIVERY "outbox" by the ways a site works: by hand, requests, async views, threads, tests."""

import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from kinesis_bridge import apublish, publish
from tests.support.capture import (
    inserts,
    names,
    queries_of,
    records,
    rows,
    save,
    statements,
    with_outbox,
)
from tests.testapp.models import Place
from tests.testapp.rollback import RolledBack, rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def outbox(settings):
    with_outbox(settings)


class TestManualTransactions:
    @pytest.fixture(autouse=True)
    def manual(self, database):
        transaction.set_autocommit(False, using=database)
        yield
        transaction.rollback(using=database)
        transaction.set_autocommit(True, using=database)

    def test_commit_writes_and_rollback_does_not(self, database):
        save(database, "a")
        publish("a.b", {"name": "by hand"}, using=database)
        transaction.commit(using=database)
        save(database, "gone")
        publish("a.b", {"name": "gone by hand"}, using=database)
        transaction.rollback(using=database)

        assert rows(database) == ["a"]
        assert names(database) == ["a", "by hand"]

    def test_the_order_is_that_of_the_calls(self, database):
        with transaction.atomic(using=database):
            save(database, "a")
            with rolled_back(using=database):
                save(database, "gone")
        publish("a.b", {"name": "b"}, using=database)
        save(database, "c")
        transaction.commit(using=database)

        assert names(database) == ["a", "b", "c"]

    # PostgreSQL's driver refuses it within a transaction.
    @pytest.mark.parametrize("database", ["default", "mysql"], indirect=True)
    def test_autocommit_turned_on_commits_the_event_with_its_row(self, database):
        save(database, "a")
        transaction.set_autocommit(True, using=database)

        assert connections[database].get_autocommit()
        assert names(database) == rows(database) == ["a"]


def work(request, alias):
    save(alias, "request")
    save("other", "request")
    if "fail" in request.GET:
        raise RolledBack
    return HttpResponse()


async def awork(request, alias):
    await Place(name="asave").asave(using=alias)
    await sync_to_async(save)(alias, "sync_to_async")
    await apublish("a.b", {"name": "apublish"}, using=alias)

    def block():
        with transaction.atomic(using=alias):
            save(alias, "block")
            publish("a.b", {"name": "by hand"}, using=alias)

    await sync_to_async(block)()
    return HttpResponse()


urlpatterns = [path("place/<alias>/", work), path("awork/<alias>/", awork)]


@pytest.mark.urls(__name__)
class TestRequests:
    @pytest.fixture
    def atomic_requests(self, database, monkeypatch):
        for alias in (database, "other"):
            monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_each_database_has_its_own_events(self, database, atomic_requests):
        with queries_of(database) as queries:
            assert Client().get(f"/place/{database}/").status_code == 200
        assert inserts(queries) == [len(statements(queries)) - 2]
        with pytest.raises(RolledBack):
            Client().get(f"/place/{database}/?fail")

        for alias in (database, "other"):
            assert names(alias) == rows(alias) == ["request"]

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_one_of_two_databases_is_rolled_back(self, database):
        with transaction.atomic(using=database):
            save(database, "a")
            with rolled_back(using="other"):
                save("other", "gone")
                save(database, "b")

        assert names(database) == rows(database) == ["a", "b"]
        assert records("other") == []
        assert rows("other") == []

    def test_an_async_view(self, database):
        response = async_to_sync(AsyncClient().get)(f"/awork/{database}/")

        assert response.status_code == 200
        assert names(database) == ["asave", "sync_to_async", "apublish", "block", "by hand"]
        assert rows(database) == ["asave", "sync_to_async", "block"]


def test_threads_have_each_their_own_connection(database, request):
    # SQLite in memory is one for all threads: a file, as on a site.
    using = request.getfixturevalue("sqlite_file") if database == "default" else database
    errors = []
    together = threading.Barrier(4)

    def target(number):
        try:
            together.wait(10)
            for turn in range(3):
                with transaction.atomic(using=using):
                    save(using, f"{number} {turn} a")
                    with rolled_back(using=using):
                        save(using, "gone")
                    save(using, f"{number} {turn} b")
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            errors.append(error)
        finally:
            connections[using].close()

    threads = [threading.Thread(target=target, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    found = names(using)
    assert sorted(found) == sorted(rows(using))
    for number in range(4):
        expected = [f"{number} {turn} {part}" for turn in range(3) for part in "ab"]
        assert [name for name in found if name.startswith(f"{number} ")] == expected


class TestInATestCase:
    """Nothing commits there: ``captureOnCommitCallbacks(execute=True)`` stands for it."""

    @pytest.mark.django_db
    def test_captured_callbacks_write_the_rows(self, database, django_capture_on_commit_callbacks):
        calls = []
        with django_capture_on_commit_callbacks(using=database, execute=True):
            with transaction.atomic(using=database):
                save(database, "a")
                transaction.on_commit(lambda: calls.append(names(database)), using=database)
                with rolled_back(using=database):
                    save(database, "gone")
                save(database, "b")
            assert records(database) == []

        assert names(database) == ["a", "b"]
        assert calls == [["a"]]

    @pytest.mark.django_db
    def test_without_them_there_are_none(self, database):
        save(database, "a")

        assert rows(database) == ["a"]
        assert records(database) == []
