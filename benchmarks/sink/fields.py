"""Single fields of a request's JSON document, checked for type and form."""

from __future__ import annotations

import binascii
import re
from typing import Any

from benchmarks.sink.config import HASH_KEYS
from benchmarks.sink.errors import (
    ApiError,
    constraint,
    invalid_argument,
    serialization,
    validation,
)

Document = dict[str, Any]


def records_of(body: Document, limit: int) -> list[object]:
    """The request's ``Records``: a list of 1 to ``limit``."""
    records = body.get("Records")
    if records is None:
        raise validation(constraint("records", "not be null", "null"))
    if not isinstance(records, list):
        raise serialization("Expected list or null")
    if not records:
        raise validation(constraint("records", "have length greater than or equal to 1", "'[]'"))
    if len(records) > limit:
        raise validation(
            constraint("records", f"have length less than or equal to {limit}", "'[...]'")
        )
    return records


def text_of(item: Document, name: str) -> str | None:
    """A string or nothing."""
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise serialization(f"{name}: {type(value).__name__} can not be converted to a String")
    return value


def data_of(item: Document) -> bytes | None:
    """``Data`` decoded from base64, or nothing."""
    text = text_of(item, "Data")
    if text is None:
        return None
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except (binascii.Error, ValueError) as err:
        raise serialization("Data: not base64") from err


def hash_key_of(text: str) -> int:
    """An ``ExplicitHashKey`` of the right form, within its range."""
    value = int(text)
    if value >= HASH_KEYS:
        raise invalid_argument(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
            f"Specified value was {text}"
        )
    return value


def refuse_dry_run(body: Document) -> None:
    """``DryRun``: a request that would have been accepted ends in this error."""
    if body.get("DryRun") is True:
        raise ApiError(
            "DryRunOperationException",
            "The request was rejected because the DryRun parameter was specified.",
        )


def mismatch(where: str, value: str, pattern: re.Pattern[str]) -> str:
    """The finding of a value that is not of the form required."""
    return constraint(
        where, f"satisfy regular expression pattern: {pattern.pattern}", f"'{value[:300]}'"
    )
