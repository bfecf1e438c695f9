"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from django.core.management import call_command
from django.db import connections

from kinesis_bridge import conf
from tests.support.databases import HOST, Cluster
from tests.support.sqlite import sqlite_alias

SERVERS = {"postgres": "TEST_POSTGRES_URL", "mysql": "TEST_MYSQL_URL"}


def pytest_configure():
    """Let Ctrl-C reach what the tests start, also in a background job of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Have each test make, open and empty the databases that it uses, and no other."""
    reasons = {alias: reason for alias in SERVERS if (reason := missing(alias))}
    for item in items:
        aliases = databases_of(item)
        for alias in aliases & reasons.keys():
            item.add_marker(pytest.mark.skip(reason=reasons[alias]))
        if aliases & SERVERS.keys() or "database" in item.fixturenames:
            given = item.get_closest_marker("django_db").kwargs
            kept = {**given, "databases": sorted(aliases - reasons.keys())}
            item.add_marker(pytest.mark.django_db(**kept), append=False)


def missing(alias):
    """Why there is no such server for the tests; empty if there is."""
    variable = SERVERS[alias]
    if os.environ.get(variable):
        return ""
    if alias == "postgres":
        return Cluster.missing()
    return f"{variable} names no server: set it, as in {variable}=mysql://root@{HOST}:3306/mysql"


def databases_of(item):
    """The aliases of the databases that the test uses, by its mark and by its `database`."""
    marker = item.get_closest_marker("django_db")
    if marker is None:
        return set()
    named = marker.kwargs.get("databases") or ["default"]
    aliases = set(connections if named == "__all__" else named)
    if "database" in item.fixturenames:
        return aliases - SERVERS.keys() | {item.callspec.params["database"]}
    return aliases


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request, django_db_modify_db_settings_parallel_suffix):
    """Start PostgreSQL if a test asks for it, unless there is one that was named."""
    wanted = any("postgres" in databases_of(item) for item in request.session.items)
    if not wanted or os.environ.get(SERVERS["postgres"]):
        yield
        return
    with Cluster() as cluster:
        connections.settings["postgres"].update(HOST=HOST, PORT=cluster.port)
        yield


@pytest.fixture(
    params=[
        pytest.param("default", id="sqlite"),
        pytest.param("postgres", id="postgresql"),
        pytest.param("mysql", id="mysql"),
    ]
)
def database(request):
    """The alias of a database; the test runs once on each kind.

    To be used with ``@pytest.mark.django_db(transaction=True)``, whose ``databases`` may be left
    out: the test has ``default`` and the alias. Those that it names besides stay (``other``), but
    of ``postgres`` and ``mysql`` it has only its own, so that the other is not emptied after it.
    For one kind alone: ``@pytest.mark.parametrize("database", ["postgres"], indirect=True)``.
    ``mysql`` is skipped unless TEST_MYSQL_URL names a server. For a process of its own,
    :func:`tests.support.databases.database_url` tells the DATABASE_URL.
    """
    return request.param


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory, django_db_blocker):
    """An SQLite file as migrate leaves it, which others are copied from."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite3"
    with django_db_blocker.unblock(), sqlite_alias("migrated_file", path) as alias:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    return path


@pytest.fixture
def sqlite_file(request, migrated_file, tmp_path, django_db_blocker):
    """The alias of a new SQLite file with every table: threads and processes can share it.

    The test needs no ``django_db`` mark for it. A thread closes the connection that it opened.
    """
    if "_django_db_helper" in request.fixturenames:
        # Once it is set up, it lets alone the aliases that are new.
        request.getfixturevalue("_django_db_helper")
    path = tmp_path / "sqlite_file.sqlite3"
    shutil.copyfile(migrated_file, path)
    with django_db_blocker.unblock(), sqlite_alias("sqlite_file", path) as alias:
        yield alias


@pytest.fixture(autouse=True)
def no_aws_of_this_machine(monkeypatch):
    """Keep the tester's own AWS configuration out of the tests."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "KINESIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def fresh():
    """Start and end with nothing built: no session, no emulator, no client."""
    conf.reset()
    yield
    conf.reset()
