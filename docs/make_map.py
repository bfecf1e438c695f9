"""Write the map of the house into CONTRIBUTING.md: ``python docs/make_map.py`` (``make map``).

Modules stand in the order of pyproject's layers, with the first sentence of their docstrings.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kinesis_bridge"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- map -->", "<!-- end of the map -->"
LEFT_OUT = {"migrations"}


def page() -> str:
    """Return CONTRIBUTING.md with the map as it is now."""
    before, rest = PAGE.read_text().split(BEGIN)
    return f"{before}{BEGIN}\n\n" + "\n".join(_lines()) + f"\n\n{END}{rest.split(END)[1]}"


def _lines() -> Iterator[str]:
    layers = [layer.split(" | ") for layer in _layers()]
    placed = {name for layer in layers for name in layer}
    tops = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or _is_package(path)}
    beside = sorted(tops - placed - LEFT_OUT - {"__init__"})
    yield from _entry(PACKAGE / "__init__.py", "", "")
    for layer in [*layers, beside]:
        for name in layer:
            folder = PACKAGE / name
            yield from _entry(folder / "__init__.py" if folder.is_dir() else _file(folder), "", "")


def _layers() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    return next(one["layers"] for one in contracts if one["type"] == "layers")


def _entry(path: Path, indent: str, parent: str) -> Iterator[str]:
    """Yield the line of a module, or those of a package and of what is in it."""
    is_package = path.name == "__init__.py"
    name = path.parent.name if is_package else path.stem
    yield f"{indent}- `{parent}{name}{'/' if is_package else ''}`: {_sentence(path)}"
    if not is_package or path.parent == PACKAGE:
        return
    for inner in sorted(path.parent.iterdir()):
        if _is_package(inner):
            yield from _entry(inner / "__init__.py", indent + "  ", "")
        elif inner.suffix == ".py" and inner != path:
            yield from _entry(inner, indent + "  ", "")


def _file(path: Path) -> Path:
    return path.with_suffix(".py")


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").exists()


def _sentence(path: Path) -> str:
    """Return what a docstring says first, in Markdown."""
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = said.split("\n\n")[0].replace("\n", " ").split(". ")[0]
    return first.replace("``", "`").replace(":mod:", "").removesuffix(".").removesuffix("::")


if __name__ == "__main__":
    PAGE.write_text(page())
