"""What AWS says of the stream itself, and what of it events would stumble over."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from kinesis_bridge import redaction
from kinesis_bridge.conf.options import KIB
from kinesis_bridge.diagnosis import explain, explain_named
from kinesis_bridge.transport import kinesis_client
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .check import Found

if TYPE_CHECKING:
    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.diagnosis import Path

MANAGED_KEY = "alias/aws/kinesis"
# They take records: StreamDescriptionSummary, Kinesis Data Streams API Reference.
WRITABLE = ("ACTIVE", "UPDATING")


def describe_stream(stream: StreamConfig, path: Path) -> Found:
    """Look at status, mode, shards, record limit, distribution and encryption of a stream.

    Raises AwsError for what Kinesis refuses and for what events would stumble over.
    """
    summary = _ask(stream, path, "kinesis", "describe_stream_summary", target_of(stream))
    told = summary["StreamDescriptionSummary"]
    status = told["StreamStatus"]
    if status not in WRITABLE:
        raise explain_named("stream-not-ready", path, status=status)
    limit = told.get("MaxRecordSizeInKiB", 1024) * KIB
    wanted = stream.max_record_bytes
    if wanted > limit:
        sizes = {"limit": limit, "wanted": wanted, "kib": -(-wanted // KIB)}
        raise explain_named("record-limit", path, **sizes)
    options = stream.options
    if told.get("RecordDistributionStrategy") == "AUTO" and (
        options["ORDERING"] == "per_key" or options["AGGREGATE"] == "shard"
    ):
        raise explain_named("record-distribution", path)
    mode = told.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED").lower()
    key = told.get("KeyId") if told.get("EncryptionType") == "KMS" else None
    if key and key.endswith(MANAGED_KEY) and _from_another_account(told["StreamARN"], path):
        raise explain_named("managed-key-across-accounts", path)
    hint = ""
    if key and not key.endswith(MANAGED_KEY):
        hint = Text(
            _("Whoever writes needs kms:GenerateDataKey on {key}: manage.py kinesis_iam --kms-key"),
            key=key,
        )
    detail = Text(
        _(
            "{arn} is {status}: {mode}, {shards} open shards, {hours} hours, records of {limit}"
            " bytes, {encryption}"
        ),
        arn=told["StreamARN"],
        status=status,
        mode=mode.replace("_", "-"),
        shards=told["OpenShardCount"],
        hours=told["RetentionPeriodHours"],
        limit=f"{limit:,}",
        encryption=Text(_("encrypted with {key}"), key=key) if key else Text(_("not encrypted")),
    )
    return Found(detail, hint)


def describe_firehose(stream: StreamConfig, path: Path) -> Found:
    """Look at status and source of a Firehose stream; raises AwsError likewise."""
    target = {"DeliveryStreamName": stream.name}
    answer = _ask(stream, path, "firehose", "describe_delivery_stream", target)
    told = answer["DeliveryStreamDescription"]
    status = told["DeliveryStreamStatus"]
    if status != "ACTIVE":
        raise explain_named("stream-not-ready", path, status=status)
    if told["DeliveryStreamType"] != "DirectPut":
        raise explain_named("firehose-source", path, status=told["DeliveryStreamType"])
    return Found(Text(_("{arn} is {status}"), arn=told["DeliveryStreamARN"], status=status))


def target_of(stream: StreamConfig) -> dict[str, str]:
    """Return how requests name a Kinesis stream."""
    return {"StreamARN": stream.arn} if stream.arn else {"StreamName": stream.name}


def _ask(
    stream: StreamConfig, path: Path, service: Any, operation: str, request: dict[str, str]
) -> dict[str, Any]:
    from kinesis_bridge.session.assume import BOTO_ERRORS  # noqa: PLC0415 - imports boto3

    with closing(kinesis_client(stream, service)) as client:
        path.endpoint = client.meta.endpoint_url
        try:
            with redaction.quiet():
                answer: dict[str, Any] = getattr(client, operation)(**request)
        except BOTO_ERRORS as error:
            raise explain(error, path) from error
        return answer


def _from_another_account(stream_arn: str, path: Path) -> bool:
    writer = path.role.account if path.role else (path.caller_arn or "::::").split(":")[4]
    return writer != stream_arn.split(":")[4]
