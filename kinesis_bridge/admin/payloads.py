"""Payloads for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN_CHARACTERS = 256 * 1024
"""The most that is shown of a payload: a small one that is deeply nested is large, indented."""


def readable(payload: bytes) -> str:
    """Return a payload for people: indented where it is JSON, the text that it is otherwise."""
    try:
        parts = json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(payload))
        text = _beginning(parts)
    except (ValueError, RecursionError):
        text = _beginning([payload.decode(errors="backslashreplace")])
    # JSON may escape half a surrogate pair, and then no response could be encoded.
    return text.encode(errors="backslashreplace").decode()


def _beginning(parts: Iterable[str]) -> str:
    shown: list[str] = []
    room = SHOWN_CHARACTERS
    for part in parts:
        shown.append(part[:room])
        room -= len(part)
        if room < 0:
            shown.append("\n... (the rest is not shown)")
            break
    return "".join(shown)
