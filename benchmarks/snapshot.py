"""How fast a snapshot fills the outbox, and in how much memory: ``python -m benchmarks.snapshot``.

A table of its own PostgreSQL server, ``kinesis_snapshot`` in a process of its own; beside it, if
asked for, writers that update random rows all the while.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from random import Random

from benchmarks.tables import machine, number, table
from tests.support.databases import Cluster, connect

MODEL = "app.Declared"
RSS = """
import json, resource, sys
from django.core.management import execute_from_command_line
try:
    execute_from_command_line(["manage.py", *sys.argv[1:]])
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mb": peak}), file=sys.stderr)
"""


def main() -> None:
    """Start PostgreSQL; measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with Cluster(fsync="on", full_page_writes="on") as cluster:
        url = cluster.create_database("bench")
        os.environ.update(DJANGO_SETTINGS_MODULE="benchmarks.outbox.settings", DATABASE_URL=url)
        _python("-m", "django", "migrate", "--run-syncdb", "--verbosity", "0")
        print(machine(), flush=True)
        head = ("rows", "way", "seconds", "rows/s", "peak MB")
        lines = []
        for rows, way, arguments in (
            (options.rows // 10, "one process", ()),
            (options.rows, "one process", ()),
            (options.rows, "one process, 1 writer", ()),
            (options.rows, "`--part 1/2` and `2/2`", ("2",)),
        ):
            _fill(url, rows)
            parts = int(arguments[0]) if arguments else 1
            with _Writer(url, rows, wanted="writer" in way):
                seconds, peak = _measure(parts, rows)
            lines.append(
                (number(rows), way, number(seconds, 1), number(rows / seconds), number(peak))
            )
        print(table(head, lines, left=2))


def _fill(url: str, rows: int) -> None:
    with closing(connect(url)) as connection:
        connection.execute("TRUNCATE kinesis_bridge_outboxrecord, app_declared RESTART IDENTITY")
        connection.execute(
            "INSERT INTO app_declared (customer, status, total, note)"
            " SELECT n %% 10000, 'new', n %% 1000, repeat('x', 60) FROM generate_series(1, %s) n",
            [rows],
        )
        connection.execute("VACUUM ANALYZE app_declared")


def _measure(parts: int, rows: int) -> tuple[float, float]:
    """Return the seconds of the longest part, and the most memory of any."""
    command = [sys.executable, "-c", RSS, "kinesis_snapshot", MODEL, "--json", "--max-backlog", "0"]
    runs = [
        subprocess.Popen(
            [*command, "--part", f"{part}/{parts}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for part in range(1, parts + 1)
    ]
    answers = [run.communicate() for run in runs]
    if any(run.returncode for run in runs):
        sys.exit("\n".join(errors.decode() for _, errors in answers))
    told = [json.loads(out) for out, _ in answers]
    if sum(one["rows"] for one in told) != rows:
        sys.exit(f"not all of {rows} rows were published: {told}")
    peaks = [json.loads(errors.splitlines()[-1])["peak_mb"] for _, errors in answers]
    return max(one["seconds"] for one in told), max(peaks)


class _Writer:
    """Updates random rows in autocommit, in a thread, until the block ends."""

    def __init__(self, url: str, rows: int, *, wanted: bool) -> None:
        self._url = url
        self._rows = rows
        self._wanted = wanted
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        random = Random(7)
        with closing(connect(self._url)) as connection:
            while self._wanted and not self._end.is_set():
                key = random.randint(1, self._rows)
                connection.execute("UPDATE app_declared SET total = total + 1 WHERE id = %s", [key])
                time.sleep(0.005)


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    main()
