"""Which tables an SQL statement writes: as much of SQL as it takes to tell. Pure.

In doubt it tells of none: what a procedure, a trigger or a ``DO`` block writes is not seen.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Write(NamedTuple):
    """What a statement does to a table."""

    verb: str
    """``UPDATE``, as in SQL."""
    table: str
    """The table's own name, as it is written: without quotes and schema."""


class _Token(NamedTuple):
    text: str
    """A word, a quoted name without its quotes, or a sign."""
    word: str
    """The word in upper case; of anything else nothing."""
    is_name: bool


_MODIFIERS = {
    "INSERT": {"OR", "ROLLBACK", "ABORT", "REPLACE", "FAIL", "IGNORE", "INTO",
               "LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY"},
    "REPLACE": {"LOW_PRIORITY", "DELAYED", "INTO"},
    "UPDATE": {"OR", "ROLLBACK", "ABORT", "REPLACE", "FAIL", "IGNORE", "LOW_PRIORITY", "ONLY"},
    "DELETE": {"LOW_PRIORITY", "QUICK", "IGNORE"},
    "MERGE": {"INTO", "ONLY"},
    "TRUNCATE": {"TABLE", "ONLY"},
    "COPY": set(),
    "LOAD": set(),
}  # fmt: skip
"""The words that may stand between a verb and its table."""
_ANY_VERB = re.compile(rf"\b(?:{'|'.join(_MODIFIERS)})\b", re.IGNORECASE)
_OF_SCHEMA = {"CREATE", "ALTER", "DROP"}
_ROUTINES = {"TRIGGER", "FUNCTION", "PROCEDURE", "EVENT"}
_EXPLAINED = {*_MODIFIERS, "WITH", "SELECT"}


@lru_cache(maxsize=256)
def writes(sql: str, vendor: str) -> tuple[Write, ...]:
    """Return what the statements of `sql` write, in the dialect of a database `vendor`."""
    if not _ANY_VERB.search(sql):
        return ()
    found: list[Write] = []
    for statement in _statements(_tokens(sql, vendor)):
        words = [token.word for token in statement[:8]]
        if words[0] == "CREATE" and _ROUTINES & {*words}:
            break  # what follows may be its body
        if words[0] not in _OF_SCHEMA:
            found += _of_statement(statement)
    return tuple(dict.fromkeys(found))


@cache
def _scanner(vendor: str) -> re.Pattern[str]:
    text = r"'(?:[^']|'')*'"
    if vendor == "mysql":
        text = r"'(?:[^'\\]|\\.|'')*'|\#[^\n]*"
    if vendor == "postgresql":
        text = rf"[eE]'(?:[^'\\]|\\.|'')*'|{text}|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
    brackets = r"|\[[^\]]*\]" if vendor == "sqlite" else ""
    return re.compile(
        rf"""(?P<skipped>\s+|--[^\n]*|/\*.*?\*/|{text}|%\(\w+\)s|%s)
        |(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`{brackets})
        |(?P<word>[^\W\d][\w$]*)
        |(?P<sign>.)""",
        re.VERBOSE | re.DOTALL,
    )


def _tokens(sql: str, vendor: str) -> Iterator[_Token]:
    for match in _scanner(vendor).finditer(sql):
        text = match.group()
        if match.lastgroup == "quoted":
            quote = text[-1]
            yield _Token(text[1:-1].replace(quote * 2, quote), "", is_name=True)
        elif match.lastgroup == "word":
            yield _Token(text, text.upper(), is_name=True)
        elif match.lastgroup == "sign":
            yield _Token(text, "", is_name=False)


def _statements(tokens: Iterator[_Token]) -> Iterator[list[_Token]]:
    statement: list[_Token] = []
    for token in tokens:
        if token.text != ";" or token.is_name:
            statement.append(token)
        elif statement:
            yield statement
            statement = []
    if statement:
        yield statement


def _of_statement(tokens: Sequence[_Token]) -> Iterator[Write]:
    if tokens[0].word == "EXPLAIN":  # with ANALYZE the statement is run
        start = next((n for n, token in enumerate(tokens) if token.word in _EXPLAINED), 0)
        if not any(token.word == "ANALYZE" for token in tokens[:start]):
            return
        tokens = tokens[start:]
    depth = 0
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else None
        if token.word in _MODIFIERS and (
            before is None
            or (before.text == "(" and not before.is_name)  # of a CTE
            or (before.text == ")" and not depth and tokens[0].word == "WITH")  # after the CTEs
        ):
            for table in _tables(token.word, tokens[place + 1 :]):
                yield Write(token.word, table)
        if not token.is_name:
            depth += (token.text == "(") - (token.text == ")")


def _tables(verb: str, tokens: Sequence[_Token]) -> list[str]:
    """Return the tables that a verb writes, given what follows it."""
    place = 0
    while place < len(tokens) and tokens[place].word in _MODIFIERS[verb]:
        place += 1
    tokens = tokens[place:]
    if verb == "DELETE":
        return _deleted(tokens)
    if verb == "LOAD":  # DATA ... INTO TABLE
        words = [token.word for token in tokens]
        there = [n for n, word in enumerate(words) if words[n - 1 : n + 1] == ["INTO", "TABLE"]]
        return _names(tokens[there[0] + 1 :])[:1] if there else []
    names = _names(tokens)
    if verb == "COPY":
        return names[:1] if _is_copied_into(tokens) else []
    return names if verb == "TRUNCATE" else names[:1]


def _deleted(tokens: Sequence[_Token]) -> list[str]:
    start = next((n for n, token in enumerate(tokens) if token.word == "FROM"), None)
    if start is None:
        return []
    tables = tokens[start + 1 :]
    if tables and tables[0].word == "ONLY":
        tables = tables[1:]
    if not start:
        return _names(tables)[:1]
    # MySQL: DELETE one, two FROM ... JOIN ...; they may be aliases.
    named = _names(tokens[:start])
    aliased = [token.text for token in tables if token.is_name and token.word != "AS"][:2]
    return [aliased[0] if len(aliased) == 2 and name == aliased[1] else name for name in named]


def _is_copied_into(tokens: Sequence[_Token]) -> bool:
    depth = 0
    for token in tokens:
        if not token.is_name:
            depth += (token.text == "(") - (token.text == ")")
        elif not depth and token.word in {"FROM", "TO"}:
            return token.word == "FROM"
    return False


def _names(tokens: Sequence[_Token]) -> list[str]:
    """Return the tables at the start of `tokens`, with commas between: the last part of each."""
    names: list[str] = []
    is_open = True
    for token in tokens:
        if token.is_name and is_open and token.word not in {"SET", "FROM"}:
            names.append(token.text)
            is_open = False
        elif token.text == "." and not token.is_name and names:
            names.pop()
            is_open = True
        elif token.text == "," and not token.is_name:
            is_open = True
        elif token.text != "*" or token.is_name:
            break
    return names
