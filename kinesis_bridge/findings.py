"""The ways in which the path to account B breaks: one table, for errors, commands and documents.

Codes: "Common error types" and each operation's "Errors" in the API references of STS and Kinesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .exceptions import (
    AssumeRoleError,
    AwsError,
    CredentialsError,
    EndpointError,
    StreamError,
    ThrottledError,
)

Hop = Literal["credentials", "assume-role", "stream"]
Side = Literal["account A", "account B", "network", "site"]

ANY: tuple[Hop, ...] = ("credentials", "assume-role", "stream")
STS: tuple[Hop, ...] = ("credentials", "assume-role")
DENIED = ("AccessDenied", "AccessDeniedException", "403")
EXPIRED = ("ExpiredToken", "ExpiredTokenException")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One way in which the path breaks."""

    name: str
    """Stable slug."""
    hops: tuple[Hop, ...]
    """Where it can happen."""
    codes: tuple[str, ...] = ()
    """AWS's codes, or names of boto's exception classes."""
    says: str = ""
    """A regular expression that AWS's message must match as well."""
    side: Side
    """Who can mend it."""
    cause: str
    """What happened and why; ``{names}`` come from :class:`kinesis_bridge.diagnosis.Path`."""
    fix: str
    """What to do."""
    error: type[AwsError]
    """The class it is raised as."""
    retryable: bool = False
    """Whether the same request may pass later with nobody acting."""
    documents: tuple[Literal["identity", "trust", "permission"], ...] = ()
    """The policy documents to compare."""


FINDINGS: tuple[Finding, ...] = (
    Finding(
        name="clock-skew",
        hops=ANY,
        codes=(
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "RequestExpired",
            "RequestTimeTooSkewed",
        ),
        says=r"Signature expired|not yet current|RequestExpired|TooSkewed|time.*too large",
        side="site",
        error=CredentialsError,
        cause="AWS refused the signature because this machine's clock is wrong{skew}.",
        fix="Set the clock (chrony, ntpd or systemd-timesyncd): AWS tolerates 5 minutes.",
    ),
    Finding(
        name="wrong-region",
        hops=ANY,
        codes=("SignatureDoesNotMatch", "InvalidSignatureException"),
        says=r"scoped to a valid region",
        side="site",
        error=EndpointError,
        cause="The request was signed for region {region} and reached another one at {endpoint}.",
        fix="Set REGION of the stream (KINESIS_REGION) to the region that the stream is in.",
    ),
    Finding(
        name="no-region",
        hops=ANY,
        codes=("NoRegionError", "InvalidRegionError", "UnknownRegionError"),
        side="site",
        error=EndpointError,
        cause="No AWS region is known for this call.",
        fix="Set REGION of the stream (KINESIS_REGION=eu-west-1), or AWS_REGION for the process.",
    ),
    Finding(
        name="region-disabled",
        hops=STS,
        codes=("RegionDisabledException",),
        side="account B",
        error=AssumeRoleError,
        cause="STS is not activated in region {region} for {account_b}.",
        fix="Activate the region in B's IAM console (Account settings), or set the role's REGION.",
    ),
    Finding(
        name="no-credentials",
        hops=ANY,
        codes=("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
               "MetadataRetrievalError"),
        side="account A",
        error=CredentialsError,
        cause="This process has no AWS credentials of account A (profile: {profile}).",
        fix=(
            "Give it some: the role of its ECS task, EC2 instance or pod, PROFILE in the settings,"
            " or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. `aws sts get-caller-identity` must"
            " work in the same environment."
        ),
    ),
    Finding(
        name="profile-missing",
        hops=ANY,
        codes=("ProfileNotFound",),
        side="site",
        error=CredentialsError,
        cause="The AWS profile {profile} is not in this machine's ~/.aws/config.",
        fix="Correct PROFILE (KINESIS_PROFILE), or add the profile with `aws configure --profile`.",
    ),
    Finding(
        name="sso-login",
        hops=ANY,
        codes=("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"),
        side="account A",
        error=CredentialsError,
        cause="The single sign-on login behind profile {profile} has expired.",
        fix="Run `aws sso login` with that profile.",
    ),
    Finding(
        name="credentials-expired",
        hops=STS,
        codes=(*EXPIRED, "TokenRefreshRequired"),
        side="account A",
        error=CredentialsError,
        cause="Account A's own temporary credentials have expired, before any role was assumed.",
        fix=(
            "Renew what this process was started with: log in again, or use the role of the ECS"
            " task, EC2 instance or pod, which renews itself, and not AWS_SESSION_TOKEN."
        ),
    ),
    Finding(
        name="credentials-invalid",
        hops=STS,
        codes=("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
               "IncompleteSignature", "InvalidSignatureException", "InvalidAccessKeyId"),
        side="account A",
        error=CredentialsError,
        cause="STS does not know account A's own access key, or its secret is wrong.",
        fix="Renew the access key; `aws sts get-caller-identity` must work in this environment.",
    ),
    Finding(
        name="role-missing",
        hops=("assume-role",),
        codes=("NoSuchEntity", "NoSuchEntityException"),
        side="account B",
        error=AssumeRoleError,
        cause="There is no {role} in {account_b}.",
        fix="Create the role in account B with the documents below, or correct ROLE_ARN.",
        documents=("identity", "trust"),
    ),
    Finding(
        name="assume-role-denied",
        hops=("assume-role",),
        codes=DENIED,
        side="account B",
        error=AssumeRoleError,
        cause=(
            "{caller} may not assume {role}. STS does not say which side refused, nor whether the"
            " role exists."
        ),
        fix=(
            "Compare two documents. In {account_a}: the identity policy of {principal} must allow"
            " sts:AssumeRole on {role_arn}. In {account_b}: role {role_name} must exist, its trust"
            " policy must name {principal} as principal, and {external_id}."
        ),
        documents=("identity", "trust"),
    ),
    Finding(
        name="assume-role-duration",
        hops=("assume-role",),
        codes=("ValidationError", "ValidationException"),
        says=r"MaxSessionDuration|[Rr]ole chaining|DurationSeconds exceeds",
        side="account B",
        error=AssumeRoleError,
        cause="{role} does not grant sessions of {duration} seconds.",
        fix=(
            "Lower DURATION_SECONDS, or raise the role's maximum session duration in account B. A"
            " caller that is itself a role gets 3600 seconds at most."
        ),
    ),
    Finding(
        name="assume-role-invalid",
        hops=("assume-role",),
        codes=("ValidationError", "ValidationException", "MalformedPolicyDocument",
               "PackedPolicyTooLarge"),
        side="site",
        error=AssumeRoleError,
        cause="STS finds a parameter of the request for {role} invalid: {message}",
        fix="Correct the role's TAGS, SESSION_POLICY, SOURCE_IDENTITY or SESSION_NAME.",
    ),
    Finding(
        name="session-expired",
        hops=("stream",),
        codes=EXPIRED,
        side="site",
        error=CredentialsError,
        retryable=True,
        cause="The session of {role} has expired, and a fresh one was refused as well.",
        fix="Check this machine's clock; revoked sessions of the role end the same way.",
    ),
    Finding(
        name="session-invalid",
        hops=("stream",),
        codes=("InvalidClientTokenId", "UnrecognizedClientException", "InvalidSignatureException",
               "SignatureDoesNotMatch", "IncompleteSignature",
               "MissingAuthenticationTokenException"),
        side="account B",
        error=CredentialsError,
        cause="Kinesis does not accept the credentials of {role}.",
        fix="Check that the role still exists, and that region {region} is enabled in its account.",
    ),
    Finding(
        name="stream-missing",
        hops=("stream",),
        codes=("ResourceNotFoundException",),
        side="account B",
        error=StreamError,
        cause="There is no stream {stream} in {account_b}, region {region}.",
        fix=(
            "Correct STREAM (KINESIS_STREAM) or REGION (KINESIS_REGION), or have the stream made in"
            " account B: aws kinesis create-stream --stream-name {stream_name} --region {region}"
            " --stream-mode-details StreamMode=ON_DEMAND"
        ),
    ),
    Finding(
        name="stream-denied",
        hops=("stream",),
        codes=DENIED,
        side="account B",
        error=StreamError,
        cause="{role} may not do this on stream {stream} in region {region}.",
        fix="Attach the permission policy below to {role_arn} in {account_b}.",
        documents=("permission",),
    ),
    Finding(
        name="kms",
        hops=("stream",),
        codes=("KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException",
               "KMSNotFoundException", "KMSOptInRequired"),
        side="account B",
        error=StreamError,
        cause="Stream {stream} is encrypted with a KMS key that cannot be used: {message}",
        fix=(
            "In account B enable the key, and allow {role_arn} kms:GenerateDataKey in its key"
            " policy and in its own permission policy."
        ),
    ),
    Finding(
        name="throttled",
        hops=ANY,
        codes=("ProvisionedThroughputExceededException", "KMSThrottlingException",
               "LimitExceededException", "Throttling", "ThrottlingException",
               "RequestLimitExceeded", "TooManyRequestsException", "429"),
        side="account B",
        error=ThrottledError,
        retryable=True,
        cause="AWS throttles: {message}",
        fix=(
            "It is retried by itself. If it lasts, add shards to {stream} or make it on-demand; one"
            " shard takes 1 MB/s and 1,000 records/s."
        ),
    ),
    Finding(
        name="record-refused",
        hops=("stream",),
        codes=("ValidationException", "InvalidArgumentException", "SerializationException",
               "ParamValidationError"),
        side="site",
        error=StreamError,
        cause="Kinesis finds the request invalid: {message}",
        fix=(
            'Set OPTIONS["MAX_RECORD_BYTES"] and OPTIONS["MAX_REQUEST_BYTES"] to what the stream'
            " takes."
        ),
    ),
    Finding(
        name="tls",
        hops=ANY,
        codes=("SSLError",),
        side="network",
        error=EndpointError,
        cause="No trusted TLS connection to {endpoint}: {message}",
        fix="Name your proxy's certificate authority in AWS_CA_BUNDLE.",
    ),
    Finding(
        name="proxy",
        hops=ANY,
        codes=("ProxyConnectionError",),
        side="network",
        error=EndpointError,
        retryable=True,
        cause="The proxy on the way to {endpoint} does not answer.",
        fix="Correct HTTPS_PROXY, or exempt AWS in NO_PROXY.",
    ),
    Finding(
        name="unreachable",
        hops=ANY,
        codes=("EndpointConnectionError", "ConnectTimeoutError", "ConnectionError"),
        side="network",
        error=EndpointError,
        retryable=True,
        cause="{endpoint} cannot be reached.",
        fix=(
            "Check the name of region {region}, DNS, the route out (NAT gateway or VPC endpoint),"
            " security groups on port 443, and HTTPS_PROXY."
        ),
    ),
    Finding(
        name="no-answer",
        hops=ANY,
        codes=("ReadTimeoutError", "ConnectionClosedError", "HTTPClientError",
               "ResponseParserError", "IncompleteReadError", "ProtocolError"),
        side="network",
        error=EndpointError,
        retryable=True,
        cause="{endpoint} took the request and gave no whole answer.",
        fix="It is retried by itself. If it lasts, look for a proxy or firewall that cuts it off.",
    ),
    Finding(
        name="aws-down",
        hops=ANY,
        codes=("InternalFailure", "InternalServerError", "ServiceUnavailable",
               "ServiceUnavailableException", "500", "502", "503", "504"),
        side="network",
        error=EndpointError,
        retryable=True,
        cause="{endpoint} fails on its own side: {message}",
        fix="It is retried by itself. If it lasts, see the AWS Health Dashboard.",
    ),
)  # fmt: skip

UNKNOWN = Finding(
    name="unknown",
    hops=ANY,
    side="account B",
    error=AwsError,
    cause="AWS refused with {code}: {message}",
    fix="Look the code up in the API reference of the service.",
)
