"""The fast way: PutRecords' JSON by joining bytes; signature and HTTP are botocore's own.

Validation, shape walking and reply parsing are most of what a batch costs in boto3. Here boto3's
client is asked once what it would send (URL, headers, signing scope), and from then on only the
body, the time and the signature are made anew. Connections, proxies, CA bundle, time-outs and the
credentials' refresh stay the client's.
"""

from __future__ import annotations

import re
from http.client import responses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError

from kinesis_bridge import redaction
from kinesis_bridge.diagnosis import explain
from kinesis_bridge.event import PutResult, RejectedRecord
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.session.assume import BOTO_ERRORS

from .base import Transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinesis_bridge.aggregation import Shard
    from kinesis_bridge.event import Record, Result

    from .aws import Boto3Transport

# Made anew for every request, or by the HTTP library.
_PER_REQUEST = frozenset(
    {"authorization", "content-length", "x-amz-date", "x-amz-security-token",
     "amz-sdk-invocation-id", "amz-sdk-request"}
)  # fmt: skip
_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/")


class _Entry(msgspec.Struct, gc=False, rename="pascal"):
    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class _Reply(msgspec.Struct, rename="pascal"):
    """Where all records were taken."""

    failed_record_count: Literal[0]
    records: list[PutResult]


class _MixedReply(msgspec.Struct, rename="pascal"):
    """Where some may have failed."""

    records: list[_Entry]


class _Form(NamedTuple):
    """What boto3 would send, apart from the records."""

    url: str
    headers: dict[str, str]
    region: str
    service: str


class _Request(AWSPreparedRequest):
    """Signed and sent as it is: an AWSRequest of botocore's is prepared anew at each look."""

    params = None
    context: dict[str, Any]

    def __init__(self, form: _Form, body: bytes) -> None:
        headers: Any = form.headers.copy()  # a plain dict is all that signing and sending need
        super().__init__("POST", form.url, headers, body, stream_output=False)
        self.context = {}


class FastTransport(Transport):
    """Sends what boto3 would, at a fraction of its CPU time."""

    def __init__(self, reference: Boto3Transport, http: Any) -> None:
        super().__init__(reference.stream)
        self._reference = reference
        self._http = http
        self._form: _Form | None = None
        self._head = _encode(reference.target)[:-1] + b',"Records":'

    @classmethod
    def beside(cls, reference: Boto3Transport) -> FastTransport | None:
        """Return a transport that uses `reference`'s connections; None where it does not apply."""
        # Not public in botocore: without it boto3's own way is taken, which a test would show.
        endpoint = getattr(reference.client, "_endpoint", None)
        http = getattr(endpoint, "http_session", None)
        return cls(reference, http) if http is not None else None

    def put(self, records: Sequence[Record]) -> Sequence[Result]:
        """Send one PutRecords; asks boto3 for the form of the request at the first."""
        form = self._form
        if form is None:
            form = self._form = self._ask_boto3()
        try:
            with redaction.quiet():
                response = self._http.send(self._signed(form, records))
        except AwsError as error:  # of the credentials
            redaction.forget_frames(error)
            raise
        except BOTO_ERRORS as error:
            raise explain(error, self.path(form.url)) from error
        return self._answers(response, len(records), form)

    def shards(self) -> list[Shard]:
        """Return the open shards, as boto3 lists them."""
        return self._reference.shards()

    def url(self) -> str:
        """Return where boto3 would send them."""
        return self._reference.url()

    def close(self) -> None:
        """Close the connections."""
        self._reference.close()

    def _ask_boto3(self) -> _Form:
        """Take what a request of boto3's has to be the same in each."""
        request = self._reference.first_request()
        headers = {name: _text(value) for name, value in request.headers.items()}
        scope = _SCOPE.match(headers.get("Authorization", ""))
        if scope is None:
            raise NotImplementedError("boto3 signs with something else than Signature Version 4")
        kept = {name: value for name, value in headers.items() if name.lower() not in _PER_REQUEST}
        kept["Host"] = _host(request.url)  # else it is found anew for each signature, twice
        return _Form(request.url, kept, scope["region"], scope["service"])

    def _body(self, records: Sequence[Record]) -> bytes:
        # One call encodes all records, base64 included; only the stream's name stands before them.
        return self._head + _encode(records) + b"}"

    def _signed(self, form: _Form, records: Sequence[Record]) -> Any:
        # First, since it may fail: this frame has no payload yet.
        credentials = self._reference.credentials.get_frozen_credentials()
        request: Any = _Request(form, self._body(records))
        SigV4Auth(credentials, form.service, form.region).add_auth(request)
        request.headers["Content-Length"] = str(len(request.body))  # boto3 does not sign it either
        return request

    def _answers(self, response: Any, count: int, form: _Form) -> Sequence[Result]:
        content = response.content
        if response.status_code >= 300:
            failure = ClientError(_error(response, content), "PutRecords")
            raise explain(failure, self.path(form.url)) from failure
        answers: Sequence[Result]
        try:
            answers = _all_taken(content).records
        except msgspec.MsgspecError:
            try:
                answers = [_read(entry) for entry in _mixed(content).records]
            except msgspec.MsgspecError:
                answers = ()
        if len(answers) != count:
            raise self._reference.cut_short(len(answers), count)
        return answers


def _read(entry: _Entry) -> Result:
    if entry.sequence_number and entry.shard_id:
        return PutResult(entry.shard_id, entry.sequence_number)
    return RejectedRecord(entry.error_code or "", entry.error_message or "")


_encode = msgspec.json.Encoder().encode
_all_taken = msgspec.json.Decoder(_Reply).decode
_mixed = msgspec.json.Decoder(_MixedReply).decode


def _error(response: Any, content: bytes) -> Any:
    """Return a failed reply in the shape of boto3's errors, of whatever stands in between too."""
    try:
        reply = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:
        page = response.status_code >= 500 and (not content or content.startswith(b"<html>"))
        text = content.decode(errors="replace")
        reply = {"message": responses.get(response.status_code, "") if page else text}
    code = str(reply.get("__type") or "") or response.headers.get("x-amzn-errortype") or ""
    return {
        "Error": {
            "Code": code.split(":", 1)[0].rsplit("#", 1)[-1] or str(response.status_code),
            "Message": reply.get("message") or reply.get("Message") or "",
        },
        "ResponseMetadata": {
            "HTTPStatusCode": response.status_code,
            "HTTPHeaders": {name.lower(): value for name, value in response.headers.items()},
        },
    }


def _host(url: str) -> str:
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
