"""``settings.KINESIS_BRIDGE_EMF``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

SETTING = "KINESIS_BRIDGE_EMF"
_EXAMPLE = f'Example: {SETTING} = {{"NAMESPACE": "Shop/Events", "INTERVAL": 60}}'
_NAMES = {"NAMESPACE": "namespace", "INTERVAL": "interval", "LOGGER": "logger"}
_NAMESPACE = re.compile(r"(?!:|AWS/|\s*\Z)[\x20-\x7e]{1,255}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How metrics are written."""

    namespace: str = "KinesisBridge"
    """Of the metrics in CloudWatch."""
    interval: float = 60.0
    """Seconds that one line is of; CloudWatch keeps whole minutes."""
    logger: str | None = None
    """A logger that gets each line, at level INFO; None: stdout, or stderr beside ``--json``."""


def read_options() -> Options:
    """Return the options; raise ``ImproperlyConfigured``, naming the key, for a wrong one."""
    given: Any = getattr(settings, SETTING, {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"{SETTING} must be a dict. {_EXAMPLE}")
    if unknown := sorted(map(str, given.keys() - _NAMES.keys())):
        raise ImproperlyConfigured(
            f"{SETTING} has no {', '.join(unknown)}; there are {', '.join(_NAMES)}. {_EXAMPLE}"
        )
    _check(**{"namespace": "-", "interval": 1, "logger": None, **_renamed(given)})
    return Options(**_renamed(given))


def _renamed(given: dict[str, Any]) -> dict[str, Any]:
    return {_NAMES[name]: value for name, value in given.items()}


def _check(*, namespace: Any, interval: Any, logger: Any) -> None:
    # "PutMetricData", CloudWatch API Reference: ASCII without control characters, no colon first,
    # no name of AWS's own. Of others CloudWatch makes no metric, and says so nowhere near.
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        wrong = (
            '["NAMESPACE"] must be 1 to 255 ASCII characters, and begin with neither ":" nor "AWS/"'
        )
    elif isinstance(interval, bool) or not isinstance(interval, (int, float)) or interval < 1:
        wrong = '["INTERVAL"] must be seconds, 1 or more'
    elif logger is not None and not isinstance(logger, str):
        wrong = '["LOGGER"] must be the name of a logger'
    else:
        return
    raise ImproperlyConfigured(f"{SETTING}{wrong}. {_EXAMPLE}")
