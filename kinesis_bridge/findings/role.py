"""AssumeRole."""

from __future__ import annotations

from kinesis_bridge.exceptions import AssumeRoleError
from kinesis_bridge.words import marked as _

from .finding import DENIED, EXPLICITLY, STS, Finding

# How AWS names the kind of policy that denied: "Troubleshoot access denied error messages", IAM
# User Guide. Across accounts it mostly says nothing.
_ORGANIZATION = r"(service|resource) control policy"
_BOUNDARY = r"permissions boundary|session policy"
_ENDPOINT = r"VPC endpoint policy"
INVALID = ("ValidationError", "ValidationException")

ROLE: tuple[Finding, ...] = (
    Finding(
        name="region-disabled",
        hops=STS,
        codes=("RegionDisabledException",),
        side="account B",
        error=AssumeRoleError,
        cause=_("STS is not activated in region {region} for {account_b}."),
        fix=_(
            "Activate the region in B's IAM console (Account settings), or set the role's REGION."
        ),
    ),
    Finding(
        name="role-missing",
        hops=("assume-role",),
        codes=("NoSuchEntity", "NoSuchEntityException"),
        side="account B",
        error=AssumeRoleError,
        cause=_("There is no {role} in {account_b}."),
        fix=_("Create the role in account B with the documents below, or correct ROLE_ARN."),
        documents=("identity", "trust"),
    ),
    Finding(
        name="root-cannot-assume",
        hops=("assume-role",),
        codes=DENIED,
        says=r"may not be assumed by root",
        side="account A",
        error=AssumeRoleError,
        cause=_("{caller} is a root user, who can assume no role: not {role} either."),
        fix=_(
            "Let the site run as a role or a user of IAM, and delete the root user's access keys."
        ),
    ),
    Finding(
        name="assume-role-tags",
        hops=("assume-role",),
        codes=DENIED,
        says=r"sts:TagSession",
        side="account A or account B",
        error=AssumeRoleError,
        cause=_(
            "{caller} may assume {role}, and not pass session tags: its TAGS, or those that EKS Pod"
            " Identity gave the caller."
        ),
        fix=_(
            "Allow sts:TagSession on both sides, as in the documents below; or remove TAGS from the"
            " role's settings, and disable the session tags of the Pod Identity association."
        ),
        documents=("identity", "trust"),
    ),
    Finding(
        name="assume-role-source-identity",
        hops=("assume-role",),
        codes=DENIED,
        says=r"sts:SetSourceIdentity",
        side="account A or account B",
        error=AssumeRoleError,
        cause=_("{caller} may assume {role}, and not set its SOURCE_IDENTITY."),
        fix=_(
            "Allow sts:SetSourceIdentity on both sides, as in the documents below, or remove"
            " SOURCE_IDENTITY from the role's settings."
        ),
        documents=("identity", "trust"),
    ),
    Finding(
        name="assume-role-denied-organization",
        hops=("assume-role",),
        codes=DENIED,
        says=_ORGANIZATION,
        side="account A",
        error=AssumeRoleError,
        cause=_("An AWS Organization forbids {caller} to assume {role}: {message}"),
        fix=_(
            "Ask who manages the organization's service and resource control policies to allow"
            " sts:AssumeRole on {role_arn}: an account's own policies cannot overrule them."
        ),
    ),
    Finding(
        name="assume-role-denied-boundary",
        hops=("assume-role",),
        codes=DENIED,
        says=_BOUNDARY,
        side="account A",
        error=AssumeRoleError,
        cause=_(
            "A permissions boundary, or the policy of its own session, keeps {caller} from"
            " assuming {role}: {message}"
        ),
        fix=_("Allow sts:AssumeRole on {role_arn} there, too, in {account_a}."),
        documents=("identity",),
    ),
    Finding(
        name="assume-role-denied-endpoint",
        hops=("assume-role",),
        codes=DENIED,
        says=_ENDPOINT,
        side="network",
        error=AssumeRoleError,
        cause=_("The policy of the VPC endpoint for STS keeps {caller} from assuming {role}."),
        fix=_(
            "In {account_a} allow sts:AssumeRole on {role_arn} in the endpoint's policy: VPC"
            " console, Endpoints, com.amazonaws.{region}.sts, Policy."
        ),
    ),
    Finding(
        name="assume-role-denied-explicitly",
        hops=("assume-role",),
        codes=DENIED,
        says=EXPLICITLY,
        side="account A",
        error=AssumeRoleError,
        cause=_("A policy denies {caller} explicitly to assume {role}: {message}"),
        fix=_(
            "Remove the Deny from the policy that is named there, in {account_a} or, if it is the"
            " role's trust policy, in {account_b}: no Allow overrules it."
        ),
    ),
    Finding(
        name="assume-role-denied-identity",
        hops=("assume-role",),
        codes=DENIED,
        says=r"identity-based policy",
        side="account A",
        error=AssumeRoleError,
        cause=_("The policies of {caller} itself do not let it assume {role}: {message}"),
        fix=_("Attach the identity policy below to {principal} in {account_a}."),
        documents=("identity",),
    ),
    Finding(
        name="assume-role-denied-trust",
        hops=("assume-role",),
        codes=DENIED,
        says=r"(trust|resource-based) policy",
        side="account B",
        error=AssumeRoleError,
        cause=_("{role} does not trust {caller}: {message}"),
        fix=_(
            "Give role {role_name} in {account_b} the trust policy below: it must name {principal}"
            " as principal, and {external_id}."
        ),
        documents=("trust",),
    ),
    Finding(
        name="assume-role-denied",
        hops=("assume-role",),
        codes=DENIED,
        side="account A or account B",
        error=AssumeRoleError,
        cause=_(
            "{caller} may not assume {role}. STS does not say which side refused, nor whether the"
            " role exists."
        ),
        fix=_(
            "Compare two documents. In {account_a}: the identity policy of {principal} must allow"
            " sts:AssumeRole on {role_arn}. In {account_b}: role {role_name} must exist, its trust"
            " policy must name {principal} as principal, and {external_id}."
        ),
        documents=("identity", "trust"),
    ),
    Finding(
        name="role-chaining-cap",
        hops=("assume-role",),
        codes=INVALID,
        says=r"[Rr]ole chaining",
        side="site",
        error=AssumeRoleError,
        cause=_(
            "{role} is assumed by what is itself a session of a role ({caller}): such sessions last"
            " 3600 seconds at most, and DURATION_SECONDS is {duration}."
        ),
        fix=_(
            "Set DURATION_SECONDS to 3600 or less. Sessions are renewed by themselves: a longer one"
            " gains nothing."
        ),
    ),
    Finding(
        name="assume-role-duration",
        hops=("assume-role",),
        codes=INVALID,
        says=r"MaxSessionDuration|DurationSeconds exceeds",
        side="account B",
        error=AssumeRoleError,
        cause=_(
            "{role} does not grant sessions of {duration} seconds: its maximum session duration is"
            " shorter."
        ),
        fix=_(
            "Lower DURATION_SECONDS (3600 is always granted), or in {account_b}: aws iam"
            " update-role --role-name {role_name} --max-session-duration {duration}"
        ),
    ),
    Finding(
        name="assume-role-invalid",
        hops=("assume-role",),
        codes=(*INVALID, "MalformedPolicyDocument", "PackedPolicyTooLarge"),
        side="site",
        error=AssumeRoleError,
        cause=_("STS finds a parameter of the request for {role} invalid: {message}"),
        fix=_("Correct the role's TAGS, SESSION_POLICY, SOURCE_IDENTITY or SESSION_NAME."),
    ),
)  # fmt: skip
