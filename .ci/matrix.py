"""The tests on every Python and Django that go together: ``make test-all ARGS="tests/unit"``.

One pair after the other, each in a virtual environment of its own (``.venv-py312-dj60``). What the
machine lacks is said and skipped. Exit status 0: at least one pair ran, and each that ran passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# The oldest Python of each: "What Python version can I use with Django?", Django's FAQ.
DJANGOS = {"5.2": (3, 10), "6.0": (3, 12), "6.1": (3, 12)}
# ensurepip: Debian has Pythons that cannot make a virtual environment.
ASK = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"
INSTALL_SECONDS = 600
UV = Path(sys.executable).parent / "uv"  # of the extra "test"; pip would take minutes for each


@dataclass
class Outcome:
    """What became of one pair; `ok` is None where it did not run."""

    python: str
    django: str
    ok: bool | None
    said: str
    seconds: float = 0.0


def main(arguments: list[str]) -> int:
    """Run pytest with `arguments` on every pair, print the table, return the exit status."""
    outcomes: list[Outcome] = []
    for version in PYTHONS:
        executable = find(version)
        if executable is None:
            print(f"Python {version} is not on this machine: skipped.", flush=True)
            outcomes.append(Outcome(version, "any", None, "not on this machine"))
            continue
        outcomes += [
            run(version, executable, django, arguments)
            for django, oldest in DJANGOS.items()
            if number(version) >= oldest
        ]
    table(outcomes)
    ran = [outcome.ok for outcome in outcomes if outcome.ok is not None]
    return 0 if ran and all(ran) else 1


def number(version: str) -> tuple[int, ...]:
    """Return "3.12" as something that can be compared."""
    return tuple(int(part) for part in version.split("."))


def find(version: str) -> str | None:
    """Return the interpreter of that version: by its name, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = sorted(
        pyenv.glob(f"{version}.*/bin/python{version}"),
        key=lambda path: [int(digits) for digits in re.findall(r"\d+", path.parts[-3])],
        reverse=True,
    )
    for candidate in (f"python{version}", *map(str, found)):
        try:
            asked = subprocess.run(
                [candidate, "-c", ASK], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        answer, _, executable = asked.stdout.strip().partition(" ")
        if asked.returncode == 0 and answer == version:
            return executable
    return None


def run(version: str, executable: str, django: str, arguments: list[str]) -> Outcome:
    """Return what the tests say on one pair; their output goes where ours does."""
    venv = ROOT / ".venv-py{}-dj{}".format(*(name.replace(".", "") for name in (version, django)))
    print(f"\n==== Python {version}, Django {django} ({venv.name})", flush=True)
    begin = time.monotonic()
    if error := install(venv, executable, django):
        print(error, flush=True)
        return Outcome(version, django, ok=False, said="cannot be installed: see above")
    last = ""
    with subprocess.Popen(
        [venv / "bin" / "python", "-m", "pytest", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as tests:
        assert tests.stdout is not None
        for line in tests.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    said = re.sub(r"\x1b\[[\d;]*m", "", last).strip("= ")
    return Outcome(
        version, django, tests.returncode == 0, said.split(" in ")[0], time.monotonic() - begin
    )


def install(venv: Path, executable: str, django: str) -> str:
    """Make the environment where it is not there or is older than what it needs; return why not."""
    stamp = venv / ".installed"
    needs = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "requirements.txt"))
    if stamp.exists() and stamp.stat().st_mtime >= needs:
        return ""
    wanted = ["-e", ".[local,test]", f"django=={django}.*"]
    for command in (
        [UV, "venv", "--quiet", "--allow-existing", "--python", executable, venv],
        [UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python", *wanted],
    ):
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode:
            return done.stderr or done.stdout
    stamp.touch()
    return ""


def table(outcomes: list[Outcome]) -> None:
    """Print one line for each pair."""
    words = {True: "passed", False: "FAILED", None: "skipped"}
    print(f"\n{'Python':<8}{'Django':<8}{'':<9}{'seconds':>7}  ")
    for one in outcomes:
        print(
            f"{one.python:<8}{one.django:<8}{words[one.ok]:<9}{one.seconds:>7.0f}  {one.said}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
