"""The two accounts' policy documents; pure: settings in, JSON-able dictionaries out.

Grammar: "IAM JSON policy reference", IAM User Guide. Actions and resources: "Actions, resources,
and condition keys for Amazon Kinesis Data Streams", Service Authorization Reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .conf import RoleConfig, StreamConfig

Document = dict[str, Any]

WRITE_ACTIONS = ("kinesis:PutRecord", "kinesis:PutRecords")
FIREHOSE_ACTION = "firehose:PutRecordBatch"
READ_ACTIONS = (
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:ListShards",
)
UNKNOWN_PRINCIPAL = "arn:aws:iam::111111111111:role/REPLACE-WITH-THE-SITES-OWN-ROLE"


def identity_policy(role: RoleConfig) -> Document:
    """Account A: what the site's own role or user must be allowed."""
    return _document([_statement("AssumeTheBridgeRole", _assume_actions(role), role.role_arn)])


def trust_policy(role: RoleConfig, principal: str) -> Document:
    """Account B: who may become the role. `principal` is the exact ARN of A's role or user."""
    statement = {
        "Sid": "LetTheSiteAssumeThisRole",
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": _assume_actions(role),
    }
    if role.external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": role.external_id}}
    return _document([statement])


def permission_policy(stream_arns: Iterable[str], *, read: bool = False) -> Document:
    """Account B: what the role may do, on exactly these streams. `read` adds reading back."""
    arns = sorted(set(stream_arns))  # two aliases may name one stream
    firehose = [arn for arn in arns if ":firehose:" in arn]
    kinesis = [arn for arn in arns if arn not in firehose]
    statements = []
    if kinesis:
        statements.append(_statement("WriteTheStream", list(WRITE_ACTIONS), _one_or_all(kinesis)))
    if kinesis and read:
        statements.append(_statement("ReadTheStreamBack", list(READ_ACTIONS), _one_or_all(kinesis)))
    if firehose:
        statements.append(_statement("WriteToFirehose", FIREHOSE_ACTION, _one_or_all(firehose)))
    return _document(statements)


def _one_or_all(arns: list[str]) -> str | list[str]:
    return arns[0] if len(arns) == 1 else arns


def stream_arn(stream: StreamConfig, role: RoleConfig | None, region: str | None) -> str:
    """Return the stream's ARN: the settings', or built from the role's account and `region`."""
    if stream.arn:
        return stream.arn
    partition = role.arn.partition if role else "aws"
    account = role.account if role else "*"
    return (
        f"arn:{partition}:kinesis:{stream.region or region or '*'}:{account}:stream/{stream.name}"
    )


def principal_of(caller_arn: str) -> str:
    """Return what a trust policy must name for this caller: the role behind an assumed role.

    The path of a role is not in its session's ARN ("IAM identifiers", IAM User Guide): with one,
    the role's own ARN has to be looked up in account A.
    """
    if ":assumed-role/" not in caller_arn:
        return caller_arn
    prefix, rest = caller_arn.split(":assumed-role/", 1)
    return prefix.replace(":sts:", ":iam:") + ":role/" + rest.split("/", 1)[0]


def _assume_actions(role: RoleConfig) -> str | list[str]:
    actions = ["sts:AssumeRole"]
    if role.source_identity:
        actions.append("sts:SetSourceIdentity")
    if role.tags:
        actions.append("sts:TagSession")
    return actions if len(actions) > 1 else actions[0]


def _statement(sid: str, actions: str | list[str], resource: str | list[str]) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def _document(statements: list[Document]) -> Document:
    return {"Version": "2012-10-17", "Statement": statements}
