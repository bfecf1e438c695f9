"""A finding in the reader's language, also where only its English text was kept."""

from __future__ import annotations

from kinesis_bridge.words import Text, recognised, translated

from .phrases import PHRASES, SIDES, TITLES


def side_in_words(side: str) -> str:
    """Return who can mend it: a value of ``Finding.side``."""
    return translated(recognised(side, SIDES))


def title_in_words(title: str) -> str:
    """Return the title of a policy document, a key of ``AwsError.documents``."""
    return translated(recognised(title, TITLES, PHRASES))


def in_words(text: str, template: str | None) -> str:
    """Return a cause or a fix that was made of `template`; as it is where it was not."""
    if isinstance(text, Text) or template is None:
        return translated(text)
    return translated(recognised(text, [template], PHRASES))
