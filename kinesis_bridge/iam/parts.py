"""What each account makes: a policy for the site, roles, policies of streams; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinesis_bridge.conf import RoleConfig, StreamConfig

    from .documents import Document

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
    def arn(self) -> str:
        """The role's ARN."""
        return self.config.role_arn

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
            "role_arn": self.arn,
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
class Target:
    """A stream and the ARN that a policy names it by."""

    stream: StreamConfig
    arn: str

    @property
    def lists_shards(self) -> bool:
        """Whether the producer asks for the stream's shards."""
        return self.stream.options.get("AGGREGATE") == "shard"


Part = Site | Role | Resource
