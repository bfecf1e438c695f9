"""The ways in which the path to account B breaks: one table, for errors, commands and documents.

Codes: "Common error types" and each operation's "Errors" in the API references of STS and Kinesis.
"""

from __future__ import annotations

from kinesis_bridge.words import marked as _

from .caller import CALLER
from .finding import AWS, DENIED, EXPIRED, STS, Document, Finding, Hop, Side
from .network import NETWORK
from .role import ROLE
from .site import SITE
from .spoken import in_words, side_in_words, title_in_words
from .stream import STREAM

__all__ = [
    "AWS",
    "DENIED",
    "EXPIRED",
    "FINDINGS",
    "STS",
    "UNKNOWN",
    "Document",
    "Finding",
    "Hop",
    "Side",
    "in_words",
    "of_name",
    "side_in_words",
    "title_in_words",
]

# The first that fits is taken: what wants a message as well as a code stands before what does not.
FINDINGS: tuple[Finding, ...] = (*NETWORK, *CALLER, *ROLE, *STREAM, *SITE)

UNKNOWN = Finding(
    name="unknown",
    hops=AWS,
    side="account B",
    cause=_("AWS refused with {code}: {message}"),
    fix=_("Look the code up in the API reference of the service."),
)


def of_name(name: str | None) -> Finding | None:
    """Return the row of this name; None where there is none, as of another version."""
    return next((row for row in (*FINDINGS, UNKNOWN) if row.name == name), None)
