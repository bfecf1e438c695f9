"""Commands of console blocks: ours are run, others are held against what is known of them."""

from __future__ import annotations

import io
import os
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

from django.core.management import call_command, get_commands, load_command_class
from packaging.requirements import Requirement

from tests.docs.blocks import ROOT

OURS = "kinesis_bridge"
PYTHON = {"python", "python3", ".venv/bin/python"}


def run(line: str, shown: str = "") -> None:
    """Run one command; raise where it fails, is unknown, or prints something else than `shown`."""
    inner = re.search(r"\$\((.*?)\)", line)
    if inner:
        run(inner[1])
        line = line.replace(inner[0], "")
    for part in re.split(r" && | \| ", line):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        _known(words)(words, shown)


def _known(words: list[str]) -> Callable[[list[str], str], None]:
    name = words[0]
    if name in PYTHON and words[1] == "manage.py":
        return _manage
    if name in PYTHON and words[1] == "-m":
        return _module
    if name in KNOWN:
        return KNOWN[name]
    if name.startswith("--"):
        return _options_of_snapshot
    raise AssertionError(f"{name}: nobody knows how to check it; see tests/docs/commands.py")


def parse(words: list[str]) -> None:
    """Parse the arguments of ``manage.py`` with the command's own parser, which exits if wrong."""
    command = load_command_class(get_commands()[words[0]], words[0])
    command.create_parser("manage.py", words[0]).parse_args(words[1:])


def _manage(words: list[str], shown: str) -> None:
    name, *arguments = words[2:]
    target = None
    if ">" in arguments:
        at = arguments.index(">")
        arguments, target = arguments[:at], arguments[at + 1]
    parse([name, *arguments])
    if name in {"kinesis_local", "runserver", "shell"} or "--follow" in arguments:
        return  # they run until they are stopped: tests of their own do that
    if name == "kinesis_relay" and "--once" not in arguments:
        arguments = [*(one for one in arguments if not one.startswith("--health")), "--once"]
        arguments = [one for one in arguments if not one.isdigit()]
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    call_command(name, *arguments, stdout=out)
    printed = out.buffer.getvalue().decode()
    if target:
        Path(target).write_text(printed)
    if shown:
        same(shown, printed)


def same(shown: str, printed: str) -> None:
    """Refuse what is shown and not printed, in this order; ``...`` stands for anything."""
    rest = _plain(printed)
    for line in _plain(shown):
        if line == "...":
            continue
        assert line in rest, f"not printed: {line!r} in {rest}"
        rest = rest[rest.index(line) + 1 :]


def _plain(text: str) -> list[str]:
    """Return the lines without what differs from run to run: numbers, ids, hosts, white space."""
    text = re.sub(r"assumed-role/(\w+)/\S+", r"assumed-role/\1/SESSION", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(\+00:00|Z)?", "TIME", text)
    text = re.sub(r"alive: [\w.-]+:\d+", "alive: HOST", text)
    text = re.sub(r"127\.0\.0\.1:\d+|--port \d+", "PORT", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    lines = [re.sub(r"\s+", " ", re.sub(r"\b\d[\d,.]*\b", "N", line)).strip()
             for line in text.splitlines()]  # fmt: skip
    return [line for line in lines if line]


def _module(words: list[str], shown: str) -> None:
    name, arguments = words[2], words[3:]
    if name == "pytest":
        assert all((ROOT / one).exists() for one in arguments), words
        return
    if name == "venv":
        return
    path = ROOT / Path(*name.split("."))
    sources = [path.with_suffix(".py")] if not path.is_dir() else sorted(path.rglob("*.py"))
    text = "".join(source.read_text() for source in sources)
    for argument in arguments:
        assert not argument.startswith("--") or f'"{argument}"' in text, (name, argument)


def _pip(words: list[str], shown: str) -> None:
    assert words[1] == "install", words
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words[2:]:
        is_path = word.startswith((".", "$", "/"))
        extras = "".join(re.findall(r"\[.*\]", word))
        wanted = Requirement(f"django-kinesis-bridge{extras}" if is_path else word)
        if wanted.name == project["name"]:
            assert wanted.extras <= set(project["optional-dependencies"]), word


def _make(words: list[str], shown: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in (word for word in words[1:] if "=" not in word):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def _aws(words: list[str], shown: str) -> None:
    """Hold it against boto's own model of the service."""
    from botocore import xform_name
    from botocore.session import Session

    service, operation, *rest = words[1:]
    if service == "s3":
        assert operation in {"ls", "cp", "sync"}, words
        return
    model = Session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    members = {xform_name(name, "-") for name in shape.members} if shape else set()
    for word in rest:
        if word.startswith("--"):
            name = word.removeprefix("--").partition("=")[0]
            assert name in members | {"region", "query", "output", "profile"}, (words, name)


def _options_of_snapshot(words: list[str], shown: str) -> None:
    parse(["kinesis_snapshot", "shop.Order", *(word for word in words if "=" not in word)])


def _fine(words: list[str], shown: str) -> None:
    """Accept what is of the system and has nothing of ours in it."""


KNOWN: dict[str, Callable[[list[str], str], None]] = {
    "pip": _pip,
    "make": _make,
    "aws": _aws,
    "eval": _fine,
    "cd": _fine,
    "mkdir": _fine,
    "django-admin": _fine,
}
os.environ.setdefault("COLUMNS", "80")
