"""The two accounts' policy documents; pure: settings in, JSON-able dictionaries out.

Grammar: "IAM JSON policy reference", IAM User Guide. Actions and resources: "Actions, resources,
and condition keys for Amazon Kinesis Data Streams", "... for Amazon Data Firehose", "... for AWS
Key Management Service" and "... for AWS Security Token Service", Service Authorization Reference.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinesis_bridge.conf import RoleConfig, StreamConfig

Document = dict[str, Any]

WRITE_ACTIONS = ("kinesis:PutRecord", "kinesis:PutRecords")
FIREHOSE_ACTION = "firehose:PutRecordBatch"
FIREHOSE_READ_ACTION = "firehose:DescribeDeliveryStream"
SHARDS_ACTION = "kinesis:ListShards"
READ_ACTIONS = (
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    SHARDS_ACTION,
)
ENCRYPT_ACTION = "kms:GenerateDataKey"
DECRYPT_ACTION = "kms:Decrypt"
UNKNOWN_PRINCIPAL = "arn:aws:iam::111111111111:role/REPLACE-WITH-THE-SITES-OWN-ROLE"


def identity_policy(role: RoleConfig, *, tags: bool = False) -> Document:
    """Account A: what the site's own role or user must be allowed.

    `tags`: also to pass session tags that are none of the role's settings. Those of EKS Pod
    Identity go along with each AssumeRole ("Grant Pods access to AWS resources based on tags",
    Amazon EKS User Guide).
    """
    arn = _literally(role.role_arn)
    return document([_statement("AssumeTheBridgeRole", _assume_actions(role, tags=tags), arn)])


def trust_policy(role: RoleConfig, principal: str, *, tags: bool = False) -> Document:
    """Account B: who may become the role. `principal` is the exact ARN of A's role or user.

    `tags` as in :func:`identity_policy`.
    """
    statement = {
        "Sid": "LetTheSiteAssumeThisRole",
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": _assume_actions(role, tags=tags),
    }
    if role.external_id:
        statement["Condition"] = {
            "StringEquals": {"sts:ExternalId": _no_variable(role.external_id)}
        }
    return document([statement])


def permission_policy(
    stream_arns: Iterable[str],
    *,
    read: bool = False,
    list_shards: Iterable[str] = (),
    kms_key: str | None = None,
) -> Document:
    """Account B: what the role may do, on exactly these streams.

    `read` adds reading back and asking for a stream's state, which is all there is to read of
    Firehose; `list_shards` names those of the streams whose shards the producer asks for; `kms_key`
    is the ARN of the customer managed key that encrypts them ("Permissions to use user-generated
    KMS keys", Kinesis Data Streams Developer Guide). Firehose needs no key of its writers: it has a
    grant ("Data protection in Amazon Data Firehose").
    """
    arns = sorted(set(stream_arns))  # two aliases may name one stream
    firehose = [arn for arn in arns if ":firehose:" in arn]
    kinesis = [arn for arn in arns if arn not in firehose]
    shards = sorted(set(list_shards) & set(kinesis))
    statements = []
    if kinesis:
        statements.append(_statement("WriteTheStream", list(WRITE_ACTIONS), _one_or_all(kinesis)))
    if kinesis and read:
        statements.append(_statement("ReadTheStreamBack", list(READ_ACTIONS), _one_or_all(kinesis)))
    elif shards:
        statements.append(_statement("ListItsShards", SHARDS_ACTION, _one_or_all(shards)))
    if kinesis and kms_key:
        actions = [DECRYPT_ACTION, ENCRYPT_ACTION] if read else ENCRYPT_ACTION
        statements.append(_statement("UseTheKeyOfTheStream", actions, kms_key))
    if firehose:
        statements.append(_statement("WriteToFirehose", FIREHOSE_ACTION, _one_or_all(firehose)))
    if firehose and read:
        described = _statement("DescribeFirehose", FIREHOSE_READ_ACTION, _one_or_all(firehose))
        statements.append(described)
    return document(statements)


def resource_policy(
    stream_arn: str, principal: str, *, read: bool = False, list_shards: bool = False
) -> Document:
    """Account B, without a role: the stream's own policy, for exactly this principal of A.

    Actions that it may have: "Share access using resource-based policies", Kinesis Data Streams
    Developer Guide.
    """
    wanted: dict[str, tuple[str, ...]] = {"LetTheSiteWrite": WRITE_ACTIONS}
    if read:
        wanted["LetTheSiteReadBack"] = READ_ACTIONS
    elif list_shards:
        wanted["LetTheSiteListItsShards"] = (SHARDS_ACTION,)
    return document(
        [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Principal": {"AWS": principal},
                "Action": _one_or_all(list(actions)),
                "Resource": stream_arn,
            }
            for sid, actions in wanted.items()
        ]
    )


def key_statement(writer: str) -> Document:
    """Account B: what the policy of the stream's KMS key must have for `writer`, an ARN.

    The key of the policy is its only resource: "Key policies in AWS KMS", AWS KMS Developer Guide.
    """
    return {
        "Sid": "LetTheWriterEncrypt",
        "Effect": "Allow",
        "Principal": {"AWS": writer},
        "Action": ENCRYPT_ACTION,
        "Resource": "*",
    }


def _one_or_all(texts: list[str]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else texts


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


def _assume_actions(role: RoleConfig, *, tags: bool) -> str | list[str]:
    actions = ["sts:AssumeRole"]
    if role.source_identity:
        actions.append("sts:SetSourceIdentity")
    if role.tags or tags:
        actions.append("sts:TagSession")
    return actions if len(actions) > 1 else actions[0]


def _statement(sid: str, actions: str | list[str], resource: str | list[str]) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def document(statements: Iterable[Document]) -> Document:
    """Return a whole document; equal statements once, and every Sid once."""
    given: list[Document] = []
    kept: list[Document] = []
    for statement in statements:
        if statement not in given:
            same = sum(other["Sid"] == statement["Sid"] for other in given)
            given.append(statement)
            kept.append({**statement, "Sid": f"{statement['Sid']}{same + 1 if same else ''}"})
    return {"Version": "2012-10-17", "Statement": kept}


# A path of IAM may hold them. "IAM policy elements: Variables and tags", IAM User Guide, says how
# they lose their meaning.
def _literally(arn: str) -> str:
    return re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", arn)


def _no_variable(text: str) -> str:
    return text.replace("${", "${$}{")
