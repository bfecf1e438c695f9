"""The databases that tests are given: each on its own kind, made for this run alone."""

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from threading import Thread

import environ
import pytest
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from kinesis_bridge.models import OutboxRecord
from tests.support.aws import ROOT
from tests.support.databases import Cluster, connect, database_url
from tests.testapp.models import Owner

VENDORS = {"default": "sqlite", "postgres": "postgresql", "mysql": "mysql"}
# Another run, as far as its databases: makes them, says their names, and removes them when told.
RUN = """
import sys
import django
django.setup()
from django.db import connections
from django.test.utils import setup_databases, teardown_databases
made = setup_databases(verbosity=0, interactive=False, aliases={"postgres"}, serialized_aliases=[])
print(connections["postgres"].settings_dict["NAME"], flush=True)
sys.stdin.read()
teardown_databases(made, verbosity=0)
"""


@pytest.mark.django_db(transaction=True, databases=["default", "other", "postgres", "mysql"])
def test_a_test_has_the_kind_it_runs_on_and_no_other_server(request, database):
    Owner.objects.using(database).create(name="Zoë")

    assert connections[database].vendor == VENDORS[database]
    used = request.node.get_closest_marker("django_db").kwargs["databases"]
    assert set(used) == {"default", "other", database}
    assert OutboxRecord.objects.using(database).count() == 0


@pytest.mark.django_db(transaction=True)
def test_the_mark_need_not_name_the_server(database):
    # Empty again, too: what the test before wrote is gone.
    assert not Owner.objects.using(database).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_one_kind_alone(database):
    assert connections[database].vendor == "postgresql"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("database", ["postgres", "mysql"], indirect=True)
def test_another_process_finds_the_database_by_its_url(database):
    Owner.objects.using(database).create(name="Zoë")

    with closing(connect(database_url(connections[database].settings_dict))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT name FROM testapp_owner")
        assert cursor.fetchall() in ([("Zoë",)], (("Zoë",),))


@pytest.mark.django_db(databases=["postgres"])
def test_postgresql_is_the_one_named_or_one_of_this_run():
    named = os.environ.get("TEST_POSTGRES_URL")
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT current_setting('port'), current_setting('data_directory')")
        port, directory = cursor.fetchone()

    if named:
        assert int(port) == environ.Env.db_url_config(named)["PORT"]
    else:
        assert directory.startswith(f"{tempfile.gettempdir()}/test-server-")


def test_two_runs_on_one_server_have_a_database_each():
    with Cluster() as cluster:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TEST_POSTGRES_URL": cluster.url,
        }
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", RUN],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        names = {run.stdout.readline().strip() for run in runs}
        there = databases_in(cluster)
        for run in runs:
            run.communicate(timeout=60)

        assert len(names) == 2
        assert there == names | {"postgres"}
        assert all(name.startswith("test_") for name in names)
        assert [run.returncode for run in runs] == [0, 0]
        assert databases_in(cluster) == {"postgres"}


def databases_in(cluster):
    with closing(connect(cluster.url)) as connection:
        query = "SELECT datname FROM pg_database WHERE NOT datistemplate"
        return {name for (name,) in connection.execute(query)}


def test_an_sqlite_file_has_every_migration_and_is_shared_by_threads(sqlite_file):
    applied = MigrationRecorder(connections[sqlite_file]).applied_migrations()

    def write():
        with closing(connections[sqlite_file]):
            Owner.objects.using(sqlite_file).create(name="of the thread")

    thread = Thread(target=write)
    thread.start()
    thread.join()
    assert ("kinesis_bridge", "0001_initial") in applied
    assert [owner.name for owner in Owner.objects.using(sqlite_file)] == ["of the thread"]


@pytest.mark.django_db(transaction=True)
def test_an_sqlite_file_is_new_for_each_test_and_stands_beside_the_others(sqlite_file):
    Owner.objects.using(sqlite_file).create(name="in the file")

    assert Owner.objects.using(sqlite_file).count() == 1
    assert not Owner.objects.exists()
    url = database_url(connections[sqlite_file].settings_dict)
    assert Path(environ.Env.db_url_config(url)["NAME"]).is_file()


def test_an_sqlite_file_is_forgotten_after_its_test():
    assert "sqlite_file" not in connections.settings
    assert "migrated_file" not in connections.settings
