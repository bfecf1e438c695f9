"""The ``extra=`` of this package's own log lines: the same names everywhere, for machines to read.

docs/observe.md lists them. Never a payload, a key of an event or a credential.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from .conf import get_config
from .exceptions import AwsError

if TYPE_CHECKING:
    from .conf import StreamConfig

NAMES = (
    "stream",
    "database",
    "role",
    "account",
    "lane",
    "count",
    "seconds",
    "event_id",
    "event_type",
    "model",
    "snapshot",
    "error",
    "code",
    "side",
)
"""Every name there is; none that a LogRecord has of its own."""


def fields(error: BaseException | None = None, **given: Any) -> dict[str, Any]:
    """Return what is `given` and not None, with the name, code and side of an AwsError."""
    if isinstance(error, AwsError):
        given |= {"error": error.name, "code": error.code or None, "side": error.side}
    elif error is not None:
        given["error"] = type(error).__name__
    assert given.keys() <= set(NAMES), given  # noqa: S101 - documented, each of them  # nosec B101
    return {name: value for name, value in given.items() if value is not None}


def stream_fields(
    stream: StreamConfig, error: BaseException | None = None, **given: Any
) -> dict[str, Any]:
    """Return :func:`fields` with the stream's alias, and the role and account it is written by."""
    account = None
    with suppress(ImproperlyConfigured):  # the settings changed: the line is told all the same
        role = get_config().role_of(stream)
        account = role.account if role else None
    return fields(error, stream=stream.alias, role=stream.role, account=account, **given)
