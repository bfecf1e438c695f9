"""A server that a test or a benchmark starts for itself, and that does not outlive it."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

HOST = "127.0.0.1"
# Below the ports that a system gives to its own outgoing connections: while a server is down, a
# client that knocks at such a port could be given that very port, and meet itself.
PORTS = range(20000, 32000)
SECONDS = 60  # for what takes a moment on a machine that has time
# Waits for the end of its standard input, which is the end of the process that started it.
WATCH = """
cat >/dev/null
read -r pid <"$1" && kill -s "$2" "$pid"
for wait in 1 2 3 4 5; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
rm -rf "$3"
"""


class Unavailable(RuntimeError):
    """The programs that a server needs are not on this machine; says which, and what to do."""


class Server:
    """A server of our own: a folder, a port, a process, and an end.

    Subclasses say what is :meth:`missing` for it, which files it needs first (:meth:`_prepare`),
    how it is started (:meth:`_command`) and when it serves (:meth:`_serves`).
    """

    def __init__(self, *, pid_file, signals):
        self._pid_file = pid_file
        self._signals = signals  # by the way to stop; the last one is the quickest
        self._resources = None
        self._process = None
        self.folder = None
        self.port = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def log(self):
        """What the server has written so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self):
        """The server's process; None while it is stopped."""
        return self._process.pid if self._process else None

    @property
    def running(self):
        """Whether the process is there: started, and not killed since."""
        return self._process is not None and self._process.poll() is None

    def start(self):
        """Start, the first time with new files; after a stop it is on the same port again."""
        if self.folder is not None:
            self._launch()
            return
        if reason := self.missing():
            raise Unavailable(reason)
        self._open()
        try:
            self._prepare()
            self._launch()
        except BaseException:
            self.close()
            raise

    def stop(self, mode="fast"):
        """Stop, and wait until it is; what the modes are, the class says."""
        if self._process is not None:
            with self._process as process:
                process.send_signal(self._signals[mode])
            self._process = None

    def restart(self, mode="fast"):
        """Stop as :meth:`stop` does and start again; every connection is lost."""
        self.stop(mode)
        self.start()

    def close(self):
        """Stop at once, and remove the folder."""
        if self._resources is None:
            return
        with self._resources:
            self._resources = None
            self.stop(list(self._signals)[-1])
        self.folder = self.port = None

    def _open(self):
        """Make the folder; whatever happens to this process, folder and server will go."""
        folder = Path(tempfile.mkdtemp(prefix="test-server-"))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder)
            user = as_user()
            if user:
                os.chown(folder, user["user"], user["group"])
            last = list(self._signals.values())[-1]
            arguments = [folder / self._pid_file, last.name.removeprefix("SIG"), folder]
            watch = stack.enter_context(
                subprocess.Popen(
                    ["sh", "-c", WATCH, "sh", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,  # Ctrl-C in a terminal is not for it
                    **user,
                )
            )
            # Before its input ends: where all went well there is nothing left for it to do.
            stack.callback(watch.kill)
            self._resources = stack.pop_all()
        self.folder = folder

    def _launch(self):
        """Start the process, again for a while if what it needs is in use.

        That is the port, which another program may take between our look and the server's, or what
        the processes of a server that was killed still hold for a moment.
        """
        if self.running:
            raise RuntimeError(f"{type(self).__name__} is running already: stop it first.")
        self.stop()
        first = self.port is None
        end = time.monotonic() + SECONDS
        while True:
            if first:
                self.port = free_port()
            known = len(self.log)
            self._spawn()
            wait_for(lambda: self._serves() or not self.running, max(0, end - time.monotonic()))
            if self.running and self._serves():
                return
            late = self.running or time.monotonic() > end
            self.stop(list(self._signals)[-1])
            said = self.log[known:]
            if late or "in use" not in said:
                raise RuntimeError(f"{type(self).__name__} did not start:\n{said}")
            time.sleep(0.1)

    def _spawn(self):
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_user(),
            )


def environment():
    """Nothing of the tester's own PGPORT, PGOPTIONS or locale."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def as_user():
    """What has subprocess run a program as nobody, if this is root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def free_port():
    """A port of 127.0.0.1 on which nothing listens just now."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"A hundred ports of {HOST} between 20000 and 32000 are taken.")


def listens(port):
    """Whether somebody answers at the port."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def wait_for(condition, seconds=SECONDS):
    """Whether `condition` came true within `seconds`."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met
