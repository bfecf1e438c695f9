"""What the code says of itself: docstrings of attributes, tables of docstrings, rules' messages.

Read by :mod:`make_reference`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
APP = "kinesis_bridge"


def attribute_docs(made: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class, in their order."""
    return dict(_documented(ast.parse(textwrap.dedent(inspect.getsource(made)))))


def _documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what stands in the body of the class, and in its ``__init__``."""
    body = tree.body[0].body  # type: ignore[attr-defined]
    inits = [one.body for one in body if getattr(one, "name", "") == "__init__"]
    for statements in (body, *inits):
        for statement, below in zip(statements, [*statements[1:], None], strict=True):
            if name := _target(statement):
                yield name, _constant(below) or ""


def _target(statement: ast.stmt) -> str | None:
    target = statement.target if isinstance(statement, ast.AnnAssign) else None
    if isinstance(statement, ast.Assign):
        target = statement.targets[0]
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else None


def _constant(statement: ast.stmt | None) -> str | None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value))
    return None


def docstring_table(module: str) -> list[tuple[str, str]]:
    """Return the rows of the table in a module's docstring, continued lines joined."""
    text = inspect.getdoc(importlib.import_module(module)) or ""
    body = re.search(r"^=+ +=+\n(.*?)^=+ +=+$(?!.*^=+ +=+$)", text, re.MULTILINE | re.DOTALL)
    assert body, module  # noqa: S101
    rows: list[tuple[str, str]] = []
    for line in body[1].splitlines():
        if line.startswith("="):
            rows.clear()  # that was the head
        elif line.startswith(" "):
            rows[-1] = rows[-1][0], f"{rows[-1][1]} {line.strip()}"
        else:
            name, _, rest = line.partition("  ")
            rows.append((name, rest.strip()))
    return rows


def refusals() -> Iterator[tuple[str, str]]:
    """Yield the id of each rule of the settings and its messages; `...` stands for what varies."""
    from kinesis_bridge.conf.values import TEXTS  # noqa: PLC0415

    said: dict[str, list[str]] = {}
    modules = [ast.parse((ROOT / APP / "conf" / f"{name}.py").read_text())
               for name in ("problems", "rules", "values", "options")]  # fmt: skip
    functions = {one.name: one for tree in modules for one in ast.walk(tree)
                 if isinstance(one, ast.FunctionDef)}  # fmt: skip
    rules = ast.Module([*modules[0].body, *modules[1].body], [])
    for call in (one for one in ast.walk(rules) if isinstance(one, ast.Call)):
        if getattr(call.func, "attr", "") != "refuse":
            continue
        function = _around(call, functions.values())
        names = re.findall(r'\["(\w+)"\]', _template(call.args[1]) or "")
        key = f"`{names[-1]}` " if names else ""
        for number in _numbers(call.args[0], function, rules):
            for reason in _reasons(call.args[2], function, functions):
                said.setdefault(number, []).append(f"{key}{_filled(reason, call)}")
    for key, rule in TEXTS.items():
        said.setdefault(rule.id.removeprefix(f"{APP}."), []).append(f"`{key}` {rule.reason}")
    for number, lines in said.items():
        yield number, "a setting: " + "; ".join(dict.fromkeys(lines))


def _around(node: ast.AST, functions: Iterable[ast.FunctionDef]) -> ast.FunctionDef:
    return next(one for one in functions if any(inner is node for inner in ast.walk(one)))


def _numbers(number: ast.expr, function: ast.FunctionDef, tree: ast.AST) -> Iterator[str]:
    """Yield the ids: the one written there, or those that callers of `function` hand in."""
    if text := _template(number):
        yield text
        return
    for call in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
        if getattr(call.func, "attr", "") == function.name:
            texts = (_template(argument) or "" for argument in call.args)
            yield from (text for text in texts if re.fullmatch(r"E\d+", text))


def _filled(reason: str, call: ast.Call) -> str:
    """Return the message of a call with the values that stand there, `...` for the others."""
    values = {one.arg: one.value.value for one in call.keywords
              if isinstance(one.value, ast.Constant)}  # fmt: skip
    return re.sub(r"{(\w+)}", lambda name: str(values.get(name[1], "...")), reason)


def _reasons(
    reason: ast.expr, function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]
) -> Iterator[str]:
    """Yield the messages: written there, made by a function, or assigned to that name before."""
    if text := _template(reason):
        yield text
    elif isinstance(reason, ast.Name):
        for one in ast.walk(function):
            if isinstance(one, ast.Assign) and _target(one) == reason.id and _template(one.value):
                yield str(_template(one.value))
            if isinstance(one, ast.For) and reason.id in ast.unparse(one.target):
                yield from _made_by(one.iter, functions)
    else:
        yield from _made_by(reason, functions)


def _made_by(call: ast.expr, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") in functions):
        return
    function = functions[call.func.id]  # type: ignore[attr-defined]
    for one in ast.walk(function):
        if isinstance(one, ast.Return | ast.Yield) and one.value is not None:
            last = one.value.elts[-1] if isinstance(one.value, ast.Tuple) else one.value
            if text := _template(last, function):
                yield text
    if function.name == "problems":  # of options: the rest is said by each of them
        yield from _made_by(ast.Call(ast.Name("problem"), [], []), functions)


def _template(node: ast.expr, function: ast.FunctionDef | None = None) -> str | None:
    """Return a literal text, marked or made a Text; an f-string with `...` for what varies.

    A name is looked for in `function`, then among the constants of the rules. None for all else.
    """
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"_", "Text"}:
        return _template(node.args[0], function)
    if isinstance(node, ast.Name):
        for one in ast.walk(function) if function else ():
            if isinstance(one, ast.Assign) and _target(one) == node.id:
                return _template(one.value)
        from kinesis_bridge.conf import problems, rules  # noqa: PLC0415

        found = getattr(rules, node.id, None) or getattr(problems, node.id, None)
        return found if isinstance(found, str) and node.id.isupper() else None
    if isinstance(node, ast.Constant):
        return None if node.value is None else str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values
        )
    return None
