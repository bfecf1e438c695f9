"""``kinesis_snapshot`` in whole processes, which are killed and stopped."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import closing, contextmanager, suppress

import pytest

from tests.support.aws import ROOT, environment
from tests.support.databases import Cluster, connect
from tests.support.servers import wait_for

ROWS = 2000
IDS = list(range(1, ROWS + 1))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The environment of the demo shop, on a PostgreSQL with customers nobody was told of."""
    if reason := Cluster.missing():
        pytest.skip(reason)
    with Cluster() as cluster:
        url = cluster.create_database("shop")
        folder = tmp_path_factory.mktemp("shop")
        env = environment(folder, DATABASE_URL=url, KINESIS_DELIVERY="outbox")
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=env, check=True)
        with closing(connect(url)) as connection:
            connection.execute(
                "INSERT INTO shop_customer (id, name, email)"
                " SELECT n, 'c' || n, n || '@example.com' FROM generate_series(1, %s) n",
                [ROWS],
            )
        yield env


@pytest.fixture
def ask(shop):
    """Ask the database; it has no events and no runs at first."""
    with closing(connect(shop["DATABASE_URL"])) as connection:
        connection.execute("TRUNCATE kinesis_bridge_outboxrecord, kinesis_bridge_snapshotrun")

        def ask(query):
            return [value for (value,) in connection.execute(query).fetchall()]

        yield ask


def published(ask):
    """The customers whose events wait, in the order of the outbox."""
    return ask("SELECT partition_key::int FROM kinesis_bridge_outboxrecord ORDER BY id")


def count(ask):
    return ask("SELECT count(*) FROM kinesis_bridge_outboxrecord")[0]


@contextmanager
def process(env, *arguments, **options):
    """A snapshot of the customers in a process; killed at the end, if it still runs."""
    command = [sys.executable, "manage.py", "kinesis_snapshot", *arguments]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(command, cwd=ROOT, env=env, **given) as child:
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                child.kill()


def finished(env, *arguments):
    with process(env, *arguments, "--json") as child:
        out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    return json.loads(out)


SLOWLY = ["shop.Customer", "--batch", "20", "--rate", "400"]


def test_what_is_killed_goes_on_where_it_was_and_publishes_no_row_twice(shop, ask):
    for killed in (1, 2):
        before = count(ask)
        with process(shop, *SLOWLY) as child:
            assert wait_for(lambda before=before: count(ask) > before)
            child.kill()
            child.wait(10)
        assert before < count(ask) < ROWS, killed
    answer = finished(shop, "shop.Customer")

    assert published(ask) == IDS
    assert (answer["resumed"], answer["state"], answer["rows"]) == (True, "finished", ROWS)
    assert 0 < answer["rows_now"] < ROWS
    assert len(ask("SELECT DISTINCT event_id FROM kinesis_bridge_outboxrecord")) == ROWS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_chunk_and_says_how_to_go_on(shop, ask, number):
    with process(shop, *SLOWLY, "--json") as child:
        assert wait_for(lambda: count(ask) > 0)
        child.send_signal(number)
        out, errors = child.communicate(timeout=60)

    assert child.returncode == 128 + number
    answer = json.loads(out)
    assert answer["state"] == "unfinished"
    assert answer["rows"] == count(ask) < ROWS
    (resume,) = re.findall(r"manage\.py kinesis_snapshot (.*)", errors)
    assert errors.startswith(f"Stopped by {number.name}.")
    assert finished(shop, *resume.split())["state"] == "finished"
    assert published(ask) == IDS


def test_several_processes_share_the_work(shop, ask):
    with (
        process(shop, "shop.Customer", "--part", "1/2", "--json") as first,
        process(shop, "shop.Customer", "--part", "2/2", "--json") as second,
    ):
        answers = [json.loads(one.communicate(timeout=60)[0]) for one in (first, second)]
    assert [answer["rows"] for answer in answers] == [ROWS // 2, ROWS // 2]
    assert sorted(published(ask)) == IDS


def test_a_terminal_shows_a_bar_and_how_it_ended(shop, ask):
    leader, follower = pty.openpty()
    with process({**shop, "TERM": "xterm"}, "shop.Customer", stderr=follower) as child:
        os.close(follower)
        shown = b""
        with suppress(OSError):  # the other end is closed
            while more := os.read(leader, 4096):
                shown += more
        out, _ = child.communicate(timeout=60)
        os.close(leader)
    assert f"{ROWS}/{ROWS}" in shown.decode()
    assert f"finished. {ROWS:,} rows published" in out
    assert count(ask) == ROWS
