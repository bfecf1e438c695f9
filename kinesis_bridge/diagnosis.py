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
from .findings import DENIED, EXPIRED, FINDINGS, UNKNOWN, Document, Finding, Hop

if TYPE_CHECKING:
    from .conf import RoleConfig, StreamConfig
    from .exceptions import AwsError

__all__ = ["DENIED", "Path", "explain", "explain_as", "explain_named", "find"]


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
    facts: dict[str, str] = field(default_factory=dict)

    def names(self) -> dict[str, str]:
        """Return what the texts of a finding may name."""
        role, stream = self.role, self.stream
        caller = self.caller_arn
        site = caller or "the site's own role or user"
        account_b = role.account if role else _account_of(stream)
        external = role and role.external_id
        return {
            "account_a": _account(caller, "account" if role and role.via else "account A"),
            "account_b": f"account B ({account_b})" if account_b else "account B",
            "caller": site,
            "principal": self._principal() or site,
            "role": f"role {role.role_arn} (ROLES[{role.alias!r}])" if role else site,
            "role_arn": role.role_arn if role else site,
            "role_name": role.name if role else "none",
            "duration": str(role.duration_seconds if role else 0),
            "stream_arn": self._stream_arn() or "none",
            "external_id": (
                "must ask for the same ExternalId as the setting EXTERNAL_ID"
                if external
                else "must ask for no ExternalId, since EXTERNAL_ID is not set"
            ),
            "stream": f"{stream.name!r} (STREAMS[{stream.alias!r}])" if stream else "the stream",
            "stream_name": stream.name if stream else "none",
            "region": self.region or (stream and stream.region) or "an unknown region",
            "endpoint": self.endpoint or "AWS",
            "profile": repr(role.profile) if role and role.profile else "the default one",
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
        if which == "identity" and self.role:
            title = f"{names['account_a']}: identity policy of {names['principal']}"
            return title, iam.identity_policy(self.role)
        if which == "trust" and self.role:
            title = f"{names['account_b']}: trust policy of role {self.role.name}"
            return title, iam.trust_policy(self.role, principal)
        if which == "key":
            title = f"{names['account_b']}: statement of the key's policy"
            return title, iam.key_statement(self.role.role_arn if self.role else principal)
        shards = self.stream is not None and self.stream.options.get("AGGREGATE") == "shard"
        arn = self._stream_arn() or "*"
        if which == "resource":
            title = f"{names['account_b']}: resource policy of the stream {names['stream_name']}"
            return title, iam.resource_policy(arn, principal, read=self.read, list_shards=shards)
        holder = f"{names['account_b']}: permission policy of role {names['role_name']}"
        if self.role is None:
            holder = f"{names['account_a']}: identity policy of {names['principal']}"
        policy = iam.permission_policy([arn], read=self.read, list_shards=[arn] if shards else ())
        return holder, policy


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
    names = {**path.names(), "code": code, "message": message or code, "skew": skew}
    return finding.error(
        finding.cause.format_map(names),
        name=finding.name,
        side=finding.side,
        retryable=finding.retryable,
        code=code,
        hint=finding.fix.format_map(names),
        documents=dict(path.document(which) for which in finding.documents),
    )


def explain_named(name: str, path: Path, **facts: object) -> AwsError:
    """Return the error of the row `name`, its texts filled in from `path` and `facts`."""
    path.facts.update({fact: str(value) for fact, value in facts.items()})
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
    return f": it is {abs(seconds):.0f} seconds {'ahead' if seconds > 0 else 'behind'}"


def _account_of(stream: StreamConfig | None) -> str | None:
    parsed = arns.parse(stream.arn) if stream and stream.arn else None
    return parsed.account if parsed else None


def _account(arn: str | None, label: str) -> str:
    if arn is None or arn.count(":") < 5:
        return label
    number = arn.split(":")[4]
    return f"{label} ({number})" if label == "account A" else f"{label} {number}"
