"""The grants as a script of AWS CLI commands, for a POSIX shell; to be run again at will.

Commands and their parameters: ``iam get-role``, ``iam create-role``, ``iam
update-assume-role-policy``, ``iam update-role``, ``iam put-role-policy``, ``iam put-user-policy``,
``iam get-policy``, ``iam create-policy``, ``iam create-policy-version`` and ``kinesis
put-resource-policy``, AWS CLI Command Reference.
"""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING

from .parts import POLICY_NAME, Resource, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .documents import Document
    from .grants import Grants
    from .order import Turn
    from .parts import Part, Site

_ONCE = """\
#!/bin/sh
# Made by manage.py kinesis_iam. Run it in each account, in this order; it makes what belongs to the
# account that the AWS CLI's credentials are of, or brings it up to date:
#   {order}
set -eu

account=$(aws sts get-caller-identity --query Account --output text)
"""
_STEPS = """\
#!/bin/sh
# Made by manage.py kinesis_iam. Run it step by step (sh SCRIPT 1), each with the AWS CLI's
# credentials of the step's account; an account has several steps because its roles trust each other
# by way of another account. A step makes what belongs to it, or brings it up to date:
#   {order}
set -eu

step=${{1-}}
account=$(aws sts get-caller-identity --query Account --output text)
"""
_EXISTS = """
exists() {  # exists COMMAND...: whether that finds something; what else fails ends the script
    if answer=$("$@" 2>&1); then
        return 0
    fi
    case "$answer" in
    *NoSuchEntity*) return 1 ;;
    esac
    printf '%s\\n' "$answer" >&2
    exit 1
}
"""
_ROLE_EXISTS = """
role_exists() {  # role_exists NAME ARN
    exists aws iam get-role --role-name="$1" --query=Role.Arn --output=text || return 1
    case "$answer" in
    *"$2"*) ;;
    *)
        echo "The role $1 exists as $answer, and the settings have $2: mend ROLE_ARN." >&2
        exit 1
        ;;
    esac
    echo "The role $1 exists. Its trust policy, which is replaced, was:" >&2
    aws iam get-role --role-name="$1" --query=Role.AssumeRolePolicyDocument --output=json >&2
}
"""
_CASE_ONCE = """
case "$account" in
"""
_CASE_STEPS = """
case "$step:$account" in
"""
_TAIL_ONCE = """
*)
    echo "Nothing to make in account $account; there is: {order}" >&2
    exit 1
    ;;
esac
"""
_TAIL_STEPS = """
*)
    echo "Nothing to make at step '$step' in account $account; there is: {order}" >&2
    exit 1
    ;;
esac
"""


def to_cli(grants: Grants) -> str:
    """Return the script; each account's part is one branch of its ``case``.

    Where an account has several turns, the script wants to be told the step.
    """
    turns = grants.turns
    steps = any(turn.number > 1 for turn in turns)
    order = ", ".join(
        f"step {step} in {turn.account}" if steps else turn.account
        for step, turn in enumerate(turns, 1)
    )
    roles = any(isinstance(part, Role) for part in grants.parts)
    asks = roles or grants.site.kind == "root"
    return "".join(
        [
            (_STEPS if steps else _ONCE).format(order=order),
            _EXISTS if asks else "",
            _ROLE_EXISTS if roles else "",
            _CASE_STEPS if steps else _CASE_ONCE,
            *(
                "\n".join(_branch(turn, step if steps else None))
                for step, turn in enumerate(turns, 1)
            ),
            (_TAIL_STEPS if steps else _TAIL_ONCE).format(order=order),
        ]
    )


def _branch(turn: Turn, step: int | None) -> Iterator[str]:
    title = f"account {turn.account}" if step is None else f"step {step}: account {turn.account}"
    yield f"\n# ---- {title} ----"
    yield f"{turn.account})" if step is None else f"{step}:{turn.account})"
    for part in turn.parts:
        yield from _commands(part)
    yield ";;\n"


def _commands(part: Part) -> Iterable[str]:
    if isinstance(part, Role):
        return _role(part)
    if isinstance(part, Resource):
        return _resource(part)
    return _managed(part) if part.kind == "root" else _inline(part)


def _resource(part: Resource) -> Iterator[str]:
    yield f"# The stream {part.name}: who may write to it"
    options = {"region": part.region, "resource-arn": part.arn, "policy": _json(part.policy)}
    yield _aws("kinesis put-resource-policy", options)


def _inline(site: Site) -> Iterator[str]:
    yield f"# The site: what its {site.kind} may do"
    options = {
        f"{site.kind}-name": site.name,
        "policy-name": POLICY_NAME,
        "policy-document": _json(site.policy),
    }
    yield _aws(f"iam put-{site.kind}-policy", options)


def _managed(site: Site) -> Iterator[str]:
    partition = site.principal.split(":")[1]
    arn = f"arn:{partition}:iam::{site.account}:policy/{POLICY_NAME}"
    document = {"policy-document": '"$policy"'}
    yield "# The site: attach this to the role or user that it runs as"
    yield f"policy={quote(_json(site.policy))}"
    yield f"if exists aws iam get-policy --policy-arn={arn}; then"
    yield _aws(
        "iam create-policy-version",
        {"policy-arn": arn},
        document,
        flags=("set-as-default",),
        indent=4,
        after=" || {",
    )
    # Managed policies have five: "IAM and AWS STS quotas", IAM User Guide.
    yield (
        '        echo "IAM keeps 5 versions of a policy. If there are 5 already, delete one:'
        f' aws iam delete-policy-version --policy-arn={arn} --version-id=..." >&2'
    )
    yield "        exit 1\n    }\nelse"
    yield _aws("iam create-policy", {"policy-name": POLICY_NAME}, document, indent=4)
    yield "fi"


def _role(role: Role) -> Iterator[str]:
    name = {"role-name": role.name}
    about = {"description": role.description, "max-session-duration": str(role.seconds)}
    yield f"# The role {role.name}: whom it trusts, what it may do"
    yield f"trust={quote(_json(role.trust))}"
    yield f"if role_exists {quote(role.name)} {quote(role.arn)}; then"
    yield _aws("iam update-assume-role-policy", name, {"policy-document": '"$trust"'}, indent=4)
    yield _aws("iam update-role", {**name, **about}, indent=4)
    yield "else"
    yield _aws(
        "iam create-role",
        {"path": role.path, **name, **about},
        {"assume-role-policy-document": '"$trust"'},
        indent=4,
    )
    yield "fi"
    if role.permission is not None:
        options = {"policy-name": POLICY_NAME, "policy-document": _json(role.permission)}
        yield _aws("iam put-role-policy", {**name, **options})


def _aws(
    command: str,
    options: Mapping[str, str],
    expanded: Mapping[str, str] | None = None,
    *,
    flags: Iterable[str] = (),
    indent: int = 0,
    after: str = "",
) -> str:
    """Return one command; `options` are quoted, `expanded` are left to the shell."""
    given = [f"--{name}={quote(value)}" for name, value in options.items()]
    given += [f"--{name}={value}" for name, value in (expanded or {}).items()]
    given += [f"--{flag}" for flag in flags]
    start = " " * indent
    return f" \\\n{start}    ".join([f"{start}aws {command}", *given]) + after


def _json(document: Document) -> str:
    return json.dumps(document, indent=2)
