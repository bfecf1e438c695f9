"""The code blocks of the documents, and what a comment before a block says of it.

A comment ``<!-- block: WORDS -->`` before a block is one of :data:`MARKS`. What it is
is said by the word behind its fence; one that is not in :data:`KINDS` has no test: it is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md",
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip
KINDS = {
    "python", "console", "shell", "sh", "json", "yaml", "toml", "ini", "hcl", "js", "sql", "text",
    "dockerfile", "procfile",
}  # fmt: skip
MARKS = {
    "shown": "is looked at only: why",
    "output": "is what a command prints: its name in tests/docs/outputs.py",
    "file": "is a file of the tutorial's project: its path",
    "terminal": "runs in a terminal of its own: what its first line says",
    "ended": "runs when Ctrl-C has ended a terminal: its command",
    "elsewhere": "needs what a test has not, and is parsed: what",
    "with": "needs what tests/docs/fixtures.py makes: its name",
}
_BLOCK = re.compile(
    r"(?:^<!-- block: (?P<mark>.*?) -->\n+)?^(?P<fence>`{3,})(?P<kind>[^\n`]*)\n(?P<text>.*?)"
    r"^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block."""

    page: str
    """Path in the repository."""
    line: int
    kind: str
    text: str
    mark: str
    """The first word of the comment before it; empty without one."""
    word: str
    """The rest of the comment."""

    @property
    def id(self) -> str:
        """``docs/outbox.md:45``."""
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = path.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        mark, _, word = (match["mark"] or "").partition(" ")
        line = text.count("\n", 0, match.start("fence")) + 1
        page = path.relative_to(ROOT).as_posix()
        kind = match["kind"].strip() or "text"
        found.append(Block(page, line, kind, match["text"], mark, word))
    return found


WALKED = "docs/tutorial.md"
"""The page whose commands follow on each other: test_tutorial.py walks it."""


def is_run(block: Block) -> bool:
    """Tell whether the worker runs it."""
    return (
        block.kind in {"python", "console"} and block.mark in {"", "with"} and block.page != WALKED
    )


def all_blocks() -> list[Block]:
    """Return the blocks of every page."""
    return [block for page in PAGES for block in blocks(page)]


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, and what is shown below each.

    Without a ``$`` every line is a command. A comment behind two spaces is left out.
    """
    lines = block.text.replace("\\\n", " ").splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(_bare(line), "") for line in lines if _bare(line)]
    found: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((_bare(line[2:]), ""))
        else:
            command, shown = found[-1]
            found[-1] = command, f"{shown}{line}\n"
    return found


def _bare(line: str) -> str:
    return re.sub(r"(^|\s\s+)# .*$", "", line).strip()
