"""Texts that are English wherever programs read them, and can be said in the reader's language.

Logs, JSON, rows and ``str(error)`` have the English; commands and the admin print
:func:`translated`. Templates are marked where they are written: ``from .words import marked as _``.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING, Any, Self

from django.utils.translation import gettext

if TYPE_CHECKING:
    from collections.abc import Iterable


def marked(template: str) -> str:
    """Return `template` as it is; as ``_`` it is found by makemessages.

    Django's gettext_noop asks for the settings, which these modules do without.
    """
    return template


class Text(str):  # noqa: SLOT000 - it has attributes
    """An English text that remembers what it was made of: a template and its values.

    ``{names}`` of the template are filled in from the values; those may be texts themselves.
    """

    template: str
    values: dict[str, object]

    def __new__(cls, template: str, /, **values: object) -> Self:
        """Fill in the values; where there are none, braces stay what they are."""
        used = {name: values[name] for name in names_of(template)} if values else {}
        self = super().__new__(cls, template.format_map(used) if values else template)
        self.template, self.values = template, used
        return self


def translated(text: str) -> str:
    """Return `text` in the language that is active; what is no :class:`Text` as it is."""
    if not isinstance(text, Text):
        return text
    template = gettext(text.template)
    if not text.values:
        return template
    values: dict[str, Any] = {
        name: translated(value) if isinstance(value, str) else value
        for name, value in text.values.items()
    }
    return template.format_map(values)


def joined(separator: str, texts: Iterable[str]) -> Text:
    """Return `texts` as one, each to be translated for itself."""
    values = {f"text{number}": text for number, text in enumerate(texts)}
    bare = separator.replace("{", "{{").replace("}", "}}")
    return Text(bare.join(f"{{{name}}}" for name in values), **values)


def text_of(error: BaseException) -> str:
    """Return what an error says: the Text that it was made with, where it was."""
    if len(error.args) == 1 and isinstance(error.args[0], Text):
        return error.args[0]
    return str(error)


def said_by(error: BaseException) -> str:
    """Return what an error says, in the language that is active; ``str(error)`` is English."""
    return translated(text_of(error))


def names_of(template: str) -> list[str]:
    """Return the names in braces, each once, in their order."""
    return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name))


def recognised(text: str, templates: Iterable[str], phrases: Iterable[str] = ()) -> str:
    """Return the Text that `text`, read from a row, was made as; `text` where none of them fits.

    Its values are looked for among `phrases`, and theirs.
    """
    kept = tuple(phrases)
    for template in templates:
        if found := re.fullmatch(_pattern(template), text, re.DOTALL):
            values = {
                name: recognised(value, kept, kept) for name, value in found.groupdict().items()
            }
            return Text(template, **values)
    return text


def _pattern(template: str) -> str:
    parts, seen = [], set()
    for literal, name, _, _ in Formatter().parse(template):
        parts.append(re.escape(literal))
        if name:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.*?)")
            seen.add(name)
    return "".join(parts)
