"""In the relay: why its events wait, as its signals tell it; a line of JSON each, for the page.

``relay_paused`` tells of an outage once. What is said here follows what it becomes, too.
"""

import json
import sys
from typing import Any

from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.signals import batch_settled, relay_paused, relay_resumed, request_failed

VARIABLE = "LIVE_TELL"
"""Set for the relay whose lines are read."""

_last: dict[str, str] | None = None


def subscribe() -> None:
    for signal in (relay_paused, request_failed, batch_settled):
        signal.connect(_failed)
    relay_resumed.connect(_resumed)


def _failed(*, error: AwsError | None = None, **_: Any) -> None:
    if error is None:
        return  # a batch that passed: relay_resumed says when all of it does
    _tell(
        {
            "name": error.name,
            "code": error.code,
            "side": error.side,
            "cause": error.message,
            "fix": error.hint,
        }
    )


def _resumed(**_: Any) -> None:
    _tell(None)


def _tell(trouble: dict[str, str] | None) -> None:
    global _last  # noqa: PLW0603 - one relay a process
    if trouble != _last:
        _last = trouble
        sys.stdout.write(json.dumps({"trouble": trouble}) + "\n")
        sys.stdout.flush()
