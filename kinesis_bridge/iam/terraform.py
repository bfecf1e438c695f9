"""The grants as Terraform: one file for each account, in HCL as ``terraform fmt`` leaves it.

Arguments: ``aws_iam_policy_document``, ``aws_iam_role``, ``aws_iam_role_policy``,
``aws_iam_user_policy``, ``aws_iam_policy`` and ``aws_kinesis_resource_policy``, Terraform AWS
provider. Escapes: "Strings and templates", Terraform language.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .parts import POLICY_NAME, Resource, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .documents import Document
    from .grants import Grants
    from .parts import Part

Value = str | int | list[str]


class Expression(str):
    """HCL that is written as it stands."""

    __slots__ = ()


def to_terraform(grants: Grants) -> str:
    """Return the files one below the other under their headers, in the order to apply them in."""
    files = []
    for account, parts, number in grants.turns:
        taken: set[str] = set()
        roles: dict[str, str] = {}
        blocks: list[str] = []
        for part in parts:
            label = _label(part.name, taken)
            blocks += map("\n".join, _blocks(part, label, roles))
            if isinstance(part, Role):
                roles[part.arn] = label
        file = f"account-{account}" if number == 1 else f"account-{account}-{number}"
        header = (
            f"# ---- {file}.tf ----\n"
            f"# A configuration of its own: its aws provider is of account {account}.\n\n"
        )
        files.append(header + "\n\n".join(blocks) + "\n")
    return "\n".join(files)


def _blocks(part: Part, label: str, roles: Mapping[str, str]) -> Iterator[list[str]]:
    if isinstance(part, Role):
        yield from _role(part, label, [roles[arn] for arn in part.trusted if arn in roles])
        return
    yield _document(label, part.policy)
    policy = _json_of(label)
    if isinstance(part, Resource):
        yield _block(
            f'resource "aws_kinesis_resource_policy" "{label}"',
            [
                f"# In {part.region}, which the provider must be of too.",
                *_attributes({"resource_arn": part.arn, "policy": policy}),
            ],
        )
    elif part.kind == "root":
        yield _block(
            f'resource "aws_iam_policy" "{label}"',
            _attributes({"name": POLICY_NAME, "policy": policy}),
        )
    else:
        yield _block(
            f'resource "aws_iam_{part.kind}_policy" "{label}"',
            _attributes({"name": POLICY_NAME, part.kind: part.name, "policy": policy}),
        )


def _role(role: Role, label: str, before: list[str]) -> Iterator[list[str]]:
    order = ", ".join(f"aws_iam_role.{other}" for other in before)
    yield _document(f"{label}_trust", role.trust)
    yield _block(
        f'resource "aws_iam_role" "{label}"',
        _attributes(
            {
                "name": role.name,
                "path": role.path,
                "description": role.description,
                "max_session_duration": role.seconds,
                "assume_role_policy": _json_of(f"{label}_trust"),
                **({"depends_on": Expression(f"[{order}]")} if before else {}),
            }
        ),
    )
    if role.permission is not None:
        yield _document(label, role.permission)
        yield _block(
            f'resource "aws_iam_role_policy" "{label}"',
            _attributes(
                {
                    "name": POLICY_NAME,
                    "role": Expression(f"aws_iam_role.{label}.name"),
                    "policy": _json_of(label),
                }
            ),
        )


def _document(label: str, document: Document) -> list[str]:
    body: list[str] = []
    for statement in document["Statement"]:
        named = statement.get("Resource")
        resources = {"resources": _listed(named)} if named else {}
        inner = _attributes(
            {
                "sid": statement["Sid"],
                "effect": statement["Effect"],
                "actions": _listed(statement["Action"]),
                **resources,
            }
        )
        for kind, whom in statement.get("Principal", {}).items():
            principals = {"type": kind, "identifiers": _listed(whom)}
            inner += ["", *_block("principals", _attributes(principals))]
        for test, asked in statement.get("Condition", {}).items():
            for variable, values in asked.items():
                condition = {"test": test, "variable": variable, "values": _listed(values)}
                inner += ["", *_block("condition", _attributes(condition))]
        body += ([""] if body else []) + _block("statement", inner)
    return _block(f'data "aws_iam_policy_document" "{label}"', body)


def _json_of(label: str) -> Expression:
    return Expression(f"data.aws_iam_policy_document.{label}.json")


def _label(name: str, taken: set[str]) -> str:
    """Return an identifier for `name` that the file does not have yet."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).strip("_").lower()
    stem = label = words if words[:1].isalpha() else f"bridge_{words}".rstrip("_")
    number = 1
    while {label, f"{label}_trust"} & taken:
        number += 1
        label = f"{stem}_{number}"
    taken |= {label, f"{label}_trust"}
    return label


def _block(head: str, body: list[str]) -> list[str]:
    return [f"{head} {{", *(f"  {line}" if line else "" for line in body), "}"]


def _attributes(values: Mapping[str, Value]) -> list[str]:
    """Return lines as the formatter wants them: neighbours of one line align their ``=``."""
    lines: list[str] = []
    run: list[tuple[str, str]] = []
    for name, value in values.items():
        text = _value(value)
        if "\n" in text:
            lines += [*_aligned(run), *f"{name} = {text}".split("\n")]
            run = []
        else:
            run.append((name, text))
    return lines + _aligned(run)


def _aligned(run: list[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in run), default=0)
    return [f"{name:{width}} = {text}" for name, text in run]


def _value(value: Value) -> str:
    if isinstance(value, int | Expression):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if len(value) == 1:
        return f"[{quoted(value[0])}]"
    return "\n".join(["[", *(f"  {quoted(text)}," for text in value), "]"])


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def quoted(text: str) -> str:
    """Return `text` as a string of HCL that means just that; raise PolicyError where none can."""
    if "&{" in text:
        raise PolicyError(
            Text(
                _(
                    "aws_iam_policy_document reads {sign} as a variable of IAM: {text} cannot be"
                    " said in Terraform; use another --format."
                ),
                sign="&{",
                text=repr(text),
            )
        )
    return re.sub(r"([$%])(?=\{)", r"\1\1", json.dumps(text, ensure_ascii=False))
