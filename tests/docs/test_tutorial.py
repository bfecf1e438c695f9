"""The tutorial, walked in an empty folder: its files written, its commands run, to the event."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks, commands
from tests.docs.commands import same
from tests.support.aws import closed_port
from tests.support.distribution import build

BLOCKS = blocks(ROOT / "docs" / "tutorial.md")
SITE = BLOCKS[: [block.mark for block in BLOCKS].index("terminal")]
"""What makes the project, and its tables."""
COPY = "~/kinesis_bridge"
"""Where the tutorial has the copy of the repository."""
INSTALLING = re.compile(r"^(export CHECKOUT=|python3 -m venv |pip install ).*\n", re.MULTILINE)
ORDER = "from shop.models import Order; Order.objects.create(customer='ada')"
SECONDS = 300  # for what takes the longest: to install


class Walk:
    """A reader in a folder: what each block says is done there, and returned is what it prints."""

    def __init__(self, folder: Path, wheel: Path | None) -> None:
        """`wheel`: is installed as the tutorial says; None: the package is this environment's."""
        self.folder, self.wheel = folder, wheel
        self.port = closed_port()
        self.started: dict[str, subprocess.Popen[str]] = {}
        left_out = ("AWS_", "KINESIS_", "DJANGO", "PYTHONPATH", "VIRTUAL_ENV")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        path = f"{folder}/.venv/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = {
            **kept,
            "PATH": path,  # activated once and for all
            "KINESIS_LOCAL_AWS_URL": f"http://127.0.0.1:{self.port}",
            "PIP_RETRIES": "1",
            "PIP_DEFAULT_TIMEOUT": "10",
            **({} if wheel else {"PYTHONPATH": str(ROOT)}),
        }

    def do(self, block):
        """Return what it prints, if it ends."""
        if block.mark == "file":
            path = self.folder / block.word
            before = path.read_text() if block.word.endswith("settings.py") else ""
            path.write_text(before + block.text)
            return ""
        if block.mark == "terminal":
            self.start(block.text, block.word)
            return ""
        if block.mark == "ended":
            self.end(block.word)
        if "\n$ " not in f"\n{block.text}":
            return self.sh(block.text)
        printed = ""
        for command, shown in commands(block):
            out = self.sh(command)
            same(shown, out)
            printed += out
        return printed

    def start(self, text, first):
        """Start it in a terminal of its own; it says `first` once it is up."""
        process = subprocess.Popen(
            f"exec {self.here(text)}", shell=True, cwd=self.folder, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started[text.split()[-1]] = process
        assert select.select([process.stdout], [], [], SECONDS)[0], f"{text} says nothing"
        assert first in process.stdout.readline()

    def end(self, name):
        """Press Ctrl-C there."""
        process = self.started.pop(name)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out

    def sh(self, text):
        done = subprocess.run(
            ["sh", "-ec", self.here(text)], cwd=self.folder, env=self.env, capture_output=True,
            text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        said = f"{text}\n{done.stdout}{done.stderr}"
        if "pip install" in text and done.returncode and "Retrying (" in said:
            pytest.skip("The package index cannot be reached: nothing can be installed from it.")
        assert done.returncode == 0, said
        return done.stdout

    def here(self, text):
        """Return the commands as they are here: another port, another copy."""
        text = text.replace("kinesis_local", f"kinesis_local --port {self.port}")
        if self.wheel is None:
            return INSTALLING.sub("", text)
        return text.replace(COPY, str(self.wheel))

    def tail(self, customers):
        """Return what ``kinesis_tail`` prints once these are in it; the relay has its own pace."""
        end = time.monotonic() + 20
        while True:
            printed = self.sh("python manage.py kinesis_tail")
            if sorted(re.findall(r'"customer":"(\w+)"', printed)) == sorted(customers):
                return printed
            assert time.monotonic() < end, (customers, printed)


@pytest.fixture(params=["this environment", "the wheel, as the tutorial installs it"])
def walk(request, tmp_path):
    wheel = None
    if request.param.startswith("the wheel"):
        wheel = build(tmp_path / "dist", "--wheel")
    folder = tmp_path / "empty"
    folder.mkdir()
    walking = Walk(folder, wheel)
    yield walking
    for process in reversed(walking.started.values()):
        process.terminate()
        process.communicate(timeout=60)


def test_the_tutorial_ends_with_the_events_of_what_was_committed(walk):
    steps = [block for block in BLOCKS if block.mark != "shown"]
    assert [block.mark for block in steps].count("terminal") == 3
    committed = []
    printed = ""
    for block in steps:
        walk.do(block)
        if "set_rollback" not in block.text:
            committed += re.findall(r"customer='(\w+)'", block.text)
        if "kinesis_tail" in block.text:
            printed = walk.tail(committed)

    assert committed == ["ada", "cy"]
    assert re.search(
        r'^shardId-\d+ ada \{"specversion":"1.0",.*"customer":"ada"', printed, re.MULTILINE
    )
    if walk.wheel:
        where = walk.sh("python -c 'import kinesis_bridge; print(kinesis_bridge.__file__)'")
        assert Path(where).is_relative_to(walk.folder / ".venv")


@pytest.fixture
def site(tmp_path):
    """The tutorial's project, and a reader who goes on from there."""
    walking = Walk(tmp_path, None)
    for block in SITE:
        walking.do(block)
    return walking


def files(page):
    return [block for block in blocks(ROOT / "docs" / page) if block.mark == "file"]


def test_the_test_of_the_whole_way_runs_in_it(site):
    (file,) = files("testing.md")
    site.do(file)
    (run,) = [block for block in blocks(ROOT / "docs" / "testing.md") if block.mark == "elsewhere"]
    site.do(run)
    broken = file.text.replace('customer="ada"', 'customer="bob"')
    (site.folder / file.word).write_text(broken)
    with pytest.raises(AssertionError, match="'ada' not found in"):
        site.do(run)


def test_the_serializer_and_the_delivery_work_in_it(site):
    for block in files("extending.md"):
        site.do(block)
    assert site.sh("python manage.py check")
    site.sh(f'python manage.py shell -c "{ORDER}"')
    (event,) = map(json.loads, (site.folder / "events.jsonl").read_text().splitlines())
    assert event.pop("event_id")
    assert event == {
        "id": 1, "customer": "ada", "status": "new", "event_type": "shop.order.created",
    }  # fmt: skip
