"""AWS's errors, explained: every row, in texts that name the hop, the side and the fix."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from string import Formatter

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from kinesis_bridge.conf import RoleConfig, StreamConfig
from kinesis_bridge.diagnosis import Path, explain, explain_as, find
from kinesis_bridge.exceptions import (
    AssumeRoleError,
    AwsError,
    CredentialsError,
    EndpointError,
    StreamError,
    ThrottledError,
)
from kinesis_bridge.findings import AWS, DENIED, FINDINGS

ROLE = RoleConfig(
    alias="writer",
    role_arn="arn:aws:iam::222222222222:role/team/EventWriter",
    external_id="external-secret",
    profile="site",
)
STREAM = StreamConfig(alias="default", stream="orders", role="writer", region="eu-west-1")
CALLER = "arn:aws:sts::111111111111:assumed-role/Site/i-1"
# A message for the rows that want one as well as a code.
SAYS = {
    "clock-skew": "Signature expired: 20261122T090000Z is now earlier than 20261122T093000Z",
    "wrong-region": "Credential should be scoped to a valid region, not 'us-east-1'.",
    "role-chaining-cap": (
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role"
        " chaining"
    ),
    "assume-role-duration": (
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
    ),
    "root-cannot-assume": "Roles may not be assumed by root accounts.",
    "assume-role-tags": "User: x is not authorized to perform: sts:TagSession on resource: y",
    "assume-role-source-identity": (
        "User: x is not authorized to perform: sts:SetSourceIdentity on resource: y"
    ),
    "assume-role-denied-organization": (
        "User: x is not authorized to perform: sts:AssumeRole on resource: y with an explicit deny"
        " in a service control policy"
    ),
    "assume-role-denied-boundary": (
        "User: x is not authorized to perform: sts:AssumeRole on resource: y because no permissions"
        " boundary allows the sts:AssumeRole action"
    ),
    "assume-role-denied-endpoint": (
        "User: x is not authorized to perform: sts:AssumeRole on resource: y because no VPC"
        " endpoint policy allows the sts:AssumeRole action"
    ),
    "assume-role-denied-identity": (
        "User: x is not authorized to perform: sts:AssumeRole on resource: y because no"
        " identity-based policy allows the sts:AssumeRole action"
    ),
    "assume-role-denied-trust": (
        "User: x is not authorized to perform: sts:AssumeRole because no role trust policy allows"
        " the sts:AssumeRole action"
    ),
    "assume-role-denied-explicitly": "x with an explicit deny in an identity-based policy",
    "stream-denied-explicitly": "x with an explicit deny in an identity-based policy",
    "stream-denied-organization": "x with an explicit deny in a resource control policy",
    "stream-denied-endpoint": "x with an explicit deny in a VPC endpoint policy",
    "stream-denied-session": "x because no session policy allows the kinesis:PutRecords action",
    "stream-denied-boundary": "x with an explicit deny in a permissions boundary",
}
REACHABLE = [
    pytest.param(row, hop, code, id=f"{row.name}-{hop}-{code}")
    for row in FINDINGS
    for hop in row.hops
    for code in row.codes
]


def path(hop, **known):
    role = {} if hop == "credentials" else {"role": ROLE}
    stream = {"stream": STREAM} if hop == "stream" else {}
    return Path(hop=hop, **{**role, **stream, "region": "eu-west-1", **known})


def refused(code, message="", status=400, **headers):
    return boto.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        },
        "Operation",
    )


@pytest.mark.parametrize(("row", "hop", "code"), REACHABLE)
def test_every_row_is_found_by_each_of_its_codes_at_each_of_its_hops(row, hop, code):
    found = find(hop, code, SAYS.get(row.name, "a message"), without_role=row.without_role)
    assert found is row


def test_the_rows_have_names_of_their_own():
    names = [row.name for row in FINDINGS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("known", ["everything", "nothing"])
@pytest.mark.parametrize("row", FINDINGS, ids=lambda row: row.name)
def test_no_text_has_an_unfilled_placeholder(row, known):
    for hop in row.hops:
        way = Path(hop=hop)
        if known == "everything":
            way = path(hop, caller_arn=CALLER, endpoint="https://x")
        # What only the doctor knows, and always does.
        named = {name for _, name, _, _ in Formatter().parse(row.cause + row.fix) if name}
        way.facts.update(dict.fromkeys(named - way.names().keys(), "a fact"))
        error = explain_as(row, way, code="Code", message="{not} a placeholder")
        text = f"{error} {' '.join(error.documents)}".replace("{not} a placeholder", "")
        assert not re.search(r"[{}]|\bNone\b", text), text
        assert error.hint
        assert (error.name, error.side, error.code) == (row.name, row.side, "Code")
        assert type(error) is row.error


@pytest.mark.parametrize(
    "row", [row for row in FINDINGS if row.hops == ("assume-role",)], ids=lambda row: row.name
)
def test_what_goes_wrong_at_the_role_names_the_role(row):
    error = explain_as(row, path("assume-role"), code="Code", message="m")
    assert ROLE.role_arn in error.message
    assert "ROLES['writer']" in error.message


@pytest.mark.parametrize("name", ["stream-missing", "stream-denied", "kms-denied"])
def test_what_goes_wrong_at_the_stream_names_it(name):
    row = next(row for row in FINDINGS if row.name == name)
    error = explain_as(row, path("stream"), code="Code", message="m")
    assert "'orders' (STREAMS['default'])" in error.message
    assert "222222222222" in str(error)


def test_a_missing_stream_names_stream_region_and_account():
    error = explain(refused("ResourceNotFoundException", "Stream orders not found"), path("stream"))

    assert isinstance(error, StreamError)
    for fact in ("'orders'", "eu-west-1", "account B (222222222222)"):
        assert fact in error.message
    assert "aws kinesis create-stream --stream-name orders --region eu-west-1" in error.hint


@pytest.mark.parametrize("code", DENIED)
def test_a_denied_assume_role_names_both_sides_and_carries_both_documents(code):
    message = f"User: {CALLER} is not authorized to perform: sts:AssumeRole on resource: x"

    error = explain(refused(code, message, 403), path("assume-role"))

    assert isinstance(error, AssumeRoleError)
    assert CALLER in error.message
    assert "account A (111111111111)" in error.hint
    assert "account B (222222222222)" in error.hint
    assert "arn:aws:iam::111111111111:role/Site as principal" in error.hint
    identity, trust = error.documents.items()
    assert identity[0] == (
        "account A (111111111111): identity policy of arn:aws:iam::111111111111:role/Site"
    )
    assert identity[1]["Statement"][0]["Resource"] == ROLE.role_arn
    assert trust[0] == "account B (222222222222): trust policy of role EventWriter"
    assert trust[1]["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::111111111111:role/Site"}
    assert "external-secret" not in str(error)


@pytest.mark.parametrize(
    "row", [row for row in FINDINGS if row.codes == DENIED], ids=lambda row: row.name
)
def test_whoever_has_a_document_to_compare_is_named_as_who_can_mend_it(row):
    owners = {"identity": "account A", "trust": "account B"}
    both = owners.keys() <= set(row.documents)
    assert (row.side == " or ".join(owners.values())) == both


def test_tags_of_the_caller_s_own_session_are_in_both_documents():
    assert not ROLE.tags
    message = f"User: {CALLER} is not authorized to perform: sts:TagSession on resource: x"

    error = explain(refused("AccessDenied", message, 403), path("assume-role"))

    assert len(error.documents) == 2
    for document in error.documents.values():
        assert document["Statement"][0]["Action"] == ["sts:AssumeRole", "sts:TagSession"]


def test_a_denied_stream_carries_the_permission_policy():
    error = explain(refused("AccessDeniedException", "no"), path("stream"))

    ((title, document),) = error.documents.items()
    assert title == "account B (222222222222): permission policy of role EventWriter"
    (statement,) = document["Statement"]
    assert statement["Resource"] == "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"


def test_reading_back_asks_for_the_permissions_to_read():
    error = explain(refused("AccessDeniedException", "no"), path("stream", read=True))

    (document,) = error.documents.values()
    actions = [action for statement in document["Statement"] for action in statement["Action"]]
    assert {"kinesis:GetRecords", "kinesis:GetShardIterator"} <= set(actions)


@pytest.mark.parametrize(("minutes", "said"), [(30, "behind"), (-20, "ahead")])
@pytest.mark.parametrize(
    ("code", "hop"),
    [("SignatureDoesNotMatch", "credentials"), ("InvalidSignatureException", "stream")],
)
def test_clock_skew_says_how_far_and_which_way(code, hop, minutes, said):
    aws_now = datetime.now(UTC) + timedelta(minutes=minutes)
    message = "Signature not yet current" if minutes < 0 else "Signature expired: x is now earlier"

    error = explain(
        refused(code, message, 403, date=format_datetime(aws_now, usegmt=True)), path(hop)
    )

    assert (error.name, error.side) == ("clock-skew", "site")
    seconds, direction = re.search(r"it is (\d+) seconds (\w+)", error.message).groups()
    assert direction == said
    assert abs(int(seconds) - abs(minutes) * 60) <= 2


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 22 Nov 2026 09:00:00 -0000"])
def test_clock_skew_without_a_usable_date_is_still_explained(date):
    error = explain(refused("SignatureDoesNotMatch", SAYS["clock-skew"], date=date), path("stream"))

    assert error.name == "clock-skew"
    assert "clock is wrong." in error.message


@pytest.mark.parametrize(
    ("error", "name", "cls", "retryable"),
    [
        (boto.NoCredentialsError(), "no-credentials", CredentialsError, False),
        (
            boto.PartialCredentialsError(provider="env", cred_var="x"),
            "no-credentials",
            CredentialsError,
            False,
        ),
        (
            boto.CredentialRetrievalError(provider="p", error_msg="m"),
            "no-credentials",
            CredentialsError,
            False,
        ),
        (boto.ProfileNotFound(profile="p"), "profile-missing", CredentialsError, False),
        (boto.SSOTokenLoadError(error_msg="m"), "sso-login", CredentialsError, False),
        (boto.UnauthorizedSSOTokenError(), "sso-login", CredentialsError, False),
        (boto.NoRegionError(), "no-region", EndpointError, False),
        (boto.InvalidRegionError(region_name="x y"), "no-region", EndpointError, False),
        (
            boto.EndpointConnectionError(endpoint_url="https://x", error="e"),
            "unreachable",
            EndpointError,
            True,
        ),
        (
            boto.ConnectTimeoutError(endpoint_url="https://x", error="e"),
            "unreachable",
            EndpointError,
            True,
        ),
        (
            boto.ReadTimeoutError(endpoint_url="https://x", error="e"),
            "no-answer",
            EndpointError,
            True,
        ),
        (boto.ConnectionClosedError(endpoint_url="https://x"), "no-answer", EndpointError, True),
        (ResponseParserError("cut short"), "no-answer", EndpointError, True),
        (
            boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            "no-answer",
            EndpointError,
            True,
        ),
        (boto.SSLError(endpoint_url="https://x", error="self-signed"), "tls", EndpointError, False),
        (boto.ProxyConnectionError(proxy_url="http://p"), "proxy", EndpointError, True),
        (boto.ParamValidationError(report="r"), "record-refused", StreamError, False),
        (
            refused("ProvisionedThroughputExceededException", "slow"),
            "throttled",
            ThrottledError,
            True,
        ),
        (refused("InternalFailure", "oops", 500), "aws-down", EndpointError, True),
        (refused("KMSDisabledException", "key off"), "kms-unusable", StreamError, False),
        (refused("ExpiredTokenException", "old"), "session-expired", CredentialsError, True),
        (refused("UnrecognizedClientException", "?"), "session-invalid", CredentialsError, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_botos_own_exceptions_at_the_stream(error, name, cls, retryable):
    explained = explain(error, path("stream", endpoint="https://kinesis.example"))

    assert (explained.name, type(explained), explained.retryable) == (name, cls, retryable)


@pytest.mark.parametrize(
    ("hop", "name", "side"),
    [
        ("credentials", "credentials-expired", "account A"),
        ("assume-role", "credentials-expired", "account A"),
        ("stream", "session-expired", "site"),
    ],
)
def test_an_expired_token_belongs_to_the_hop_that_used_it(hop, name, side):
    error = explain(refused("ExpiredToken", "The security token is expired"), path(hop))
    assert (error.name, error.side) == (name, side)


def test_without_a_role_an_expired_token_is_account_as_own():
    stream = StreamConfig(alias="default", stream="orders", region="eu-west-1")

    error = explain(refused("ExpiredTokenException", "old"), Path(hop="stream", stream=stream))

    assert error.name == "credentials-expired"


def test_without_a_role_the_caller_is_who_must_be_allowed():
    arn = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
    stream = StreamConfig(alias="default", stream=arn, region="eu-west-1")

    error = explain(
        refused("AccessDeniedException", "no"), Path(hop="stream", stream=stream, caller_arn=CALLER)
    )

    assert error.message.startswith(CALLER)
    assert "account B (222222222222)" in error.hint
    assert "none" not in f"{error} {list(error.documents)}"


def test_an_unknown_code_keeps_awss_own_words():
    error = explain(refused("BrandNewException", "Something {odd} happened"), path("stream"))

    assert (error.name, type(error), error.retryable) == ("unknown", AwsError, False)
    assert error.message == "AWS refused with BrandNewException: Something {odd} happened"


@pytest.mark.parametrize("hop", AWS)
def test_an_unknown_5xx_is_awss_own_fault(hop):
    error = explain(refused("599", "", 503), path(hop))
    assert (error.name, error.retryable) == ("aws-down", True)
