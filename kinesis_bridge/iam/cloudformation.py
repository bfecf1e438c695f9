"""The grants as CloudFormation templates, in YAML: one stack for each account (and region).

Types: ``AWS::IAM::Role``, ``AWS::IAM::RolePolicy``, ``AWS::IAM::UserPolicy``,
``AWS::IAM::ManagedPolicy`` and ``AWS::Kinesis::ResourcePolicy``, CloudFormation Template Reference.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from .parts import POLICY_NAME, Resource, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .grants import Grants
    from .order import Turn
    from .parts import Part


def to_cloudformation(grants: Grants) -> str:
    """Return one YAML document for each stack; split at the lines of three hyphens."""
    return "".join(_text(*stack) for stack in _stacks(grants))


def _stacks(grants: Grants) -> Iterator[tuple[Turn, str | None, list[Part]]]:
    for turn in grants.turns:
        everywhere = [part for part in turn.parts if not isinstance(part, Resource)]
        streams = [part for part in turn.parts if isinstance(part, Resource)]
        for region in sorted({stream.region for stream in streams}):
            yield turn, region, [part for part in streams if part.region == region]
        if everywhere:
            yield turn, None, [*everywhere]


def _text(turn: Turn, region: str | None, parts: list[Part]) -> str:
    where = f"region {region}" if region else "any region, --capabilities CAPABILITY_NAMED_IAM"
    if turn.number > 1:
        where = f"its stack number {turn.number}, beside those before; {where}"
    resources: dict[str, Any] = {}
    roles: dict[str, str] = {}
    for part in parts:
        name, resource = _resource(part)
        known = sum(re.fullmatch(rf"{name}\d*", other) is not None for other in resources)
        name = f"{name}{known + 1}" if known else name
        resources[name] = resource
        if isinstance(part, Role):
            if before := [roles[arn] for arn in part.trusted if arn in roles]:
                resource["DependsOn"] = before
            roles[part.arn] = name
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"kinesis_bridge in account {turn.account}",
        "Resources": resources,
    }
    return "\n".join(["---", f"# Stack of account {turn.account}: {where}", *_yaml(template), ""])


def _resource(part: Part) -> tuple[str, dict[str, Any]]:
    if isinstance(part, Role):
        properties: dict[str, Any] = {
            "RoleName": part.name,
            "Path": part.path,
            "Description": part.description,
            "MaxSessionDuration": part.seconds,
            "AssumeRolePolicyDocument": part.trust,
        }
        if part.permission is not None:
            policy = {"PolicyName": POLICY_NAME, "PolicyDocument": part.permission}
            properties["Policies"] = [policy]
        return "BridgeRole", {"Type": "AWS::IAM::Role", "Properties": properties}
    if isinstance(part, Resource):
        properties = {"ResourceArn": part.arn, "ResourcePolicy": part.policy}
        return "StreamPolicy", {"Type": "AWS::Kinesis::ResourcePolicy", "Properties": properties}
    if part.kind == "root":
        properties = {"ManagedPolicyName": POLICY_NAME, "PolicyDocument": part.policy}
        return "SitePolicy", {"Type": "AWS::IAM::ManagedPolicy", "Properties": properties}
    kind = part.kind.capitalize()
    properties = {
        f"{kind}Name": part.name,
        "PolicyName": POLICY_NAME,
        "PolicyDocument": part.policy,
    }
    return "SitePolicy", {"Type": f"AWS::IAM::{kind}Policy", "Properties": properties}


def _yaml(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    """Yield block style; scalars as in JSON, which YAML reads alike."""
    if isinstance(value, dict):
        items = [(f"{_key(key)}:", item) for key, item in value.items()]
    else:
        items = [("-", item) for item in value]
    for head, item in items:
        if not isinstance(item, dict | list):
            yield f"{head} {_scalar(item)}"
            continue
        lines = list(_yaml(item))
        if head == "-":
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
        else:
            yield head
            yield from (f"  {line}" for line in lines)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z]+", text) else json.dumps(text)


def _scalar(value: Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z]+(:{1,2}[A-Za-z]+)*", value)
    reserved = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return value if plain and value.lower() not in reserved else json.dumps(value)
