"""Starts the processes, watches them, throws the switches, and ends them all."""

import os
import re
import secrets
import signal
import subprocess  # nosec B404
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Self

from demo_project.live import control, told

from .child import ROOT, Child
from .environment import WRONG_EXTERNAL_ID, environment
from .gate import Gate
from .switchboard import Switchboard

SWITCHES = ("down", "throttled", "external-id", "kill", "repair")
"""What the site may ask for."""
_LOOK_SECONDS = 0.1
_LAST_ERROR = re.compile(r"^[\w.]+(?:Error|Exception|Configured): ", re.MULTILINE)
"""Where a traceback comes to the point: ``django.db.utils.OperationalError: ``."""
_Relay = Literal["works", "external-id", "kill"]


class LiveError(Exception):
    """The demo cannot start, or a part of it has ended; all of it is ended then."""


class Supervisor:
    """The demo as it runs. A context manager: at its end no process and no port is left."""

    def __init__(self, say: Callable[[str], object], database: str | None, port: int) -> None:
        """`say` prints a line. `database`: a DATABASE_URL; None: a SQLite file of its own.

        `port`: of the site; 0 takes a free one.
        """
        self._say = say
        self._database, self._port = database, port
        self._all = ExitStack()
        self._lock = threading.RLock()
        self._env: dict[str, str] = {}
        self._lifeline = -1
        self._watched: list[Child] = []
        self._relay: Child | None = None
        self._relay_is: _Relay = "works"
        self._trouble: dict[str, Any] | None = None
        self._gate: Gate
        self.url = self.admin_url = ""
        """Of the page, and of the admin's."""
        self.password = "" if database else secrets.token_urlsafe(6)
        """Of the admin's user ``demo``; none where the database is the user's own."""

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self._all)
            self._start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()

    def watch(self) -> None:
        """Return never; raise LiveError when a process has ended that nobody here has ended."""
        while True:
            with self._lock:
                for child in self._watched:
                    if child.code is not None:
                        raise LiveError(_ended(child))
                self._look_at_relay()
            time.sleep(_LOOK_SECONDS)

    def _start(self) -> None:
        self._lifeline, kept = os.pipe()  # `kept` is inherited by nobody: it goes with us
        for end in (self._lifeline, kept):
            self._all.callback(os.close, end)
        database = self._database or self._own_database()
        self._env = environment(database)
        self._migrate()
        emulator = self._child("emulator", "kinesis_local", "--port", "0", "--json")
        document = emulator.first()
        if document is None or "url" not in document:
            raise LiveError("The emulator did not start: see above.")
        self._gate = Gate(document["url"])
        self._all.callback(self._gate.close)
        self._env["KINESIS_LOCAL_AWS_URL"] = document["url"]
        board = Switchboard(self.state, self.throw)
        self._all.callback(board.close)
        at = {control.URL: board.url, control.TOKEN: board.token, control.PASSWORD: self.password}
        site = self._child("site", "live_site", "--port", str(self._port), env=at)
        document = site.first()
        if document is None:
            raise LiveError("The site did not start: see above.")
        self.url, self.admin_url = document["url"], document["admin"]
        self._all.callback(self._end_relay)  # first of all, so that it can finish its batch
        self._start_relay("works")
        self._watched = [emulator, site]

    def _own_database(self) -> str:
        folder = self._all.enter_context(tempfile.TemporaryDirectory(prefix="kinesis-live-"))
        # The write lock is taken at the start: a transaction that reads first may else have to fail
        # ("Transactions", Database notes, Django).
        return f"sqlite:///{folder}/live.sqlite3?transaction_mode=IMMEDIATE"

    def _migrate(self) -> None:
        command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
        done = subprocess.run(  # noqa: S603 - our own command  # nosec B603
            command,
            cwd=ROOT,
            env=self._env,
            stdin=self._lifeline,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as the others: a Ctrl-C is ours, who end it
            check=False,
        )
        if done.returncode:
            # Without the way to it through Django: what is wrong is the address, or the server.
            why = _LAST_ERROR.split(done.stderr)[-1].strip()
            raise LiveError(f"The database cannot be used. {why}")
        sys.stderr.write(done.stderr)

    def _child(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> Child:
        child = Child(name, *arguments, env={**self._env, **(env or {})}, stdin=self._lifeline)
        self._all.callback(child.end)
        return child

    # The relay, which may be killed and comes again

    def _start_relay(self, how: Literal["works", "external-id"]) -> None:
        env = {**self._env, "KINESIS_LOCAL_AWS_URL": self._gate.url, told.VARIABLE: "1"}
        if how == "external-id":
            env["KINESIS_EXTERNAL_ID"] = WRONG_EXTERNAL_ID
        self._relay_is, self._trouble, self._gate.session = how, None, None
        self._relay = relay = Child(
            "relay", "kinesis_relay", "--poll", "0.2", env=env, stdin=self._lifeline
        )

        def take(document: dict[str, Any]) -> None:
            if "trouble" in document and relay is self._relay:
                self._trouble = document["trouble"]

        relay.documents(take)

    def _end_relay(self) -> None:
        with self._lock:
            relay, self._relay = self._relay, None
        if relay is not None:
            relay.end()

    def _look_at_relay(self) -> None:
        """Take a relay that was killed for broken, by whomever; any other end is none of ours."""
        relay = self._relay
        if relay is None or relay.code is None:
            return
        if relay.code != -signal.SIGKILL:
            raise LiveError(_ended(relay))
        self._say(f"The relay (process {relay.pid}) was killed.")
        self._relay, self._relay_is = None, "kill"
        self._trouble, self._gate.session = None, None

    # The switches

    def state(self) -> dict[str, Any]:
        """Return what is broken, which relay runs, what it says, and its session in account B."""
        with self._lock:
            broken = [name for name in (self._gate.fault, self._relay_is) if name]
            return {
                "broken": [name for name in broken if name != "works"],
                "relay": self._relay.pid if self._relay else None,
                "trouble": self._trouble,
                "session": self._gate.session,
            }

    def throw(self, switch: str) -> dict[str, Any]:
        """Throw one of SWITCHES; raise KeyError where there is none of that name."""
        with self._lock, self._saying(switch):
            match switch:
                case "down" | "throttled":
                    self._gate.fault = switch
                case "external-id":
                    self._end_relay()
                    self._start_relay("external-id")
                case "kill":
                    if self._relay is not None:
                        self._relay.kill()
                        self._look_at_relay()
                case "repair":
                    self._gate.fault = None
                    if self._relay_is != "works":
                        self._end_relay()
                        self._start_relay("works")
                case _:
                    raise KeyError(switch)
            return self.state()

    @contextmanager
    def _saying(self, switch: str) -> Iterator[None]:
        yield
        if switch in _SAID:
            self._say(_SAID[switch])


# A relay that was killed is told of where it is seen, whoever killed it.
_SAID = {
    "down": "AWS is down: every request of the relay is answered with 503.",
    "throttled": "The stream is throttled: it takes one record in two seconds.",
    "external-id": f"The relay runs anew, with the ExternalId {WRONG_EXTERNAL_ID!r}.",
    "repair": "All is repaired.",
}


def _ended(child: Child) -> str:
    code = child.code or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"The {child.name} (process {child.pid}) ended {how}. All of the demo is ended with it."
