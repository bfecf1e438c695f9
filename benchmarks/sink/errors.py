"""Error replies as AWS words them. Raised by the handlers, turned into replies by the server."""

from __future__ import annotations

THROTTLED = "ProvisionedThroughputExceededException"
INTERNAL = "InternalFailure"


class ApiError(Exception):
    """A whole request refused.

    ``code`` becomes ``__type`` (JSON services) or ``Code`` (STS), ``status`` the HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def validation(*findings: str) -> ApiError:
    """``ValidationException`` that lists each finding, as the services do."""
    count = len(findings)
    plural = "" if count == 1 else "s"
    return ApiError(
        "ValidationException",
        f"{count} validation error{plural} detected: {'; '.join(findings)}",
    )


def constraint(where: str, rule: str, value: str | None = None) -> str:
    """One finding of a ``ValidationException``; ``where`` as in ``records.1.member.data``."""
    shown = "Value" if value is None else f"Value {value}"
    return f"{shown} at '{where}' failed to satisfy constraint: Member must {rule}"


def serialization(message: str) -> ApiError:
    """A value of the wrong JSON type."""
    return ApiError("SerializationException", message)


def invalid_argument(message: str) -> ApiError:
    """A well-formed value that is over a limit or cannot be used."""
    return ApiError("InvalidArgumentException", message)


def stream_not_found(name: str, account: str) -> ApiError:
    """The stream does not exist."""
    return ApiError(
        "ResourceNotFoundException", f"Stream {name} under account {account} not found."
    )


def rate_exceeded(shard_id: str, stream: str, account: str) -> str:
    """Message of a throttled record; AWS names shard, stream and account in it."""
    return f"Rate exceeded for shard {shard_id} in stream {stream} under account {account}."
