"""Opens boto3 sessions: account A's own, and one for each role of B. Imports boto3."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from kinesis_bridge import redaction
from kinesis_bridge.conf import default_source, get_config
from kinesis_bridge.diagnosis import Path, explain, explain_as, find
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.findings import EXPIRED

from .announce import announce
from .clock import from_now, seconds_left
from .credentials import AssumedRoleCredentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

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
            arn: str = _whole("Arn", sts.get_caller_identity)["Arn"]
        return arn


def _whole(part: str, ask: Callable[..., Any], **request: Any) -> dict[str, Any]:
    """Return the answer to one request, which must have `part`.

    A page of somebody in between (a login, a proxy) makes botocore raise KeyError, or return
    nothing.
    """
    try:
        answer: dict[str, Any] = ask(**request)
    except KeyError as error:
        raise ResponseParserError(f"There is no {error} in the reply.") from None
    if part not in answer:
        raise ResponseParserError(f"There is no {part} in the reply.")
    return answer


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
            asked_at = from_now(0)
            try:
                answer = self._ask()
            except AwsError as error:
                if error.name != "credentials-expired" or not self._renew_source():
                    raise
                self._prepare()
                answer = self._ask()
        credentials = answer["Credentials"]
        redaction.protect(
            credentials["SecretAccessKey"], credentials["SessionToken"], credentials["AccessKeyId"]
        )
        expires_at = credentials["Expiration"]
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        seconds = seconds_left(expires_at, date=date, asked_at=asked_at)
        if seconds <= 0:
            del answer, credentials  # a report of the error may show its frames
            raise self._over(expires_at, seconds)
        # Never longer than asked for: a clock that is behind would have it so.
        seconds = min(seconds, float(self._role.duration_seconds))
        announce(
            AssumedRoleCredentials,
            role=self._role.alias,
            role_arn=self._role.role_arn,
            expires_at=expires_at,
            session_arn=answer["AssumedRoleUser"]["Arn"],
        )
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "account_id": self._role.account,
            "seconds": seconds,
            "expires_at": expires_at,
            "arn": answer["AssumedRoleUser"]["Arn"],
        }

    def _prepare(self) -> None:
        """Open STS with the source's credentials, which may be missing or expired."""
        path = Path(hop="credentials", role=self._role, region=self._region)
        with explained(path):
            if self._sts is None:
                self._sts = self._source.client("sts", region_name=self._region, config=STS_CONFIG)
            source = self._source.get_credentials()
            if source is None:
                raise NoCredentialsError
            try:
                frozen = source.get_frozen_credentials()
            except RuntimeError as error:
                # botocore's way to say that a provider gave credentials that are expired.
                expired = find("credentials", EXPIRED[0])
                raise explain_as(expired, path, code=EXPIRED[0], message=str(error)) from error
            redaction.protect(frozen.secret_key, frozen.token)

    def _renew_source(self) -> bool:
        """Drop the source's credentials where they are of a role, so that they can be renewed."""
        source: object = self._source.get_credentials()
        return isinstance(source, AssumedRoleCredentials) and source.drop()

    def _ask(self) -> dict[str, Any]:
        path = self._path()
        try:
            answer: dict[str, Any] = _whole(
                "AssumedRoleUser", self._sts.assume_role, **_parameters(self._role)
            )
        except BOTO_ERRORS as error:
            failure = explain(error, path)
            if failure.documents and not path.caller_arn:
                # Both accounts' documents name the caller, and STS's message did not.
                with suppress(AwsError):
                    path.caller_arn = who_am_i(
                        self._source, Path(hop="credentials", region=self._region)
                    )
                failure = explain(error, path)
            raise _of_role(failure, path) from error
        return answer

    def _over(self, expires_at: datetime, seconds: float) -> AwsError:
        """Return the error of credentials that were over before they came."""
        finding = replace(
            find("assume-role", "RequestExpired"),
            cause=(
                "STS at {endpoint} gave credentials of {role} that ended at {ended}, {ago} seconds"
                " ago by this machine's clock."
            ),
        )
        path = self._path()
        path.facts = {"ended": expires_at.isoformat(), "ago": f"{-seconds:.0f}"}
        return explain_as(finding, path, code="", message="")

    def _path(self) -> Path:
        return Path(
            hop="assume-role",
            role=self._role,
            region=self._region,
            endpoint=self._sts.meta.endpoint_url,
        )


def _of_role(failure: AwsError, path: Path) -> AwsError:
    """Say which role was asked for, where the finding speaks of the service or the network only."""
    names = path.names()
    if names["role"] in failure.message:
        return failure
    return type(failure)(
        f"STS at {names['endpoint']} gave no session of {names['role']}. {failure.message}",
        name=failure.name,
        side=failure.side,
        retryable=failure.retryable,
        code=failure.code,
        hint=failure.hint,
        documents=failure.documents,
    )


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
