"""What each account must make, for the settings as they are; pure.

One :class:`Site` in account A, and in account B roles and resource policies; :mod:`.order` says who
makes what first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .advice import check_key, check_text, warnings_of
from .documents import (
    Document,
    document,
    identity_policy,
    permission_policy,
    resource_policy,
    trust_policy,
)
from .limits import check_sizes
from .order import Turn, turns_of
from .parts import DEFAULT_SESSION_SECONDS, Part, Resource, Role, Site, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinesis_bridge.conf import BridgeConfig, RoleConfig


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
    def parts(self) -> list[Part]:
        """All of it, A's last."""
        return [*self.roles, *self.resources, self.site]

    @property
    def turns(self) -> list[Turn]:
        """What each account makes, in an order in which that can be done."""
        return turns_of(self.parts)

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


def make_grants(
    config: BridgeConfig,
    principal: str,
    targets: Iterable[Target],
    *,
    read: bool = False,
    kms_key: str | None = None,
    without_role: bool = False,
    unused_roles: bool = False,
    session_tags: bool = False,
) -> Grants:
    """Make every document that `targets` need; the first of them is the main one.

    `principal` has passed :func:`~.principals.check_principal`. `without_role`: resource policies
    in place of roles. `unused_roles`: the settings' roles that serve none of `targets`, too.
    `session_tags`: the principal's credentials bring tags of their own, as EKS Pod Identity's do.
    Raises PolicyError for what no document can say.
    """
    targets = list(targets)
    check_key(kms_key, targets)
    drafts: dict[str, _Draft] = {}
    direct: list[Target] = []
    assumed: list[Document] = []
    for target in targets:
        role = None if without_role else config.role_of(target.stream)
        if role is None:
            direct.append(target)
        else:
            assumed += _draft(config, role, principal, drafts, session_tags).values()
            drafts[role.role_arn].streams.append(target)
    for role in config.roles.values() if unused_roles else ():
        assumed += _draft(config, role, principal, drafts, session_tags).values()
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
        next(role for role in roles if role.arn == main_role.role_arn)
        if main_role
        else resources[targets[0].arn]
    )
    site = Site(principal=principal, policy=document(assumed))
    parts: list[Part] = [*roles, *resources.values(), site]
    turns_of(parts)  # raises where there is no order
    warnings = [*warnings_of(site, roles, direct, kms_key, targets), *check_sizes(parts)]
    return Grants(
        site=site,
        roles=tuple(roles),
        resources=tuple(resources.values()),
        main=main,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _draft(
    config: BridgeConfig,
    role: RoleConfig,
    principal: str,
    drafts: dict[str, _Draft],
    session_tags: bool,
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
        check_text(asked)
        before = draft
        draft = drafts.setdefault(step.role_arn, _Draft(config=step))
        draft.seconds = max(draft.seconds, step.duration_seconds)
        trusted = before.config.role_arn if before else principal
        # Tags of Pod Identity are transitive: each role of the chain gets them.
        draft.trust += trust_policy(asked, trusted, tags=session_tags)["Statement"]
        [statement] = identity_policy(asked, tags=session_tags)["Statement"]
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
            Text(
                _(
                    "{stream} is a Firehose stream, and Firehose has no resource policies: another"
                    " account writes to it through a role (ROLE)."
                ),
                stream=f'STREAMS["{target.stream.alias}"]',
            )
        )
    policy = resource_policy(target.arn, principal, read=read, list_shards=target.lists_shards)
    return Resource(arn=target.arn, policy=policy)
