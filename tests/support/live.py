"""``make live`` as it runs: its processes and their ports, as Linux tells them."""

import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .aws import environment, start_manage

SECONDS = 60  # for what takes a moment where nothing else runs


@contextmanager
def demo(tmp_path):
    """The supervisor's process, with the page's ``url``; ended with the block."""
    needs_proc()
    process = start(tmp_path)
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "Open http" in line:
                break
        assert "Open http" in said, process.communicate()
        process.url = said.split("Open ")[1].split()[0]
        yield process
    finally:
        process.terminate()
        process.communicate()


def start(tmp_path):
    # Its SQLite file is there too, which stays where it is killed.
    env = environment(tmp_path, TMPDIR=str(tmp_path))
    return start_manage("live", "--port", "0", env=env)


def needs_proc():
    if not Path("/proc/self/task").exists():
        pytest.skip("Linux only: the test finds the demo's processes in /proc.")


def children(pid):
    """The processes that this one has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def mortal(*pids):
    """Whatever the block finds, these processes do not outlive it."""
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ports(pid):
    """The ports of 127.0.0.1 on which this process listens."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(str(link.readlink()))
        except OSError:  # closed meanwhile
            continue
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {
        int(row[1].split(":")[1], 16)
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in held  # 0A: LISTEN
    }
