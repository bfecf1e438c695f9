"""How long a policy may be; pure.

Sizes: "IAM and AWS STS quotas", IAM User Guide. White space between the words of a policy does not
count. A stream's own policy has one principal and cannot come near its limit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .parts import Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .documents import Document
    from .parts import Part

TRUST = 2048
TRUST_AT_MOST = 8192
"""As far as the owner of an account can have the quota of trust policies raised."""
INLINE = {_("role"): 10240, _("user"): 2048}
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
    if size > TRUST_AT_MOST:
        raise PolicyError(
            Text(
                _(
                    "Account {account}: the trust policy of role {role} has {size} characters, and"
                    " IAM takes at most {limit}: too many aliases or roles lead to it. Give some of"
                    " them a role of their own."
                ),
                account=role.account,
                role=role.name,
                size=f"{size:,}",
                limit=f"{TRUST_AT_MOST:,}",
            )
        )
    if size > TRUST:
        yield Text(
            _(
                "Account {account}: the trust policy of role {role} has {size} characters, and IAM"
                " takes {limit} unless the account has a higher quota: first have"
                ' "Role trust policy length" (Service Quotas, IAM) raised, to {most} at most, or'
                " give some aliases a role of their own."
            ),
            account=role.account,
            role=role.name,
            size=f"{size:,}",
            limit=f"{TRUST:,}",
            most=f"{TRUST_AT_MOST:,}",
        )


def _inline(account: str, kind: str, name: str, document: Document | None) -> None:
    limit = INLINE[kind]
    size = size_of(document) if document else 0
    if size > limit:
        advice = (
            _("let the site run as a role, which may have 10,240")
            if kind == "user"
            else _("spread streams over several roles")
        )
        raise PolicyError(
            Text(
                _(
                    "Account {account}: the policy of {kind} {name} has {size} characters, and IAM"
                    " takes {limit} for all inline policies of a {kind} together: {advice}, or"
                    " choose one stream with --stream."
                ),
                account=account,
                kind=Text(kind),
                name=name,
                size=f"{size:,}",
                limit=f"{limit:,}",
                advice=Text(advice),
            )
        )


def _managed(site: Site) -> None:
    size = size_of(site.policy)
    if size > MANAGED:
        raise PolicyError(
            Text(
                _(
                    "Account {account}: the managed policy for the site has {size} characters, and"
                    " IAM takes {limit}: name the site's own role with --principal, which may have"
                    " 10,240, or choose one stream with --stream."
                ),
                account=site.account,
                size=f"{size:,}",
                limit=f"{MANAGED:,}",
            )
        )
