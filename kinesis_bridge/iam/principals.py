"""Whom a trust policy may name; pure."""

from __future__ import annotations

import re

from kinesis_bridge import arns
from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

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
        raise PolicyError(_unnamed(caller, _(" (a wildcard would let anyone in)")))
    if arn.partition != partition:
        raise PolicyError(
            Text(
                _(
                    "The principal {caller} is in the partition {its}, the role or stream in"
                    " {partition}: IAM trusts nobody across partitions."
                ),
                caller=caller,
                its=arn.partition,
                partition=partition,
            )
        )
    if arn.resource == "root":
        if given and arn.service == "iam":
            return caller, []
        raise PolicyError(
            Text(
                _(
                    "The caller is the root user of account {account}, who can assume no role. Let"
                    " the site run as a role or a user of IAM, and name it: {example}"
                ),
                account=arn.account,
                example=EXAMPLE,
            )
        )
    if arn.resource.startswith("federated-user/"):
        raise PolicyError(
            Text(
                _(
                    "{caller} is a federated user (GetFederationToken), who may not call"
                    " AssumeRole. Let the site run as a role or a user of IAM, and name it:"
                    " {example}"
                ),
                caller=caller,
                example=EXAMPLE,
            )
        )
    session = _SESSION.fullmatch(arn.resource) if arn.service == "sts" else None
    if session:
        named = principal_of(caller)
        warning = Text(
            _(
                "{caller} is a session of the role {role}. Its ARN leaves out the role's path: if"
                " it has one, {named} is wrong; give the role's ARN with --principal."
            ),
            caller=caller,
            role=session["role"],
            named=named,
        )
        return named, [warning]
    if arn.service != "iam" or not _NAMED.fullmatch(arn.resource):
        raise PolicyError(_unnamed(caller, _(" (a wildcard names nobody in a trust policy)")))
    return caller, []


def _unnamed(caller: str, wild: str) -> Text:
    """Say what a principal must be; `wild`: what is wrong with a wildcard, where there is one."""
    return Text(
        _("The principal must be the ARN of a role or user, not {caller}{wild}: {example}"),
        caller=repr(caller),
        wild=Text(wild) if re.search("[*?]", caller) else "",
        example=EXAMPLE,
    )
