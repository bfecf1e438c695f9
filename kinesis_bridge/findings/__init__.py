"""The ways in which the path to account B breaks: one table, for errors, commands and documents.

Codes: "Common error types" and each operation's "Errors" in the API references of STS and Kinesis.
"""

from __future__ import annotations

from .caller import CALLER
from .finding import AWS, DENIED, EXPIRED, STS, Document, Finding, Hop, Side
from .network import NETWORK
from .role import ROLE
from .site import SITE
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
]

# The first that fits is taken: what wants a message as well as a code stands before what does not.
FINDINGS: tuple[Finding, ...] = (*NETWORK, *CALLER, *ROLE, *STREAM, *SITE)

UNKNOWN = Finding(
    name="unknown",
    hops=AWS,
    side="account B",
    cause="AWS refused with {code}: {message}",
    fix="Look the code up in the API reference of the service.",
)
