"""RoleConfig -> a boto3 session that assumes the role, refreshes itself, and is one process's own.

The only package that touches credentials. boto3 is imported at the first use, not at start-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kinesis_bridge.conf import get_config
from kinesis_bridge.registry import PerProcess

if TYPE_CHECKING:
    from datetime import datetime

    from boto3.session import Session

    from kinesis_bridge.conf import RoleConfig, StreamConfig

__all__ = [
    "TemporaryCredentials",
    "get_session",
    "region_of",
    "renew",
    "session_of",
    "source_of",
    "temporary_credentials",
]


class TemporaryCredentials(NamedTuple):
    """What AssumeRole gave, with whose it is. Its ``repr`` shows no secret."""

    access_key: str
    secret_key: str
    token: str
    expires_at: datetime
    arn: str
    """``arn:aws:sts::<B>:assumed-role/<role>/<session>``."""
    region: str | None

    def __repr__(self) -> str:
        return f"<TemporaryCredentials of {self.arn}>"


class _Key(NamedTuple):
    role: str | None
    profile: str | None


def _open(key: _Key) -> Session:
    from .assume import open_assumed, open_source  # noqa: PLC0415 - imports boto3

    if key.role is None:
        return open_source(key.profile)
    role = get_config().role(key.role)
    return open_assumed(role, get_session(role.via) if role.via else source_of(role))


_sessions: PerProcess[_Key, Session] = PerProcess(_open)


def get_session(role: str | None = None) -> Session:
    """Return this process's boto3 session for a role of ``KINESIS_BRIDGE["ROLES"]``.

    Without `role`: account A's own credentials (boto3's chain). Nothing is sent until a client of
    the session is used; the role is assumed then, and again shortly before its credentials expire.
    Its ``client()`` and ``resource()`` may be called from any thread. Do not keep the session
    across a fork: call this again.

    Raises ``ImproperlyConfigured`` for an alias that the settings do not have, and AwsError for a
    profile that this machine does not have.
    """
    if role is not None:
        get_config().role(role)
    return _sessions[_Key(role, None)]


def temporary_credentials(role: str) -> TemporaryCredentials:
    """Assume a role of the settings, and return the credentials: of this process's session.

    Raises ``ImproperlyConfigured`` for an alias that the settings do not have, and AwsError, with
    the fix, where the role cannot be assumed.
    """
    from .credentials import AssumedRoleCredentials  # noqa: PLC0415 - imports botocore

    session = get_session(role)
    credentials: object = session.get_credentials()
    assert isinstance(credentials, AssumedRoleCredentials)  # noqa: S101 - what open_assumed sets  # nosec B101
    frozen = credentials.get_frozen_credentials()
    assert credentials.expires_at is not None  # noqa: S101 - they have been fetched now  # nosec B101
    return TemporaryCredentials(
        frozen.access_key or "",
        frozen.secret_key or "",
        frozen.token or "",
        credentials.expires_at,
        credentials.assumed_role_arn or "",
        session.region_name,
    )


def source_of(role: RoleConfig | None) -> Session:
    """Return the session of account A's own credentials from which the way to `role` starts."""
    while role is not None and role.via is not None:
        role = get_config().role(role.via)
    return _sessions[_Key(None, role.profile if role else None)]


def session_of(stream: StreamConfig) -> Session:
    """Return the session through which `stream` is written and read."""
    return get_session(stream.role)


def region_of(stream: StreamConfig) -> str | None:
    """Return the region that `stream` is addressed in; None where neither settings nor AWS say."""
    return stream.region or session_of(stream).region_name


def renew(stream: StreamConfig) -> bool:
    """Drop the credentials behind `stream` after AWS called them expired.

    Returns False where there is nothing to renew: they are fresh, or are not ours to renew.
    """
    drop = getattr(session_of(stream).get_credentials(), "drop", None)
    return bool(drop and drop())
