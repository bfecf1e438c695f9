"""How long a policy may be; pure.

Sizes: "IAM and AWS STS quotas", IAM User Guide. White space between the words of a policy does not
count. A stream's own policy has one principal and cannot come near its limit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kinesis_bridge.exceptions import PolicyError

from .parts import Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .documents import Document
    from .parts import Part

TRUST = 2048
TRUST_AT_MOST = 8192
"""As far as the owner of an account can have the quota of trust policies raised."""
INLINE = {"role": 10240, "user": 2048}
MANAGED = 6144


def check_sizes(parts: Iterable[Part]) -> Iterator[str]:
    """Yield a warning for what needs a higher quota; raise PolicyError for what none allows."""
    for part in parts:
        if isinstance(part, Role):
            yield from _trust(part)
            _inline(part.account, "role", part.name, part.permission)
        elif isinstance(part, Site) and part.kind == "root":
            _managed(part)
        elif isinstance(part, Site):
            _inline(part.account, part.kind, part.name, part.policy)


def size_of(document: Document) -> int:
    """Return how many characters of `document` IAM counts."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


def _trust(role: Role) -> Iterator[str]:
    size = size_of(role.trust)
    where = f"Account {role.account}: the trust policy of role {role.name} has {size:,} characters"
    if size > TRUST_AT_MOST:
        raise PolicyError(
            f"{where}, and IAM takes at most {TRUST_AT_MOST:,}: too many aliases or roles lead to"
            " it. Give some of them a role of their own."
        )
    if size > TRUST:
        yield (
            f"{where}, and IAM takes {TRUST:,} unless the account has a higher quota: first have"
            f' "Role trust policy length" (Service Quotas, IAM) raised, to {TRUST_AT_MOST:,} at'
            " most, or give some aliases a role of their own."
        )


def _inline(account: str, kind: str, name: str, document: Document | None) -> None:
    limit = INLINE[kind]
    size = size_of(document) if document else 0
    if size > limit:
        advice = (
            "let the site run as a role, which may have 10,240"
            if kind == "user"
            else "spread streams over several roles"
        )
        raise PolicyError(
            f"Account {account}: the policy of {kind} {name} has {size:,} characters, and IAM takes"
            f" {limit:,} for all inline policies of a {kind} together: {advice}, or choose one"
            " stream with --stream."
        )


def _managed(site: Site) -> None:
    size = size_of(site.policy)
    if size > MANAGED:
        raise PolicyError(
            f"Account {site.account}: the managed policy for the site has {size:,} characters, and"
            f" IAM takes {MANAGED:,}: name the site's own role with --principal, which may have"
            " 10,240, or choose one stream with --stream."
        )
