"""kinesis_bridge: a Django site's committed changes, on a Kinesis stream of another AWS account.

The names below are the public face. Each is imported at its first use, so that having the app in
INSTALLED_APPS imports neither boto3 nor a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .capture.strict import allow_uncaptured
    from .client import get_client
    from .context import event_context
    from .declarations import publishes
    from .event import Event
    from .session import get_session
    from .streams import apublish, publish, streams

__version__ = "0.1.0"
__all__ = [
    "Event",
    "allow_uncaptured",
    "apublish",
    "event_context",
    "get_client",
    "get_session",
    "publish",
    "publishes",
    "streams",
]

_HOMES = {
    "Event": "event",
    "allow_uncaptured": "capture.strict",
    "apublish": "streams",
    "event_context": "context",
    "get_client": "client",
    "get_session": "session",
    "publish": "streams",
    "publishes": "declarations",
    "streams": "streams",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
