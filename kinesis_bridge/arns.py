"""Amazon Resource Names: parsed and checked, nothing else.

Shapes: "IAM identifiers" in the IAM User Guide (roles, users, assumed roles) and
"Kinesis Data Streams resources" in the Service Authorization Reference (streams).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):(?P<service>[a-z0-9-]+):(?P<region>[a-z0-9-]*):"
    r"(?P<account>\d{12}):(?P<resource>.+)",
    re.ASCII | re.DOTALL,
)
_ROLE = re.compile(r"role/(?:[\x21-\x7e]+/)?(?P<name>[\w+=,.@-]{1,64})", re.ASCII)
_STREAM = re.compile(r"stream/(?P<name>[a-zA-Z0-9_.-]{1,128})")
_DELIVERY_STREAM = re.compile(r"deliverystream/(?P<name>[a-zA-Z0-9_.-]{1,64})")
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arn:
    """The parts of an ARN; ``region`` is empty for IAM."""

    partition: str
    service: str
    region: str
    account: str
    resource: str


def parse(text: str) -> Arn | None:
    """Return the parts of `text`, or None where it is no ARN with a 12-digit account."""
    match = _ARN.fullmatch(text)
    return Arn(**match.groupdict()) if match else None


def role_name(arn: Arn) -> str | None:
    """Return the role's name without its path, or None where `arn` is not a role's."""
    match = _ROLE.fullmatch(arn.resource) if arn.service == "iam" and not arn.region else None
    return match["name"] if match else None


def stream_name(arn: Arn) -> str | None:
    """Return the Kinesis stream's name, or None where `arn` is not a stream's."""
    match = _STREAM.fullmatch(arn.resource) if arn.service == "kinesis" else None
    return match["name"] if match and REGION.fullmatch(arn.region) else None


def delivery_stream_name(arn: Arn) -> str | None:
    """Return the Firehose stream's name, or None where `arn` is not one's.

    Shape: "Firehose resources", Service Authorization Reference.
    """
    match = _DELIVERY_STREAM.fullmatch(arn.resource) if arn.service == "firehose" else None
    return match["name"] if match and REGION.fullmatch(arn.region) else None


def is_stream_name(text: str) -> bool:
    """Tell whether `text` can name a stream: 1-128 of letters, digits, ``_ . -``.

    Source: CreateStream, Amazon Kinesis Data Streams API Reference.
    """
    return _STREAM.fullmatch(f"stream/{text}") is not None
