"""What AWS says -> what it means: the one place where boto's errors become ours.

Errors are recognised by AWS's code or by the name of boto's class, so nothing of boto is imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from . import arns, iam, redaction
from .conf import get_config
from .findings import DENIED, EXPIRED, FINDINGS, UNKNOWN, Document, Finding, Hop, phrases
from .words import Text

if TYPE_CHECKING:
    from .conf import RoleConfig, StreamConfig
    from .exceptions import AwsError

__all__ = ["DENIED", "Path", "explain", "explain_as", "explain_named", "find", "skew_of"]


@dataclass(kw_only=True)
class Path:
    """What is known of the way when something fails on it."""

    hop: Hop
    role: RoleConfig | None = None
    stream: StreamConfig | None = None
    region: str | None = None
    endpoint: str | None = None
    caller_arn: str | None = None
    read: bool = False
    tags: bool = False
    """Whether the caller's session passes tags of its own."""
    facts: dict[str, str] = field(default_factory=dict)

    def names(self) -> dict[str, str]:
        """Return what the texts of a finding may name."""
        role, stream = self.role, self.stream
        caller = self.caller_arn
        site = caller or Text(phrases.SITES_OWN)
        account_b = role.account if role else _account_of(stream)
        external = role and role.external_id
        return {
            "account_a": _account(caller, of_role=bool(role and role.via)),
            "account_b": Text(phrases.ACCOUNT_B_NUMBERED, number=account_b)
            if account_b
            else Text(phrases.ACCOUNT_B),
            "caller": site,
            "principal": self._principal() or site,
            "role": Text(phrases.ROLE, arn=role.role_arn, alias=repr(role.alias)) if role else site,
            "role_arn": role.role_arn if role else site,
            "role_name": role.name if role else Text(phrases.NONE),
            "duration": str(role.duration_seconds if role else 0),
            "stream_arn": self._stream_arn() or Text(phrases.NONE),
            "external_id": Text(phrases.SAME_EXTERNAL_ID if external else phrases.NO_EXTERNAL_ID),
            "stream": f"{stream.name!r} (STREAMS[{stream.alias!r}])"
            if stream
            else Text(phrases.THE_STREAM),
            "stream_name": stream.name if stream else Text(phrases.NONE),
            "region": self.region or (stream and stream.region) or Text(phrases.UNKNOWN_REGION),
            "endpoint": self.endpoint or "AWS",
            "profile": repr(role.profile)
            if role and role.profile
            else Text(phrases.DEFAULT_PROFILE),
            **self.facts,
        }

    def _principal(self) -> str | None:
        """Return whom a trust policy names for the caller: a session's ARN lacks the path."""
        if self.role and self.role.via:
            return get_config().role(self.role.via).role_arn
        return iam.principal_of(self.caller_arn) if self.caller_arn else None

    def _stream_arn(self) -> str | None:
        return iam.stream_arn(self.stream, self.role, self.region) if self.stream else None

    def document(self, which: Document) -> tuple[str, object]:
        """Return the title and the JSON of one policy document."""
        names = self.names()
        principal = self._principal() or iam.UNKNOWN_PRINCIPAL
        of_a, of_b = {"account": names["account_a"]}, {"account": names["account_b"]}
        if which == "identity" and self.role:
            title = Text(phrases.IDENTITY_POLICY, **of_a, principal=names["principal"])
            return title, iam.identity_policy(self.role, tags=self.tags)
        if which == "trust" and self.role:
            title = Text(phrases.TRUST_POLICY, **of_b, role=self.role.name)
            return title, iam.trust_policy(self.role, principal, tags=self.tags)
        if which == "key":
            title = Text(phrases.KEY_STATEMENT, **of_b)
            return title, iam.key_statement(self.role.role_arn if self.role else principal)
        shards = self.stream is not None and self.stream.options.get("AGGREGATE") == "shard"
        arn = self._stream_arn() or "*"
        if which == "resource":
            title = Text(phrases.RESOURCE_POLICY, **of_b, stream=names["stream_name"])
            return title, iam.resource_policy(arn, principal, read=self.read, list_shards=shards)
        title = Text(phrases.PERMISSION_POLICY, **of_b, role=names["role_name"])
        if self.role is None:
            title = Text(phrases.IDENTITY_POLICY, **of_a, principal=names["principal"])
        policy = iam.permission_policy([arn], read=self.read, list_shards=[arn] if shards else ())
        return title, policy


def explain(error: BaseException, path: Path) -> AwsError:
    """Return `error` as ours, explained for `path`; raise it ``from`` the original."""
    redaction.forget_frames(error)
    code, message, response = _read(error)
    if path.hop == "assume-role" and not path.caller_arn:
        # "User: arn:... is not authorized to perform: sts:AssumeRole ..." names the caller.
        named = re.search(r"User: (arn:\S+) is not authorized", message)
        path.caller_arn = named[1] if named else None
    hop = path.hop
    if hop == "stream" and path.role is None and code in EXPIRED:
        hop = "credentials"  # no role between: it is account A's own session that has ended
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    finding = find(hop, code, message, status, without_role=path.role is None)
    return explain_as(finding, path, code=code, message=message, skew=_skew(response))


def explain_as(
    finding: Finding, path: Path, *, code: str, message: str, skew: str = ""
) -> AwsError:
    """Return the error of `finding`, its texts filled in for `path`."""
    path.tags = path.tags or finding.name == "assume-role-tags"
    names = {**path.names(), "code": code, "message": message or code, "skew": skew}
    return finding.error(
        Text(finding.cause, **names),
        name=finding.name,
        side=finding.side,
        retryable=finding.retryable,
        code=code,
        hint=Text(finding.fix, **names),
        # JSON's keys are no other class than str.
        documents={str(title): doc for title, doc in map(path.document, finding.documents)},
    )


def explain_named(name: str, path: Path, **facts: object) -> AwsError:
    """Return the error of the row `name`, its texts filled in from `path` and `facts`."""
    path.facts.update(
        {fact: value if isinstance(value, str) else str(value) for fact, value in facts.items()}
    )
    finding = next(finding for finding in FINDINGS if finding.name == name)
    return explain_as(finding, path, code=name, message=path.facts.get("message", ""))


def find(
    hop: Hop, code: str, message: str = "", status: int = 0, *, without_role: bool = False
) -> Finding:
    """Return the row for AWS's `code` and `message` at `hop`; an unknown 5xx is AWS's own fault."""
    for finding in FINDINGS:
        if (
            hop in finding.hops
            and code in finding.codes
            and without_role >= finding.without_role
            and (not finding.says or re.search(finding.says, f"{code} {message}"))
        ):
            return finding
    return find(hop, "InternalFailure") if 500 <= status <= 599 else UNKNOWN


def _read(error: BaseException) -> tuple[str, str, dict[str, Any]]:
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        details = response["Error"]
        return str(details.get("Code", "")), str(details.get("Message", "")), response
    known = {code for finding in FINDINGS for code in finding.codes}
    for cls in type(error).__mro__:
        if cls.__name__ in known:
            return cls.__name__, str(error), {}
    return type(error).__name__, str(error), {}


def _skew(response: dict[str, Any]) -> str:
    stamp = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not stamp:
        return ""
    try:
        seconds = (datetime.now(UTC) - parsedate_to_datetime(stamp)).total_seconds()
    except (TypeError, ValueError):
        return ""  # a proxy's idea of a date
    return skew_of(seconds)


def skew_of(seconds: float) -> Text:
    """Return how far this machine's clock is ahead, or behind where that is negative."""
    way = phrases.AHEAD if seconds > 0 else phrases.BEHIND
    return Text(way, seconds=f"{abs(seconds):.0f}")


def _account_of(stream: StreamConfig | None) -> str | None:
    parsed = arns.parse(stream.arn) if stream and stream.arn else None
    return parsed.account if parsed else None


def _account(arn: str | None, *, of_role: bool) -> Text:
    """Return account A, or that of the role between, with its number where that is known."""
    if arn is None or arn.count(":") < 5:
        return Text(phrases.ACCOUNT if of_role else phrases.ACCOUNT_A)
    numbered = phrases.ACCOUNT_NUMBERED if of_role else phrases.ACCOUNT_A_NUMBERED
    return Text(numbered, number=arn.split(":")[4])
