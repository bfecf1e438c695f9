"""The servers that tests and benchmarks start for themselves, and what can be done to them."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.support.aws import ROOT, closed_port
from tests.support.databases import (
    Cluster,
    PgBouncer,
    answers,
    connect,
    postgres_programs,
    runnable,
)
from tests.support.servers import Unavailable, as_user, wait_for

needs_pgbouncer = pytest.mark.skipif(bool(PgBouncer.missing()), reason=PgBouncer.missing())
OWNER = """
import sys
from tests.support.databases import Cluster
cluster = Cluster()
cluster.start()
print(cluster.url, cluster.folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as running:
        yield running


@pytest.fixture
def orders(cluster):
    """The URL of a database with an empty table of orders."""
    url = cluster.create_database("orders")
    with closing(connect(url)) as connection:
        connection.execute("CREATE TABLE orders (number integer)")
    yield url
    cluster.drop_database("orders")


def backend(connection):
    return connection.execute("SELECT pg_backend_pid()").fetchone()[0]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_what_was_committed_and_ends_every_session(cluster, orders, mode):
    before, url = cluster.pid, cluster.url
    with closing(connect(orders)) as connection:
        connection.execute("INSERT INTO orders VALUES (1)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO orders VALUES (2)")

        cluster.restart(mode)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("COMMIT")
    with closing(connect(orders)) as connection:
        assert connection.execute("SELECT number FROM orders").fetchall() == [(1,)]
    assert cluster.url == url
    assert cluster.pid != before


def test_a_stopped_cluster_answers_again_once_started(cluster):
    cluster.stop()
    stopped = answers(cluster.url)
    cluster.start()

    assert not stopped
    assert answers(cluster.url)


def test_a_killed_cluster_starts_again(cluster, orders):
    with closing(connect(orders)) as connection:
        connection.execute("INSERT INTO orders VALUES (1)")
    os.kill(cluster.pid, signal.SIGKILL)
    assert wait_for(lambda: not cluster.running)

    cluster.restart()

    with closing(connect(orders)) as connection:
        assert connection.execute("SELECT number FROM orders").fetchall() == [(1,)]


def test_dropped_connections_are_those_of_one_database(cluster, orders):
    with closing(connect(orders)) as dropped, closing(connect(cluster.url)) as kept:
        assert cluster.drop_connections("orders") == 1

        with pytest.raises(psycopg.OperationalError):
            dropped.execute("SELECT 1")
        assert kept.execute("SELECT 1").fetchone() == (1,)
    assert cluster.drop_connections("orders") == 0


def test_two_clusters_stand_side_by_side(cluster):
    with Cluster(max_connections=17) as second:
        assert second.port != cluster.port
        with closing(connect(second.url)) as connection:
            assert connection.execute("SHOW max_connections").fetchone() == ("17",)
        url, folder = second.url, second.folder

    assert not answers(url)
    assert not folder.exists()
    assert answers(cluster.url)


def test_a_cluster_goes_with_the_process_that_started_it():
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        url, folder = owner.stdout.readline().split()
        assert answers(url)
        owner.kill()

    assert wait_for(lambda: not Path(folder).exists(), seconds=10)
    assert not answers(url)


def test_settings_that_postgresql_refuses_are_told_and_leave_nothing_behind():
    cluster = Cluster(max_connections="many")

    with pytest.raises(RuntimeError, match='invalid value for parameter "max_connections"'):
        cluster.start()

    assert cluster.folder is None


def test_programs_in_a_folder_of_root_alone_are_copied(tmp_path):
    # As a wheel lies there; pytest keeps tmp_path for the user that runs it.
    package = postgres_programs().parents[1]
    for path in package.parent.glob(f"{package.name}*"):
        (tmp_path / path.name).symlink_to(path)
    programs = tmp_path / postgres_programs().relative_to(package.parent)
    with Cluster() as cluster:
        used = runnable(programs, cluster.folder)
        done = subprocess.run([used / "initdb", "-V"], cwd="/", check=False, **as_user())

        assert (used == programs) == (not as_user())
    assert done.returncode == 0


def test_without_the_wheel_the_reason_says_what_to_do(monkeypatch):
    monkeypatch.setattr("tests.support.databases.WHEEL", "no_such_wheel")
    monkeypatch.setenv("PATH", "")

    assert "TEST_POSTGRES_URL" in Cluster.missing()
    with pytest.raises(Unavailable, match="extra `test`"):
        Cluster().start()


@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_nobody_answers_where_nobody_listens(scheme):
    assert not answers(f"{scheme}://root@127.0.0.1:{closed_port()}/test")


@needs_pgbouncer
def test_pgbouncer_lends_a_session_for_a_transaction(cluster, orders):
    with PgBouncer(cluster, default_pool_size=1) as pooler:
        url = pooler.url_of("orders")
        with closing(connect(url)) as one, closing(connect(url)) as two:
            assert backend(one) == backend(two)
        folder = pooler.folder

    assert not folder.exists()


@needs_pgbouncer
def test_pgbouncer_finds_a_cluster_that_is_back(cluster, orders):
    with PgBouncer(cluster) as pooler:
        url = pooler.url_of("orders")
        with closing(connect(url)) as connection:
            before = backend(connection)
        cluster.restart("immediate")
        pooler.restart()
        with closing(connect(url)) as connection:
            assert backend(connection) != before
