"""Opens boto3 sessions: account A's own, and one for each role of B. Imports boto3."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from kinesis_bridge import redaction
from kinesis_bridge.conf import default_source, get_config
from kinesis_bridge.diagnosis import Path, explain
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.signals import credentials_refreshed

from .credentials import AssumedRoleCredentials

if TYPE_CHECKING:
    from kinesis_bridge.conf import RoleConfig

# The last is a bare Exception: a reply that is not AWS's, from a proxy or a login page.
BOTO_ERRORS = (ClientError, BotoCoreError, ResponseParserError)
# A request of a site waits for these: two attempts and a pause end within 10 seconds.
STS_CONFIG = Config(
    connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2, "mode": "standard"}
)


class BridgeSession(boto3.session.Session):
    """A boto3 session whose clients may be made by several threads at once.

    boto3's own must not: "Multithreading or multiprocessing with clients", boto3 documentation.
    """

    def __init__(self, inner: botocore.session.Session, endpoint_url: str | None) -> None:
        self._making = threading.RLock()
        self._endpoint_url = endpoint_url
        super().__init__(botocore_session=inner)

    def client(self, *args: Any, **kwargs: Any) -> Any:
        """Make a client, one at a time; all of them for the emulator under LOCAL_AWS."""
        with self._making:
            made = super().client(*args, **self._here(kwargs))
        redaction.install()
        return made

    def resource(self, *args: Any, **kwargs: Any) -> Any:
        """Make a resource, one at a time; all of them for the emulator under LOCAL_AWS."""
        with self._making:
            made = super().resource(*args, **self._here(kwargs))
        redaction.install()
        return made

    def _here(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._endpoint_url is None:
            return kwargs
        # A proxy of this network does not know the emulator of this machine.
        config = (kwargs.get("config") or Config()).merge(Config(proxies={}))
        endpoint = kwargs.get("endpoint_url") or self._endpoint_url
        return {**kwargs, "endpoint_url": endpoint, "config": config}


def open_source(profile: str | None) -> BridgeSession:
    """Open a session of account A's own credentials; raise AwsError for an unknown profile."""
    endpoint = _emulator()
    inner = _inner(None if endpoint else profile, None)
    if endpoint:
        from kinesis_bridge import local  # noqa: PLC0415 - only development has the emulator

        inner.set_credentials(local.SITE_ACCESS_KEY, local.SITE_SECRET_KEY)
        if not inner.get_config_variable("region"):
            inner.set_config_variable("region", local.DEFAULT_REGION)
    inner.register("before-sign", _protect_signer)
    return BridgeSession(inner, endpoint)


def _protect_signer(**event: Any) -> None:
    """Withhold the token that is about to be sent, whichever client of account A sends it."""
    # The event has no public way to them.
    credentials = event["request_signer"]._credentials  # noqa: SLF001
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        redaction.protect(frozen.secret_key, frozen.token)


def open_assumed(role: RoleConfig, source: boto3.session.Session) -> BridgeSession:
    """Open the session of `role`, to be assumed with the credentials of `source`."""
    endpoint = _emulator()
    region = _region(role) or source.region_name
    inner = _inner(None if endpoint else role.profile, region)
    # botocore has no public way to give a session refreshable credentials.
    setattr(inner, "_credentials", AssumedRoleCredentials(_Assume(role, source, region)))  # noqa: B010
    return BridgeSession(inner, endpoint)


def _region(role: RoleConfig) -> str | None:
    """Return the role's REGION, else that of the first stream that is reached through it."""
    config = get_config()
    if role.region:
        return role.region
    for stream in config.streams.values():
        step = config.role_of(stream)
        while step is not None and stream.region:
            if step.alias == role.alias:
                return stream.region
            step = config.role(step.via) if step.via else None
    return None


def _emulator() -> str | None:
    """Return the emulator's URL under LOCAL_AWS."""
    if not get_config().local_aws:
        return None
    from kinesis_bridge import local  # noqa: PLC0415 - only development has the emulator

    return local.endpoint_url()


def _inner(profile: str | None, region: str | None) -> botocore.session.Session:
    inner = botocore.session.Session(profile=profile)
    named = profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    with explained(Path(hop="credentials", facts={"profile": repr(named)} if named else {})):
        inner.get_scoped_config()
    # In the region, as AWS recommends: "Manage AWS STS in an AWS Region", IAM User Guide.
    inner.set_config_variable("sts_regional_endpoints", "regional")
    if region:
        inner.set_config_variable("region", region)
    redaction.install()
    return inner


def who_am_i(session: boto3.session.Session, path: Path) -> str:
    """Return the ARN behind the credentials of `session` (GetCallerIdentity; needs no permission).

    Raises AwsError, explained for `path`; for an assumed role that includes assuming it.
    """
    with explained(path), redaction.quiet():
        region = path.region or session.region_name
        with closing(session.client("sts", region_name=region, config=STS_CONFIG)) as sts:
            path.region, path.endpoint = region, sts.meta.endpoint_url
            arn: str = sts.get_caller_identity()["Arn"]
        return arn


class explained:  # noqa: N801 - a context manager, used as a statement
    """Turn boto's errors into ours, explained for one path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, BOTO_ERRORS):
            raise explain(error, self.path) from error


class _Assume:
    """One call of AssumeRole, in botocore's terms."""

    def __init__(self, role: RoleConfig, source: boto3.session.Session, region: str | None) -> None:
        self._role = role
        self._source = source
        self._region = region
        self._sts: Any = None

    def __call__(self) -> dict[str, Any]:
        with redaction.quiet():
            self._prepare()
            answer = self._ask()
        credentials = answer["Credentials"]
        redaction.protect(
            credentials["SecretAccessKey"], credentials["SessionToken"], credentials["AccessKeyId"]
        )
        credentials_refreshed.send_robust(
            AssumedRoleCredentials,
            role=self._role.alias,
            role_arn=self._role.role_arn,
            expires_at=credentials["Expiration"],
        )
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
            "account_id": self._role.account,
            "arn": answer["AssumedRoleUser"]["Arn"],
        }

    def _prepare(self) -> None:
        """Open STS with the source's credentials, which may be missing or expired."""
        with explained(Path(hop="credentials", role=self._role, region=self._region)):
            if self._sts is None:
                self._sts = self._source.client("sts", region_name=self._region, config=STS_CONFIG)
            source = self._source.get_credentials()
            if source is None:
                raise NoCredentialsError
            frozen = source.get_frozen_credentials()
            redaction.protect(frozen.secret_key, frozen.token)

    def _ask(self) -> dict[str, Any]:
        path = Path(
            hop="assume-role",
            role=self._role,
            region=self._region,
            endpoint=self._sts.meta.endpoint_url,
        )
        try:
            answer: dict[str, Any] = self._sts.assume_role(**_parameters(self._role))
        except BOTO_ERRORS as error:
            failure = explain(error, path)
            if failure.documents and not path.caller_arn:
                # Both accounts' documents name the caller, and STS's message did not.
                with suppress(AwsError):
                    path.caller_arn = who_am_i(
                        self._source, Path(hop="credentials", region=self._region)
                    )
                failure = explain(error, path)
            raise failure from error
        return answer


def _parameters(role: RoleConfig) -> dict[str, Any]:
    """Return AssumeRole's request (AWS STS API Reference)."""
    given = {
        "RoleArn": role.role_arn,
        "RoleSessionName": role.session_name or default_session_name(),
        "DurationSeconds": role.duration_seconds,
        "ExternalId": role.external_id,
        "SourceIdentity": role.source_identity,
        "Policy": role.session_policy,
        "Tags": [{"Key": key, "Value": value} for key, value in role.tags.items()],
    }
    return {key: value for key, value in given.items() if value}


def default_session_name() -> str:
    """Return ``<project>-<host>``: what account B reads in CloudTrail when nothing is set."""
    wanted = f"{default_source().strip('/')}-{socket.gethostname()}"
    return re.sub(r"[^\w+=,.@-]", "-", wanted, flags=re.ASCII)[:64]
