"""The database of a run: made for it, dropped after it, with what can befall it in between."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

KINDS = ("postgresql", "mysql", "sqlite")
_BUSY_SECONDS = 30
_NO_SUCH_THREAD = 1094  # MySQL: it has ended by itself
_UP_SECONDS = 10.0  # a server that restarts is back by then
_MYSQL = ("mysql://", "mysql2://", "mariadb://")


class DatabaseError(RuntimeError):
    """There is no such database to be had."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database that is there, empty."""

    kind: str
    url: str
    actions: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    """What can be done to it, by name; each returns when it is done."""


def config_of(url: str) -> dict[str, Any]:
    """Return Django's settings for a URL."""
    import environ

    if url.startswith(_MYSQL):
        from tests.support.databases import use_mysql_driver

        use_mysql_driver()
        url = "mysql" + url[url.index("://") :]
    config: dict[str, Any] = environ.Env.db_url_config(url)
    config["HOST"] = unquote(config.get("HOST") or "")  # the folder of a Unix socket
    options = config.setdefault("OPTIONS", {})
    match config["ENGINE"].rpartition(".")[2]:
        case "sqlite3":
            # Writers queue for the write lock from the start: the order of a key is theirs.
            options |= {"transaction_mode": "IMMEDIATE", "timeout": _BUSY_SECONDS}
            options["init_command"] = "PRAGMA journal_mode=WAL"
        case "mysql":
            options |= {"connect_timeout": 5, "charset": "utf8mb4"}
        case _:
            # What is acknowledged must survive an immediate stop.
            options |= {"connect_timeout": 5, "options": "-c synchronous_commit=on"}
    return config


@contextmanager
def database(kind: str, url: str = "") -> Iterator[Database]:
    """Make an empty database of this kind: on the server of ``url``, else on one of our own."""
    match kind:
        case "sqlite":
            with _sqlite() as made:
                yield made
        case "mysql":
            url = url or os.environ.get("TEST_MYSQL_URL", "")
            if not url:
                raise DatabaseError("MySQL: say which server, by --url or TEST_MYSQL_URL")
            with _on_server(kind, url) as made:
                yield made
        case _:
            with _on_server(kind, url) if url else _own_postgresql() as made:
                yield made


@contextmanager
def _sqlite() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        yield Database(kind="sqlite", url=f"sqlite:///{Path(folder) / 'chaos.sqlite3'}")


@contextmanager
def _own_postgresql() -> Iterator[Database]:
    """Run a server that is ours alone: it may be restarted."""
    from tests.support.databases import Cluster

    if reason := Cluster.missing():
        raise DatabaseError(f"{reason} Or name a server by --url.")
    with Cluster() as cluster, _on_server("postgresql", cluster.url) as made:
        actions = {
            **made.actions,
            "restart database": lambda: cluster.restart("fast"),
            "crash database": lambda: cluster.restart("immediate"),
        }
        yield Database(kind=made.kind, url=made.url, actions=actions)


@contextmanager
def _on_server(kind: str, url: str) -> Iterator[Database]:
    """Make a database on a server that is not ours: only its own connections are dropped."""
    name = f"chaos_{os.getpid()}_{os.urandom(4).hex()}"
    made = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    administer = _administrator(url)
    quoted = f"`{name}`" if kind == "mysql" else f'"{name}"'
    administer(lambda cursor: cursor.execute(f"CREATE DATABASE {quoted}"))
    drop = _kill_connections if kind == "mysql" else _terminate_backends

    def drop_connections() -> None:
        administer(lambda cursor: drop(cursor, name))

    try:
        yield Database(kind=kind, url=made, actions={"drop connections": drop_connections})
    finally:
        drop_connections()
        administer(lambda cursor: cursor.execute(f"DROP DATABASE IF EXISTS {quoted}"))


def _administrator(url: str) -> Callable[[Callable[[Any], None]], None]:
    """Return what runs a function with a cursor on the server itself, each time anew.

    While the server does not let us in it tries again: it may just be starting.
    """
    from tests.support.databases import connect

    def connected() -> Any:
        deadline = time.monotonic() + _UP_SECONDS
        while True:
            try:
                return connect(url)
            except Exception as error:  # each driver has its own
                if time.monotonic() > deadline:
                    raise DatabaseError(f"the server does not let us in: {error}") from error
                time.sleep(0.2)

    def administer(work: Callable[[Any], None]) -> None:
        with closing(connected()) as connection, closing(connection.cursor()) as cursor:
            work(cursor)

    return administer


def _terminate_backends(cursor: Any, name: str) -> None:
    cursor.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = %s AND pid <> pg_backend_pid()",
        [name],
    )


def _kill_connections(cursor: Any, name: str) -> None:
    cursor.execute(
        "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()",
        [name],
    )
    for (thread,) in cursor.fetchall():
        try:
            cursor.execute(f"KILL {int(thread)}")
        except Exception as error:  # each driver has its own
            if error.args[:1] != (_NO_SUCH_THREAD,):
                raise
