"""What a row of the table holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kinesis_bridge.exceptions import AwsError

Hop = Literal["settings", "network", "credentials", "assume-role", "stream", "outbox"]
Side = Literal["account A", "account B", "account A or account B", "network", "site"]
Document = Literal["identity", "trust", "permission", "resource", "key"]

AWS: tuple[Hop, ...] = ("credentials", "assume-role", "stream")
"""The hops at which AWS is asked something."""
STS: tuple[Hop, ...] = ("credentials", "assume-role")
DENIED = ("AccessDenied", "AccessDeniedException", "403")
THROTTLED = (
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "429",
)
EXPIRED = ("ExpiredToken", "ExpiredTokenException")


EXPLICITLY = r"with an explicit deny"
"""AWS's words where a Deny matched, and not only no Allow."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One way in which the path breaks."""

    name: str
    """Stable slug."""
    hops: tuple[Hop, ...]
    """Where it can happen."""
    codes: tuple[str, ...] = ()
    """AWS's codes, or names of boto's exception classes; none: only the doctor can tell."""
    says: str = ""
    """A regular expression that AWS's message must match as well."""
    without_role: bool = False
    """Only where the site's own credentials write."""
    side: Side
    """Who can mend it: both accounts where AWS does not tell whose policy refused."""
    cause: str
    """What happened and why, in English and marked to be translated; ``{names}`` come from
    :class:`kinesis_bridge.diagnosis.Path`."""
    fix: str
    """What to do."""
    error: type[AwsError] = AwsError
    """The class it is raised as."""
    retryable: bool = False
    """Whether the same request may pass later with nobody acting."""
    documents: tuple[Document, ...] = ()
    """The policy documents to compare."""
