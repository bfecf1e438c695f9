"""Account A's own credentials."""

from __future__ import annotations

from kinesis_bridge.exceptions import CredentialsError, ThrottledError
from kinesis_bridge.words import marked as _

from .finding import AWS, EXPIRED, STS, THROTTLED, Finding

CALLER: tuple[Finding, ...] = (
    Finding(
        name="caller-root",
        hops=("credentials",),
        side="account A",
        cause=_("The site runs as the root user {caller}, who can assume no role."),
        fix=_(
            "Let the site run as a role of its own (of the ECS task, EC2 instance or pod), and"
            " delete the root user's access keys."
        ),
        error=CredentialsError,
    ),
    Finding(
        name="caller-federated",
        hops=("credentials",),
        side="account A",
        cause=_(
            "The site runs as {caller}, a federated user (GetFederationToken), who can assume no"
            " role."
        ),
        fix=_("Let the site run as a role or a user of IAM."),
        error=CredentialsError,
    ),
    Finding(
        name="no-credentials",
        hops=AWS,
        codes=("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
               "MetadataRetrievalError"),
        side="account A",
        error=CredentialsError,
        cause=_("This process has no AWS credentials of account A (profile: {profile})."),
        fix=_(
            "Give it some: the role of its ECS task, EC2 instance or pod, PROFILE in the settings,"
            " or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. `aws sts get-caller-identity` must"
            " work in the same environment."
        ),
    ),
    Finding(
        name="profile-missing",
        hops=AWS,
        codes=("ProfileNotFound",),
        side="site",
        error=CredentialsError,
        cause=_("The AWS profile {profile} is not in this machine's ~/.aws/config."),
        fix=_(
            "Correct PROFILE (KINESIS_PROFILE), or add the profile with `aws configure --profile`."
        ),
    ),
    Finding(
        name="sso-login",
        hops=AWS,
        codes=("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError"),
        side="account A",
        error=CredentialsError,
        cause=_("The single sign-on login behind profile {profile} has expired."),
        fix=_("Run `aws sso login` with that profile."),
    ),
    Finding(
        name="sts-throttled",
        hops=STS,
        codes=THROTTLED,
        side="account A",
        error=ThrottledError,
        retryable=True,
        cause=_("STS throttles: {message}"),
        fix=_(
            "It is retried by itself. If it lasts, look for what else in account A calls STS so"
            " often: each process of the site assumes its role once an hour."
        ),
    ),
    Finding(
        name="credentials-expired",
        hops=STS,
        codes=(*EXPIRED, "TokenRefreshRequired"),
        side="account A",
        error=CredentialsError,
        cause=_("Account A's own temporary credentials have expired, before any role was assumed."),
        fix=_(
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
        cause=_("STS does not know account A's own access key, or its secret is wrong."),
        fix=_("Renew the access key; `aws sts get-caller-identity` must work in this environment."),
    ),
)  # fmt: skip
