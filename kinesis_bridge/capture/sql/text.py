"""Text put together in SQL: what is known before stands in as few literals as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinesis_bridge.serializers import to_json

from .values import literal

if TYPE_CHECKING:
    from collections.abc import Iterable


class Fixed(str):
    """Text that is the same in every row; whatever else is joined is SQL."""

    __slots__ = ()


def joined(parts: Iterable[str]) -> str:
    """Return SQL for the texts one after the other; NULL where one is NULL."""
    pieces: list[str] = []
    for part in parts:
        if isinstance(part, Fixed) and pieces and isinstance(pieces[-1], Fixed):
            pieces[-1] = Fixed(pieces[-1] + part)
        elif part:
            pieces.append(part)
    return (
        " || ".join(
            literal(piece) if isinstance(piece, Fixed) else f"({piece})" for piece in pieces
        )
        or "''"
    )


def doubled(sql: str) -> str:
    """Return `sql` for a statement with parameters, whose percent signs count."""
    return sql.replace("%", "%%")


def json_text(text: str) -> str:
    """Return a text as JSON has it, in quotes."""
    return to_json(text).decode()
