"""``make live``: no end leaves a process or a port behind. Its page: tests/browser."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from demo_project.live import lifeline
from tests.support.aws import ROOT, environment, start_manage
from tests.support.live import SECONDS, children, demo, mortal, needs_proc, ports, runs, start
from tests.support.servers import free_port, listens, wait_for


@pytest.fixture
def live(tmp_path):
    with demo(tmp_path) as running:
        yield running


def all_ports(live):
    found = {port for pid in (live.pid, *children(live.pid)) for port in ports(pid)}
    assert len(found) == 4  # the emulator, the gate before it, the site, the switches
    return found


def test_the_terminal_tells_how_to_see_it_as_an_operator_does(live):
    said = next(line for line in live.stdout if "operator" in line)
    url, password = re.search(r"(http\S+) \(user demo, password (\S+)\)", said).groups()
    browser = build_opener(HTTPCookieProcessor())

    form = browser.open(url, timeout=60)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.read().decode())[1]
    given = {"username": "demo", "password": password, "csrfmiddlewaretoken": token}
    page = browser.open(form.url, urlencode(given).encode(), timeout=60)

    assert page.url == url
    html = page.read().decode()
    assert "kb-stream" in html
    assert "arn:aws:iam::222222222222:role/EventWriter" in html


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_ends_all_that_it_started(live, how):
    started, held = children(live.pid), all_ports(live)
    assert len(started) == 3
    live.send_signal(how)
    out, err = live.communicate(timeout=SECONDS)
    assert "Ended: no process is left." in out
    assert live.returncode == 0, err
    assert not any(map(runs, started))
    assert not any(map(listens, held))


@pytest.mark.parametrize("name", ["kinesis_local", "live_site"])
def test_when_a_process_dies_all_of_it_ends(live, name):
    started, held = children(live.pid), all_ports(live)
    assert len(started) == 3
    [victim] = [one for one in started if name in Path(f"/proc/{one}/cmdline").read_text()]
    os.kill(victim, signal.SIGKILL)
    _, err = live.communicate(timeout=SECONDS)
    assert re.search(r"The (emulator|site) \(process \d+\) ended by SIGKILL", err)
    assert live.returncode == 1
    assert wait_for(lambda: not any(map(runs, started)))
    assert not any(map(listens, held))


def test_when_it_is_killed_its_processes_end_by_themselves(live):
    started, held = children(live.pid), all_ports(live)
    assert len(started) == 3
    with mortal(*started):
        live.kill()
        # In order, and not by their last resort.
        assert wait_for(lambda: not any(map(runs, started)), lifeline.END_SECONDS - 1)
        assert not any(map(listens, held))
    _, err = live.communicate(timeout=SECONDS)
    assert "Traceback" not in err


def commands(pid):
    """The processes that this one has started, by the command of ``manage.py``."""
    found = {}
    for child in children(pid):
        with suppress(OSError, IndexError):  # it is gone already, or has not begun
            found[Path(f"/proc/{child}/cmdline").read_text().split("\0")[2]] = child
    return found


@pytest.mark.parametrize("amid", ["migrate", "kinesis_local"])
def test_when_it_is_killed_while_it_starts_nothing_is_left_either(tmp_path, amid):
    needs_proc()
    starting = start(tmp_path)
    try:
        assert wait_for(lambda: amid in commands(starting.pid))
        started = children(starting.pid)
    finally:
        starting.kill()
    with mortal(*started):
        _, err = starting.communicate(timeout=SECONDS)
        assert wait_for(lambda: not any(map(runs, started)))
    assert err == ""  # nor did it fail at what it had to tell


def test_ctrl_c_while_it_starts_ends_it_without_a_word_of_failure(tmp_path):
    """A terminal gives it to the whole process group: to whatever of it is there."""
    needs_proc()
    starting = start(tmp_path)
    try:
        assert wait_for(lambda: "migrate" in commands(starting.pid))
        started = children(starting.pid)
        group = os.getpgid(starting.pid)
        for one in (starting.pid, *started):
            if os.getpgid(one) == group:
                os.kill(one, signal.SIGINT)
        out, err = starting.communicate(timeout=SECONDS)
    finally:
        starting.kill()
    assert "Ended: no process is left." in out
    assert err == ""
    assert wait_for(lambda: not any(map(runs, started)))  # killed: it may still be at its end


def test_what_a_process_of_it_starts_ends_too(tmp_path):
    """``runserver`` reloads by a process of its own."""
    needs_proc()
    reading, writing = os.pipe()
    port = free_port()
    env = environment(tmp_path, **{lifeline.VARIABLE: "1"})
    with os.fdopen(writing, "wb") as kept, os.fdopen(reading, "rb") as stdin:
        command = [sys.executable, "manage.py", "runserver", f"127.0.0.1:{port}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdin=stdin, **quiet) as site:
            try:
                assert wait_for(lambda: listens(port))
                [reloaded] = children(site.pid)
                assert ports(reloaded) == {port}
                with mortal(reloaded):
                    kept.close()
                    assert wait_for(lambda: site.poll() is not None and not runs(reloaded))
            finally:
                with suppress(ProcessLookupError):
                    site.kill()
    assert not listens(port)


def test_one_that_does_not_heed_it_is_killed():
    """Its main thread may be stuck, or ignore the signal."""
    stubborn = (
        "import signal, threading; from demo_project.live import lifeline;"
        " lifeline.END_SECONDS = 0.1; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " lifeline.hold(); print('up', flush=True); threading.Event().wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", stubborn],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout.readline() == b"up\n"
            process.stdin.close()
            assert process.wait(SECONDS) == -signal.SIGKILL
        finally:
            process.kill()


@pytest.mark.skipif(not shutil.which("make"), reason="No make on this machine.")
def test_another_projects_database_is_left_alone():
    """Its DATABASE_URL may be in the shell: only one that is given to make is meant."""
    show = "show: ; @echo [$$DATABASE_URL]"

    def make(*arguments):
        command = ["make", "--no-print-directory", *arguments]
        env = {**os.environ, "DATABASE_URL": "sqlite:///theirs"}
        return subprocess.check_output(command, cwd=ROOT, env=env, text=True)

    assert "--database" not in make("--dry-run", "live")
    assert '--database "sqlite:///mine"' in make("--dry-run", "live", "DATABASE_URL=sqlite:///mine")
    assert make("--eval", show, "show") == "[]\n"
    assert make("--eval", show, "show", "DATABASE_URL=sqlite:///mine") == "[sqlite:///mine]\n"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgres://nobody@127.0.0.1:{free_port()}/shop", "Connection refused"),
        ("sqlite:////nowhere/shop.sqlite3", "unable to open database file"),
        ("shop", "DATABASE_URL names no database. Examples: sqlite:////tmp/shop.sqlite3"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_without_a_traceback(tmp_path, url, why):
    env = environment(tmp_path)
    process = start_manage("live", "--port", "0", "--database", url, env=env)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert err.startswith("CommandError: The database cannot be used. ")
    assert why in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = start_manage("live", "--port", port, env=environment(tmp_path))
        _, err = refused.communicate(timeout=SECONDS)
    assert refused.returncode == 1
    assert f"Nothing can listen on 127.0.0.1:{port}" in err
    assert "The site did not start" in err
