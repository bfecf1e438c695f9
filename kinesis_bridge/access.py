"""What both accounts must allow, for the settings and the caller as they are: ``kinesis_iam``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import arns, iam
from .conf import get_config
from .diagnosis import Path
from .exceptions import AwsError, PolicyError
from .iam.principals import EXAMPLE
from .session import region_of, source_of
from .words import Text
from .words import marked as _

if TYPE_CHECKING:
    from .conf import BridgeConfig, StreamConfig


def grants_of(
    alias: str | None,
    *,
    principal: str | None = None,
    kms_key: str | None = None,
    read: bool = False,
    without_role: bool = False,
    session_tags: bool = False,
) -> iam.Grants:
    """Make the documents for one stream of the settings, or (None) for all of them.

    Without `principal`, STS is asked who the site is. The main stream is the one named, else
    ``default``, else the first. Raises PolicyError for what cannot be made.
    """
    config = get_config()
    streams = [config.stream(alias)] if alias else list(config.streams.values())
    streams.sort(key=lambda stream: stream.alias != "default")
    warnings = []
    principal = principal or _declared(config, streams)
    caller = principal
    if caller is None:
        caller = _caller(config, streams)
        if config.local_aws:
            warnings.append(
                Text(
                    _(
                        "LOCAL_AWS is on: the principal is the emulator's. For the real accounts"
                        " name yours: {example}"
                    ),
                    example=EXAMPLE,
                )
            )
    for stream in streams:
        named, more = iam.check_principal(
            caller, given=principal is not None, partition=_partition(config, stream, caller)
        )
    grants = iam.make_grants(
        config,
        named,
        [_target(config, stream, named) for stream in streams],
        read=read,
        kms_key=kms_key,
        without_role=without_role,
        unused_roles=alias is None and not without_role,
        session_tags=session_tags,
    )
    return replace(grants, warnings=(*warnings, *more, *grants.warnings))


def _declared(config: BridgeConfig, streams: list[StreamConfig]) -> str | None:
    """Return the PRINCIPAL of the roles that are assumed first; None where not all have one."""
    found: dict[str | None, str] = {}
    for stream in streams:
        role = config.role_of(stream)
        while role is not None and role.via is not None:
            role = config.role(role.via)
        found.setdefault(role.principal if role else None, stream.alias)
    if None in found:
        return None
    if len(found) > 1:
        ways = ", ".join(f'STREAMS["{alias}"]: {name}' for name, alias in found.items())
        said = _(
            "The streams are reached by different principals ({ways}). Choose one with --stream."
        )
        raise PolicyError(Text(said, ways=ways))
    return next(iter(found))


def _caller(config: BridgeConfig, streams: list[StreamConfig]) -> str:
    """Ask STS who the site is, once for each way to its own credentials."""
    from .session.assume import who_am_i  # noqa: PLC0415 - imports boto3

    asked: dict[object, str] = {}  # by session
    found: dict[str, str] = {}
    for stream in streams:
        role = config.role_of(stream)
        try:
            source = source_of(role)
            if source not in asked:
                path = Path(hop="credentials", role=role, region=region_of(stream))
                asked[source] = who_am_i(source, path)
        except AwsError as error:
            said = _("STS cannot be asked who the site is: {error} Say it yourself: {example}")
            raise PolicyError(Text(said, error=error.message, example=EXAMPLE)) from error
        found.setdefault(asked[source], stream.alias)
    if len(found) > 1:
        ways = ", ".join(f'STREAMS["{alias}"]: {caller}' for caller, alias in found.items())
        said = _("The streams are reached by different callers ({ways}). Choose one with --stream.")
        raise PolicyError(Text(said, ways=ways))
    return next(iter(found))


def _partition(config: BridgeConfig, stream: StreamConfig, principal: str) -> str:
    role = config.role_of(stream)
    arn = role.arn if role else arns.parse(stream.arn or principal)
    return arn.partition if arn else "aws"


def _target(config: BridgeConfig, stream: StreamConfig, principal: str) -> iam.Target:
    """Return the stream with its exact ARN; of no account but its role's or the principal's own."""
    role = config.role_of(stream)
    region = stream.region or region_of(stream)
    if not region:
        raise PolicyError(
            Text(
                _(
                    "{stream} names no region, and neither does boto3's configuration: set REGION,"
                    ' e.g. "eu-west-1".'
                ),
                stream=f'STREAMS["{stream.alias}"]',
            )
        )
    arn = iam.stream_arn(stream, role, region)
    if not role and not stream.arn:
        partition, account = principal.split(":")[1], principal.split(":")[4]
        arn = f"arn:{partition}:kinesis:{region}:{account}:stream/{stream.name}"
    return iam.Target(stream=stream, arn=arn)
