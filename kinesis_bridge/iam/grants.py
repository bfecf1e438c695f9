"""What each account must make, for the settings as they are; pure.

One :class:`Site` in account A, and in account B roles and resource policies, in the order in which
they can be made: a trust policy names only what exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kinesis_bridge import arns
from kinesis_bridge.exceptions import PolicyError

from .documents import (
    Document,
    document,
    identity_policy,
    permission_policy,
    resource_policy,
    trust_policy,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kinesis_bridge.conf import BridgeConfig, RoleConfig, StreamConfig

POLICY_NAME = "kinesis-bridge"
# A role's default MaxSessionDuration: CreateRole, IAM API Reference.
DEFAULT_SESSION_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Site:
    """Account A: the site's own role or user, and the policy to attach to it."""

    principal: str
    """ARN of the role, the user or (asked for) the account's root."""
    policy: Document

    @property
    def account(self) -> str:
        """The 12 digits of account A."""
        return self.principal.split(":")[4]

    @property
    def kind(self) -> str:
        """``role``, ``user`` or ``root``."""
        return self.principal.split(":", 5)[5].split("/", 1)[0]

    @property
    def name(self) -> str:
        """The name of the role or user, without its path; ``root`` of the account's."""
        return self.kind if self.kind == "root" else self.principal.rsplit("/", 1)[-1]

    def as_dict(self) -> dict[str, Any]:
        """Return the part ``account_a`` of the JSON document."""
        return {
            "account": self.account,
            "principal": self.principal,
            "identity_policy": self.policy,
        }


@dataclass(frozen=True, kw_only=True)
class Role:
    """Account B: one role, whole."""

    config: RoleConfig
    """The first alias of its ARN."""
    trust: Document
    permission: Document | None
    """None where no stream is reached through it."""
    streams: tuple[str, ...]
    """Names of the streams that the permission policy covers."""
    seconds: int = DEFAULT_SESSION_SECONDS
    """The role's MaxSessionDuration: the longest DURATION_SECONDS asked of it."""

    @property
    def account(self) -> str:
        """The 12 digits of the role's account."""
        return self.config.account

    @property
    def name(self) -> str:
        """The role's name, without its path."""
        return self.config.name

    @property
    def trusted(self) -> list[str]:
        """The ARNs that the trust policy names: they must exist before the role is made."""
        named = (statement["Principal"]["AWS"] for statement in self.trust["Statement"])
        return list(dict.fromkeys(named))

    @property
    def path(self) -> str:
        """The role's path: ``/``, or ``/team/``."""
        return self.config.arn.resource.removeprefix("role").removesuffix(self.name)

    @property
    def description(self) -> str:
        """What the role is for, in characters that IAM takes."""
        if not self.streams:
            return "kinesis_bridge"
        text = f"kinesis_bridge writes to {', '.join(self.streams)}"
        return text if len(text) <= 1000 else f"{text[:997]}..."  # CreateRole, IAM API Reference

    def as_dict(self) -> dict[str, Any]:
        """Return the part ``account_b`` of the JSON document."""
        permission = {} if self.permission is None else {"permission_policy": self.permission}
        return {
            "account": self.account,
            "role_arn": self.config.role_arn,
            "role_name": self.name,
            "role_path": self.path,
            "max_session_duration": self.seconds,
            "streams": list(self.streams),
            "trust_policy": self.trust,
            **permission,
        }


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Account B without a role: one stream and its own policy."""

    arn: str
    policy: Document

    @property
    def account(self) -> str:
        """The 12 digits of the stream's account."""
        return self.arn.split(":")[4]

    @property
    def region(self) -> str:
        """The stream's region."""
        return self.arn.split(":")[3]

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.arn.rsplit("/", 1)[-1]

    def as_dict(self) -> dict[str, Any]:
        """Return the part ``account_b`` of the JSON document."""
        return {
            "account": self.account,
            "stream_arn": self.arn,
            "streams": [self.name],
            "resource_policy": self.policy,
        }


@dataclass(frozen=True, kw_only=True)
class Grants:
    """Everything that both accounts make."""

    site: Site
    roles: tuple[Role, ...]
    resources: tuple[Resource, ...]
    main: Role | Resource
    """What the stream asked for (or the default one) is written through."""
    warnings: tuple[str, ...]

    @property
    def accounts(self) -> dict[str, list[Site | Role | Resource]]:
        """Return what to make by account; those of B first, which A's policy names."""
        made: dict[str, list[Site | Role | Resource]] = {}
        parts: list[Site | Role | Resource] = [*self.roles, *self.resources, self.site]
        for part in parts:
            made.setdefault(part.account, []).append(part)
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document; ``others`` only where there is more than one role or stream."""
        parts: list[Role | Resource] = [*self.roles, *self.resources]
        others = [part.as_dict() for part in parts if part != self.main]
        return {
            "account_a": self.site.as_dict(),
            "account_b": self.main.as_dict(),
            **({"others": others} if others else {}),
            "warnings": list(self.warnings),
        }


@dataclass(kw_only=True)
class _Draft:
    """A role of which the settings have not told everything yet."""

    config: RoleConfig
    trust: list[Document] = field(default_factory=list)
    streams: list[Target] = field(default_factory=list)
    following: list[Document] = field(default_factory=list)
    seconds: int = DEFAULT_SESSION_SECONDS


@dataclass(frozen=True, kw_only=True)
class Target:
    """A stream and the ARN that a policy names it by."""

    stream: StreamConfig
    arn: str

    @property
    def lists_shards(self) -> bool:
        """Whether the producer asks for the stream's shards."""
        return self.stream.options.get("AGGREGATE") == "shard"


def make_grants(
    config: BridgeConfig,
    principal: str,
    targets: Iterable[Target],
    *,
    read: bool = False,
    kms_key: str | None = None,
    without_role: bool = False,
    unused_roles: bool = False,
) -> Grants:
    """Make every document that `targets` need; the first of them is the main one.

    `principal` has passed :func:`~.principals.check_principal`. `without_role`: resource policies
    in place of roles. `unused_roles`: the settings' roles that serve none of `targets`, too.
    Raises PolicyError for what no document can say.
    """
    targets = list(targets)
    check_key(kms_key, targets)
    warnings: list[str] = []
    drafts: dict[str, _Draft] = {}
    direct: list[Target] = []
    assumed: list[Document] = []
    for target in targets:
        role = None if without_role else config.role_of(target.stream)
        if role is None:
            direct.append(target)
        else:
            assumed += _draft(config, role, principal, drafts).values()
            drafts[role.role_arn].streams.append(target)
    for role in config.roles.values() if unused_roles else ():
        assumed += _draft(config, role, principal, drafts).values()
    roles = [_role(draft, read, kms_key) for draft in drafts.values()]
    resources = {target.arn: _resource(target, principal, read) for target in direct}
    if direct:
        assumed += permission_policy(
            [target.arn for target in direct],
            read=read,
            list_shards=[target.arn for target in direct if target.lists_shards],
            kms_key=kms_key,
        )["Statement"]
    main_role = None if targets[0] in direct else config.role_of(targets[0].stream)
    main = (
        next(role for role in roles if role.config.role_arn == main_role.role_arn)
        if main_role
        else resources[targets[0].arn]
    )
    site = Site(principal=principal, policy=document(assumed))
    warnings += _warnings(site, roles, direct, kms_key, targets)
    return Grants(
        site=site,
        roles=tuple(roles),
        resources=tuple(resources.values()),
        main=main,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _draft(
    config: BridgeConfig, role: RoleConfig, principal: str, drafts: dict[str, _Draft]
) -> dict[str, Document]:
    """Note the roles on the way to `role`; return what A's policy says of the first, by its ARN."""
    way = [role]
    while (via := way[0].via) is not None:
        way.insert(0, config.role(via))
    identity = None
    first: dict[str, Document] = {}
    draft: _Draft | None = None
    for step in way:
        # It stays set through a chain, and every role of it must allow that: "Monitor and control
        # actions taken with assumed roles", IAM User Guide.
        identity = step.source_identity or identity
        asked = replace(step, source_identity=identity)
        _check_text(asked)
        before = draft
        draft = drafts.setdefault(step.role_arn, _Draft(config=step))
        draft.seconds = max(draft.seconds, step.duration_seconds)
        trusted = before.config.role_arn if before else principal
        draft.trust += trust_policy(asked, trusted)["Statement"]
        [statement] = identity_policy(asked)["Statement"]
        if before:
            before.following.append(statement)
        else:
            first[step.role_arn] = statement
    return first


def _role(draft: _Draft, read: bool, kms_key: str | None) -> Role:
    written = permission_policy(
        [target.arn for target in draft.streams],
        read=read,
        list_shards=[target.arn for target in draft.streams if target.lists_shards],
        kms_key=kms_key,
    )
    statements = written["Statement"] + draft.following
    return Role(
        config=draft.config,
        trust=document(draft.trust),
        permission=document(statements) if statements else None,
        streams=tuple(dict.fromkeys(target.stream.name for target in draft.streams)),
        seconds=draft.seconds,
    )


def _resource(target: Target, principal: str, read: bool) -> Resource:
    if target.stream.is_firehose:
        raise PolicyError(
            f'STREAMS["{target.stream.alias}"] is a Firehose stream, and Firehose has no resource'
            " policies: another account writes to it through a role (ROLE)."
        )
    policy = resource_policy(target.arn, principal, read=read, list_shards=target.lists_shards)
    return Resource(arn=target.arn, policy=policy)


def _check_text(role: RoleConfig) -> None:
    for text in (role.role_arn, role.external_id or ""):
        if not text.isprintable() or "{{resolve:" in text:
            # CloudFormation would resolve the second: "Using dynamic references", its User Guide.
            raise PolicyError(f'ROLES["{role.alias}"] holds what no policy can hold: {text!r}')


def check_key(kms_key: str | None, targets: Iterable[Target]) -> None:
    """Refuse what is not the ARN of a key that can encrypt one of the streams.

    An alias names no key in a policy: "Specifying KMS keys in IAM policy statements", AWS KMS
    Developer Guide.
    """
    if kms_key is None:
        return
    arn = arns.parse(kms_key)
    if arn is None or arn.service != "kms" or not re.fullmatch(r"key/[A-Za-z0-9-]+", arn.resource):
        raise PolicyError(
            f"--kms-key must be the ARN of a key, and not of an alias, not {kms_key!r}. Example:"
            " arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        )
    regions = {target.arn.split(":")[3] for target in targets if not target.stream.is_firehose}
    if regions != {arn.region}:
        where = ", ".join(sorted(regions)) or "none: Firehose needs no key of its writers"
        raise PolicyError(
            f"--kms-key is in {arn.region}, the Kinesis streams are in: {where}. A key encrypts"
            " streams of its own region; choose one with --stream."
        )


def _warnings(
    site: Site,
    roles: Iterable[Role],
    direct: Iterable[Target],
    kms_key: str | None,
    targets: Iterable[Target],
) -> Iterator[str]:
    if site.kind == "root":
        yield (
            f"{site.principal} is the whole account {site.account}: every role and user of it whose"
            " own policy allows sts:AssumeRole may become the role. Name one role or user instead."
        )
    for role in roles:
        if role.permission is None:
            yield (
                f'ROLES["{role.config.alias}"] serves no stream: its permission policy is not'
                " kinesis_bridge's to write."
            )
    for target in direct:
        stream = f'STREAMS["{target.stream.alias}"]'
        if target.arn.split(":")[4] == site.account:
            yield f"{stream} is in the site's own account: the identity policy alone is enough."
        elif target.stream.role or not target.stream.arn:
            yield f'The resource policy is used with "STREAM": "{target.arn}", "ROLE": None.'
    owners = {target.arn.split(":")[4] for target in targets if not target.stream.is_firehose}
    key_account = kms_key.split(":")[4] if kms_key else None
    users = {role.account for role in roles if role.streams} | ({site.account} if direct else set())
    if key_account and (users | owners) != {key_account}:
        yield (
            f"The key is of account {key_account}, and whoever writes is not: its key policy must"
            " allow them too."
        )
