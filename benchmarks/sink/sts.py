"""The little of AWS STS that is needed: AssumeRole and GetCallerIdentity, query protocol and XML.

Sources: AWS STS API Reference, "AssumeRole" (lengths, patterns, DurationSeconds 900 to 43200, one
hour at most under role chaining), "GetCallerIdentity", "Common Errors". Unlike AWS, ``Expiration``
carries milliseconds: lifetimes of a second or two are the point of ``sts_lifetime``.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from benchmarks.sink.config import Config
from benchmarks.sink.errors import ApiError

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_ROLE_ARN = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]+)")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_EXPIRED = "The security token included in the request is expired"
_INVALID = "The security token included in the request is invalid."


@dataclass(frozen=True, slots=True)
class _Session:
    arn: str
    user_id: str
    account: str
    issued: float
    expires: float


class Sts:
    """Issues sessions and knows them again by their token."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sessions: dict[str, _Session] = {}
        self._mark = 0.0

    def expire(self) -> None:
        """Every token issued until now is expired from now on, foreign ones included."""
        self._mark = time.time()

    def refusal(self, token: str) -> ApiError | None:
        """What a JSON service answers to this session token; None: it is good.

        No token: long-term credentials, which do not expire.
        """
        session = self._sessions.get(token)
        if session is None and self._config.require_sts:
            return ApiError("UnrecognizedClientException", _INVALID)
        if self._is_expired(token):
            return expired()
        return None

    def _is_expired(self, token: str) -> bool:
        session = self._sessions.get(token)
        if session is None:
            return bool(token) and self._mark > 0
        return session.expires <= time.time() or session.issued <= self._mark

    def answer(self, body: bytes, token: str) -> tuple[str, bytes]:
        """Action and XML reply to a form body; ``ApiError`` where STS refuses."""
        form = {
            name: values[0]
            for name, values in parse_qs(body.decode(), keep_blank_values=True).items()
        }
        action = form.get("Action", "")
        if self._is_expired(token):
            raise ApiError("ExpiredToken", _EXPIRED, 403)
        if action == "AssumeRole":
            return action, self._assume_role(form, token)
        if action == "GetCallerIdentity":
            return action, self._caller_identity(token)
        raise ApiError("InvalidAction", f"Could not find operation {action} for version 2011-06-15")

    def caller_arn(self, token: str) -> str:
        """Who calls: an assumed role, or the user of the caller's account."""
        session = self._sessions.get(token)
        return (
            f"arn:aws:iam::{self._config.caller_account}:user/site"
            if not session
            else (session.arn)
        )

    def _assume_role(self, form: dict[str, str], token: str) -> bytes:
        arn, name = form.get("RoleArn", ""), form.get("RoleSessionName", "")
        external_id = form.get("ExternalId")
        role = _ROLE_ARN.fullmatch(arn)
        if role is None:
            raise _invalid(f"{arn} is invalid")
        if not _SESSION_NAME.fullmatch(name):
            raise _invalid(_broken("roleSessionName", name, "[\\w+=,.@-]* of 2 to 64 characters"))
        if external_id is not None and not _EXTERNAL_ID.fullmatch(external_id):
            raise _invalid(
                _broken("externalId", external_id, "[\\w+=,.@:\\/-]* of 2 to 1224 characters")
            )
        text = form.get("DurationSeconds", "3600")
        duration = int(text) if text.isdigit() else 0
        if not 900 <= duration <= 43200:
            raise _invalid(_broken("durationSeconds", text, "within 900 and 43200"))
        if duration > 3600 and token in self._sessions:
            raise _invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                "assumed by role chaining"
            )
        if self._config.external_id and external_id != self._config.external_id:
            raise self.denied(token, "AssumeRole", arn)
        now = time.time()
        expires = now + (self._config.sts_lifetime or duration)
        role_id = "AROA" + secrets.token_hex(8).upper()
        session = _Session(
            arn=f"arn:aws:sts::{role[1]}:assumed-role/{role[2]}/{name}",
            user_id=f"{role_id}:{name}",
            account=role[1],
            issued=now,
            expires=expires,
        )
        issued = "IQoJb3JpZ2luX2Vj" + secrets.token_urlsafe(240)
        self._sessions[issued] = session
        moment = datetime.fromtimestamp(expires, UTC).isoformat(timespec="milliseconds")
        identity = form.get("SourceIdentity")
        return _xml(
            "AssumeRole",
            "<AssumedRoleUser>"
            f"<AssumedRoleId>{escape(session.user_id)}</AssumedRoleId>"
            f"<Arn>{escape(session.arn)}</Arn>"
            "</AssumedRoleUser>"
            "<Credentials>"
            f"<AccessKeyId>ASIA{secrets.token_hex(8).upper()}</AccessKeyId>"
            f"<SecretAccessKey>{secrets.token_urlsafe(30)}</SecretAccessKey>"
            f"<SessionToken>{issued}</SessionToken>"
            f"<Expiration>{moment.replace('+00:00', 'Z')}</Expiration>"
            "</Credentials>"
            + (f"<SourceIdentity>{escape(identity)}</SourceIdentity>" if identity else ""),
        )

    def _caller_identity(self, token: str) -> bytes:
        session = self._sessions.get(token)
        user_id = session.user_id if session else "AIDASINKSINKSINKSINK"
        account = session.account if session else self._config.caller_account
        return _xml(
            "GetCallerIdentity",
            f"<Arn>{escape(self.caller_arn(token))}</Arn><UserId>{escape(user_id)}</UserId>"
            f"<Account>{account}</Account>",
        )

    def denied(self, token: str, action: str, resource: str) -> ApiError:
        """``AccessDenied`` as STS words it."""
        return ApiError(
            "AccessDenied",
            f"User: {self.caller_arn(token)} is not authorized to perform: sts:{action} "
            f"on resource: {resource}",
            403,
        )


def expired() -> ApiError:
    """``ExpiredTokenException`` of a JSON service."""
    return ApiError("ExpiredTokenException", _EXPIRED)


def error_xml(error: ApiError, request_id: str) -> bytes:
    """An error of the query protocol."""
    side = "Receiver" if error.status >= 500 else "Sender"
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{side}</Type>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    ).encode()


def _xml(action: str, result: str) -> bytes:
    return (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    ).encode()


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def _broken(where: str, value: str, rule: str) -> str:
    return (
        f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy "
        f"constraint: Member must be {rule}"
    )
