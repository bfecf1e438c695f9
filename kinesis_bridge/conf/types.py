"""The settings as frozen objects; :mod:`.rules` makes them whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from kinesis_bridge import arns
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTING = "KINESIS_BRIDGE"
DEFAULT_LOCAL_AWS_URL = "http://127.0.0.1:4566"
DEFAULT_SCHEMAS = "urn:x-kinesis-bridge:"
# PutRecordBatch, Amazon Data Firehose API Reference: before base64.
FIREHOSE_RECORD_BYTES = 1000 * 1024
DELIVERIES: Mapping[str, str] = MappingProxyType(
    {
        "outbox": "kinesis_bridge.delivery.outbox.OutboxDelivery",
        "background": "kinesis_bridge.delivery.background.BackgroundDelivery",
        "direct": "kinesis_bridge.delivery.direct.DirectDelivery",
        "memory": "kinesis_bridge.delivery.memory.MemoryDelivery",
        "console": "kinesis_bridge.delivery.console.ConsoleDelivery",
    }
)


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class RoleConfig:
    """One role to assume with STS. Parameters as AssumeRole in the AWS STS API Reference."""

    alias: str
    """Its name in ``KINESIS_BRIDGE["ROLES"]``."""
    role_arn: str
    """``arn:aws:iam::<account B>:role/<path/><name>``."""
    external_id: str | None = field(default=None, repr=False)
    """What B's trust policy asks for in ``sts:ExternalId``; 2-1224 characters."""
    session_name: str | None = None
    """What B reads in CloudTrail; 2-64 characters. Default: project and host."""
    duration_seconds: int = 3600
    """Lifetime of the credentials, 900-43200; at most 3600 when reached through another role."""
    region: str | None = None
    """Region of STS and of the clients. Default: the stream's, then boto3's own."""
    source_identity: str | None = None
    """``sts:SourceIdentity``: kept through chaining; 2-64 characters."""
    tags: Mapping[str, str] = field(default_factory=_empty)
    """Session tags; at most 50."""
    session_policy: str | None = field(default=None, repr=False)
    """JSON policy that narrows the session further."""
    profile: str | None = None
    """Profile of the source credentials. Default: boto3's own chain."""
    via: str | None = None
    """Alias of another role to go through first (role chaining)."""
    principal: str | None = None
    """ARN of the role or user that the site runs as, for the documents; None: STS is asked."""

    @property
    def arn(self) -> arns.Arn:
        """The role's ARN in parts."""
        parsed = arns.parse(self.role_arn)
        assert parsed is not None  # noqa: S101 - conf.rules refused anything else  # nosec B101
        return parsed

    @property
    def account(self) -> str:
        """The 12 digits of account B."""
        return self.arn.account

    @property
    def name(self) -> str:
        """The role's name, without its path."""
        return self.role_arn.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One stream to publish to."""

    alias: str
    """Its name in ``KINESIS_BRIDGE["STREAMS"]``."""
    stream: str
    """The stream's name or its ARN (of Kinesis or Firehose), as written in the settings."""
    role: str | None = None
    """Alias of the role to assume; None: the caller's own credentials."""
    region: str | None = None
    """The stream's region: REGION, else its ARN's, else its role's; None: boto3's own."""
    delivery: str = "outbox"
    """A short name of :data:`DELIVERIES`, or a dotted path."""
    delivery_class: str = DELIVERIES["outbox"]
    """The dotted path of the delivery."""
    options: Mapping[str, Any] = field(default_factory=_empty)
    """Options of the delivery and of the stream; here with their defaults filled in."""

    @property
    def arn(self) -> str | None:
        """The stream's ARN, where the settings give one."""
        return self.stream if arns.parse(self.stream) else None

    @property
    def name(self) -> str:
        """The stream's name, without its ARN."""
        parsed = arns.parse(self.stream)
        name = parsed and (arns.stream_name(parsed) or arns.delivery_stream_name(parsed))
        return name or self.stream

    @property
    def is_firehose(self) -> bool:
        """Whether it is a Firehose stream: no keys, no shards, no order, nothing to read back."""
        parsed = arns.parse(self.stream)
        return parsed is not None and parsed.service == "firehose"

    @property
    def max_record_bytes(self) -> int:
        """The most that one record may hold; of Firehose 1,000 KiB, and no key counts."""
        limit: int = self.options["MAX_RECORD_BYTES"]
        return min(limit, FIREHOSE_RECORD_BYTES) if self.is_firehose else limit


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """The whole of ``settings.KINESIS_BRIDGE``."""

    source: str
    """CloudEvents ``source`` of every event."""
    roles: Mapping[str, RoleConfig]
    """The roles to assume, by alias."""
    streams: Mapping[str, StreamConfig]
    """The streams to publish to, by alias; ``default`` is the one that is meant unless named."""
    local_aws: bool = False
    """True: every AWS call goes to the emulator."""
    local_aws_url: str = DEFAULT_LOCAL_AWS_URL
    """Where the emulator is looked for before one is started within the process."""
    schemas: str = DEFAULT_SCHEMAS
    """What the URIs of the data's schemas begin with: CloudEvents ``dataschema``."""
    strict: bool = False
    """True: a write of a declared model that has no event raises UncapturedWrite."""

    def stream(self, alias: str) -> StreamConfig:
        """Return one stream; raise ``ImproperlyConfigured`` naming those there are."""
        try:
            return self.streams[alias]
        except KeyError:
            raise _missing("STREAMS", alias, self.streams) from None

    def role(self, alias: str) -> RoleConfig:
        """Return one role; raise ``ImproperlyConfigured`` naming those there are."""
        try:
            return self.roles[alias]
        except KeyError:
            raise _missing("ROLES", alias, self.roles) from None

    def role_of(self, stream: StreamConfig) -> RoleConfig | None:
        """Return the role through which `stream` is written, if any."""
        return self.role(stream.role) if stream.role else None


def _missing(section: str, alias: str, there: Mapping[str, object]) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        Text(
            _("{key} has no {alias}; there are: {known}."),
            key=f'{SETTING}["{section}"]',
            alias=repr(alias),
            known=", ".join(map(repr, there)) or Text(_("none")),
        )
    )
