"""Whom a trust policy may name; pure."""

from __future__ import annotations

import re

from kinesis_bridge import arns
from kinesis_bridge.exceptions import PolicyError

from .documents import principal_of

EXAMPLE = "--principal arn:aws:iam::111111111111:role/shop-web"
# Names and paths: "IAM identifiers", IAM User Guide. No wildcards: they match nothing here.
_NAMED = re.compile(r"(role|user)/(?:[\x21-\x29\x2b-\x3e\x40-\x7e]+/)?[\w+=,.@-]{1,64}", re.ASCII)
_SESSION = re.compile(r"assumed-role/(?P<role>[\w+=,.@-]{1,64})/[\w+=,.@-]{2,64}", re.ASCII)


def check_principal(caller: str, *, given: bool, partition: str) -> tuple[str, list[str]]:
    """Return what the trust policy names for `caller`, and what to warn of.

    `given`: a person asked for it, which the account's root has to be. `partition` is the role's:
    none trusts another partition's principals. Raises PolicyError for whom no role can trust:
    "AWS JSON policy elements: Principal" and "Compare AWS STS credentials", IAM User Guide.
    """
    arn = arns.parse(caller)
    if arn is None or arn.service not in {"iam", "sts"} or arn.region:
        wild = " (a wildcard would let anyone in)" if "*" in caller or "?" in caller else ""
        raise PolicyError(
            f"The principal must be the ARN of a role or user, not {caller!r}{wild}: {EXAMPLE}"
        )
    if arn.partition != partition:
        raise PolicyError(
            f"The principal {caller} is in the partition {arn.partition}, the role or stream in"
            f" {partition}: IAM trusts nobody across partitions."
        )
    if arn.resource == "root":
        if given and arn.service == "iam":
            return caller, []
        raise PolicyError(
            f"The caller is the root user of account {arn.account}, who can assume no role. Let the"
            f" site run as a role or a user of IAM, and name it: {EXAMPLE}"
        )
    if arn.resource.startswith("federated-user/"):
        raise PolicyError(
            f"{caller} is a federated user (GetFederationToken), who may not call AssumeRole. Let"
            f" the site run as a role or a user of IAM, and name it: {EXAMPLE}"
        )
    session = _SESSION.fullmatch(arn.resource) if arn.service == "sts" else None
    if session:
        named = principal_of(caller)
        warning = (
            f"{caller} is a session of the role {session['role']}. Its ARN leaves out the role's"
            f" path: if it has one, {named} is wrong; give the role's ARN with --principal."
        )
        return named, [warning]
    if arn.service != "iam" or not _NAMED.fullmatch(arn.resource):
        wild = " (a wildcard names nobody in a trust policy)" if re.search("[*?]", caller) else ""
        raise PolicyError(
            f"The principal must be the ARN of a role or user, not {caller!r}{wild}: {EXAMPLE}"
        )
    return caller, []
