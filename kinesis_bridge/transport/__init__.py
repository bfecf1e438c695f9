"""One signed request, and an answer for each record in it: boto3's way and the fast way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import MAX_RECORDS, Transport

if TYPE_CHECKING:
    from typing import Any, Literal

    from kinesis_bridge.conf import StreamConfig

__all__ = ["MAX_RECORDS", "Transport", "kinesis_client", "open_transport"]


def open_transport(stream: StreamConfig) -> Transport:
    """Return the transport that OPTIONS["TRANSPORT"] names; imports boto3.

    Raises AwsError where no region or profile can be found.
    """
    from .aws import Boto3Transport, FirehoseTransport  # noqa: PLC0415 - imports boto3
    from .fast import FastTransport  # noqa: PLC0415 - imports boto3

    if stream.is_firehose:
        return FirehoseTransport(stream)
    reference = Boto3Transport(stream)
    if stream.options["TRANSPORT"] == "boto3":
        return reference
    return FastTransport.beside(reference) or reference


def kinesis_client(
    stream: StreamConfig, service: Literal["kinesis", "firehose"] = "kinesis"
) -> Any:
    """Return boto3's client for `stream`; imports boto3. See :func:`.aws.open_client`."""
    from .aws import open_client  # noqa: PLC0415 - imports boto3

    return open_client(stream, service)
