"""The stream: what Kinesis and Firehose refuse, and what the doctor finds in its description."""

from __future__ import annotations

from kinesis_bridge.exceptions import CredentialsError, StreamError, ThrottledError
from kinesis_bridge.words import marked as _

from .finding import DENIED, EXPIRED, EXPLICITLY, THROTTLED, Finding

STREAM: tuple[Finding, ...] = (
    Finding(
        name="session-expired",
        hops=("stream",),
        codes=EXPIRED,
        side="site",
        error=CredentialsError,
        retryable=True,
        cause=_("The session of {role} has expired, and a fresh one was refused as well."),
        fix=_("Check this machine's clock; revoked sessions of the role end the same way."),
    ),
    Finding(
        name="session-invalid",
        hops=("stream",),
        codes=("InvalidClientTokenId", "UnrecognizedClientException", "InvalidSignatureException",
               "SignatureDoesNotMatch", "IncompleteSignature",
               "MissingAuthenticationTokenException"),
        side="account B",
        error=CredentialsError,
        cause=_("Kinesis does not accept the credentials of {role}."),
        fix=_(
            "Check that the role still exists, and that region {region} is enabled in its account."
        ),
    ),
    Finding(
        name="stream-missing",
        hops=("stream",),
        codes=("ResourceNotFoundException",),
        side="account B",
        error=StreamError,
        cause=_("There is no stream {stream} in {account_b}, region {region}."),
        fix=_(
            "Correct STREAM (KINESIS_STREAM) or REGION (KINESIS_REGION), or have the stream made in"
            " account B: aws kinesis create-stream --stream-name {stream_name} --region {region}"
            " --stream-mode-details StreamMode=ON_DEMAND"
        ),
    ),
    Finding(
        name="stream-denied-organization",
        hops=("stream",),
        codes=DENIED,
        says=r"(service|resource) control policy",
        side="account B",
        error=StreamError,
        cause=_("An AWS Organization forbids {role} to do this on stream {stream}: {message}"),
        fix=_(
            "Ask who manages the organization's service and resource control policies to allow it:"
            " an account's own policies cannot overrule them."
        ),
    ),
    Finding(
        name="stream-denied-endpoint",
        hops=("stream",),
        codes=DENIED,
        says=r"VPC endpoint policy",
        side="network",
        error=StreamError,
        cause=_("The policy of the VPC endpoint for Kinesis keeps {role} from stream {stream}."),
        fix=_(
            "In the endpoint's policy (VPC console of account A, Endpoints) allow what the document"
            " below allows."
        ),
        documents=("permission",),
    ),
    Finding(
        name="stream-denied-session",
        hops=("stream",),
        codes=DENIED,
        says=r"session policy",
        side="site",
        error=StreamError,
        cause=_("SESSION_POLICY of {role} does not allow this on stream {stream}."),
        fix=_("Let the setting SESSION_POLICY allow what the document below allows, or remove it."),
        documents=("permission",),
    ),
    Finding(
        name="stream-denied-boundary",
        hops=("stream",),
        codes=DENIED,
        says=r"permissions boundary",
        side="account B",
        error=StreamError,
        cause=_("The permissions boundary of {role} does not allow this on stream {stream}."),
        fix=_(
            "In {account_b} let the boundary of {role_arn} allow what the document below allows."
        ),
        documents=("permission",),
    ),
    Finding(
        name="stream-denied-explicitly",
        hops=("stream",),
        codes=DENIED,
        says=EXPLICITLY,
        side="account B",
        error=StreamError,
        cause=_("A policy denies {role} this explicitly on stream {stream}: {message}"),
        fix=_(
            "In {account_b} remove the Deny from the policy that is named: no Allow overrules it."
        ),
    ),
    Finding(
        name="stream-denied-caller",
        hops=("stream",),
        codes=DENIED,
        without_role=True,
        side="account B",
        error=StreamError,
        cause=_("{caller} may not do this on stream {stream} in region {region}; ROLE is not set."),
        fix=_(
            "Two documents must allow it: in {account_a} the identity policy of {principal}, and in"
            " {account_b} the stream's resource policy. For a stream of the site's own account the"
            " first is enough. Or set ROLE."
        ),
        documents=("permission", "resource"),
    ),
    Finding(
        name="stream-denied",
        hops=("stream",),
        codes=DENIED,
        side="account B",
        error=StreamError,
        cause=_("{role} may not do this on stream {stream} in region {region}."),
        fix=_("Attach the permission policy below to {role_arn} in {account_b}."),
        documents=("permission",),
    ),
    Finding(
        name="kms-denied",
        hops=("stream",),
        codes=("KMSAccessDeniedException",),
        side="account B",
        error=StreamError,
        cause=_("{role} may not use the KMS key that encrypts stream {stream}: {message}"),
        fix=_(
            "In account B add the statement below to the key's policy, and allow {role_arn}"
            " kms:GenerateDataKey in its own permission policy: manage.py kinesis_iam --kms-key"
            " with the key's ARN prints it."
        ),
        documents=("key",),
    ),
    Finding(
        name="kms-unusable",
        hops=("stream",),
        codes=("KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException",
               "KMSOptInRequired"),
        side="account B",
        error=StreamError,
        cause=_("The KMS key that encrypts stream {stream} cannot be used: {message}"),
        fix=_(
            "In {account_b} enable the key (aws kms enable-key --key-id KEY), or cancel its"
            " deletion, or encrypt the stream with another one."
        ),
    ),
    Finding(
        name="throttled",
        hops=("stream",),
        codes=("ProvisionedThroughputExceededException", "KMSThrottlingException",
               "LimitExceededException", *THROTTLED),
        side="account B",
        error=ThrottledError,
        retryable=True,
        cause=_("AWS throttles: {message}"),
        fix=_(
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
        cause=_("Kinesis finds the request invalid: {message}"),
        fix=_(
            'Set OPTIONS["MAX_RECORD_BYTES"] and OPTIONS["MAX_REQUEST_BYTES"] to what the stream'
            " takes."
        ),
    ),
    Finding(
        name="stream-not-ready",
        hops=("stream",),
        side="account B",
        error=StreamError,
        cause=_("Stream {stream} in {account_b} is {status}: it takes no records now."),
        fix=_(
            "Wait until it is ACTIVE, or have it made again: aws kinesis describe-stream-summary"
            " --stream-name {stream_name} --region {region}"
        ),
        retryable=True,
    ),
    Finding(
        name="firehose-source",
        hops=("stream",),
        side="account B",
        error=StreamError,
        cause=_(
            "Firehose stream {stream} takes its records from a source ({status}) and none from a"
            " producer."
        ),
        fix=_(
            "Have a Firehose stream made whose source is Direct PUT, and name its ARN in STREAM."
        ),
    ),
    Finding(
        name="record-limit",
        hops=("stream",),
        side="site",
        error=StreamError,
        cause=_(
            'Stream {stream} takes records of {limit} bytes, and OPTIONS["MAX_RECORD_BYTES"] lets'
            " {wanted} through: larger ones would become dead letters."
        ),
        fix=_(
            'Set OPTIONS["MAX_RECORD_BYTES"] to {limit}, or in {account_b}: aws kinesis'
            " update-max-record-size --stream-arn {stream_arn} --max-record-size-in-ki-b {kib}"
        ),
    ),
    Finding(
        name="record-distribution",
        hops=("stream",),
        side="account B",
        error=StreamError,
        cause=_(
            "Stream {stream} distributes its records over the shards by itself (AUTO), whatever"
            " their partition keys: consumers do not get the events of one key in order."
        ),
        fix=_(
            "In {account_b}: aws kinesis update-stream-record-distribution-strategy --stream-arn"
            " {stream_arn} --record-distribution-strategy USER_PARTITION_KEY. If order does not"
            ' matter, set OPTIONS["ORDERING"] to "relaxed", and no AGGREGATE="shard".'
        ),
    ),
    Finding(
        name="managed-key-across-accounts",
        hops=("stream",),
        side="account B",
        error=StreamError,
        cause=_(
            "Stream {stream} is encrypted with the AWS managed key alias/aws/kinesis, which no"
            " other account may use, and {role} is of another account."
        ),
        fix=_(
            "In {account_b} encrypt the stream with a customer managed key and allow {role_arn}"
            " kms:GenerateDataKey in the key's policy; or write through a role of {account_b}"
            " (ROLE)."
        ),
    ),
    Finding(
        name="canary-lost",
        hops=("stream",),
        side="account B",
        error=StreamError,
        cause=_(
            "Stream {stream} acknowledged the canary record as {status}, and does not give it back."
        ),
        fix=_("Look at the consumers, and at `manage.py kinesis_tail`: another record is there."),
    ),
)  # fmt: skip
