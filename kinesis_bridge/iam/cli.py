"""The grants as a script of AWS CLI commands, for a POSIX shell.

Commands and their parameters: ``iam create-role``, ``iam put-role-policy``, ``iam
put-user-policy``, ``iam create-policy`` and ``kinesis put-resource-policy``, AWS CLI Command
Reference.
"""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING

from .grants import POLICY_NAME, Resource, Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .documents import Document
    from .grants import Grants

_HEAD = """\
#!/bin/sh
# Made by manage.py kinesis_iam. Run it once in each account, in this order; it makes what belongs
# to the account that the AWS CLI's credentials are of:
#   {order}
set -eu

account=$(aws sts get-caller-identity --query Account --output text)
case "$account" in
"""
_TAIL = """\
*)
    echo "Nothing to make in account $account; there is: {accounts}" >&2
    exit 1
    ;;
esac
"""


def to_cli(grants: Grants) -> str:
    """Return the script; each account's part is one branch of its ``case``."""
    accounts = grants.accounts
    lines = []
    for account, parts in accounts.items():
        lines += ["", f"# ---- account {account} ----", f"{account})"]
        for part in parts:
            title, words = _command(part)
            lines += [f"# {title}", *words]
        lines.append(";;")
    names = ", ".join(accounts)
    return _HEAD.format(order=names) + "\n".join(lines) + "\n\n" + _TAIL.format(accounts=names)


def _command(part: Site | Role | Resource) -> tuple[str, list[str]]:
    if isinstance(part, Role):
        return f"The role {part.name}: whom it trusts, what it may do", list(_role(part))
    if isinstance(part, Resource):
        command = _aws(
            "kinesis put-resource-policy",
            {
                "region": part.region,
                "resource-arn": part.arn,
                "policy": _json(part.policy),
            },
        )
        return f"The stream {part.name}: who may write to it", [command]
    if part.kind == "root":
        options = {"policy-name": POLICY_NAME, "policy-document": _json(part.policy)}
        return "The site: attach this to the role or user that it runs as", [
            _aws("iam create-policy", options)
        ]
    options = {
        f"{part.kind}-name": part.name,
        "policy-name": POLICY_NAME,
        "policy-document": _json(part.policy),
    }
    return f"The site: what its {part.kind} may do", [_aws(f"iam put-{part.kind}-policy", options)]


def _role(role: Role) -> Iterator[str]:
    yield _aws(
        "iam create-role",
        {
            "path": role.path,
            "role-name": role.name,
            "description": role.description,
            "max-session-duration": str(role.seconds),
            "assume-role-policy-document": _json(role.trust),
        },
    )
    if role.permission is not None:
        yield _aws(
            "iam put-role-policy",
            {
                "role-name": role.name,
                "policy-name": POLICY_NAME,
                "policy-document": _json(role.permission),
            },
        )


def _aws(command: str, options: dict[str, str]) -> str:
    given = (f"--{name}={quote(value)}" for name, value in options.items())
    return " \\\n    ".join([f"aws {command}", *given])


def _json(document: Document) -> str:
    return json.dumps(document, indent=2)
