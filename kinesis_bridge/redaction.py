"""Keeps credentials and payloads out of botocore's DEBUG logs and of reports of errors.

At DEBUG botocore logs whole requests and replies: AssumeRole's reply carries the secret and the
token, and every request header the token. While a request of ours is under way on a thread
(:func:`quiet`), bodies and parameters are withheld from the records that thread makes; the values
of live credentials (:func:`protect`) are withheld from every record of boto's loggers.

Django's error page, and services that collect errors, show the local variables of every frame of an
error and of its causes: botocore's have headers with the token, and payloads
(:func:`forget_frames`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHHELD = "[redacted]"
_LOGGERS = ("botocore", "boto3", "urllib3", "s3transfer")
_MINIMUM = 8  # shorter than any secret of AWS; a short fake would blank innocent text
_local = threading.local()
# The last few generations: a request signed just before a refresh may be logged just after it.
_values: deque[str] = deque(maxlen=256)


def protect(*values: str | None) -> None:
    """Withhold these values from boto's loggers from now on."""
    for value in values:
        if value and len(value) >= _MINIMUM and value not in _values:
            _values.append(value)


@contextmanager
def quiet() -> Iterator[None]:
    """Withhold parameters and bodies from what boto logs on this thread meanwhile."""
    depth = getattr(_local, "depth", 0)
    _local.depth = depth + 1
    try:
        yield
    finally:
        _local.depth = depth


def forget_frames(error: BaseException) -> None:
    """Take the frames from `error`, just caught, and from what it came of; ``raise`` begins anew.

    What they were and said stays in the chain; only where within boto they were raised is lost.
    What the site was handling itself when it called us keeps its frames.
    """
    if error.__traceback__ is None:
        return
    running = set()  # the callers of the frame that caught it
    frame = error.__traceback__.tb_frame.f_back
    while frame is not None:
        running.add(frame)
        frame = frame.f_back
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        found = left.pop()
        trace = found and found.__traceback__
        if found is None or id(found) in seen or (trace and trace.tb_frame in running):
            continue
        seen.add(id(found))
        found.__traceback__ = None
        left += [found.__cause__, found.__context__]


class _Redact(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_local, "depth", 0) and record.args:
            args = record.args if isinstance(record.args, tuple) else (record.args,)
            record.args = tuple(map(_without_body, args))
        if _values:
            text = clean = record.getMessage()
            for value in list(_values):
                clean = clean.replace(value, WITHHELD)
            if clean is not text:
                record.msg, record.args = clean, ()
        return True


def _without_body(value: object) -> object:
    """Keep names and numbers; withhold what can hold a body, a header or a parameter."""
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and len(value) <= 128 and "\n" not in value:
        return value
    name = type(value).__name__
    return str(value) if name == "OperationModel" else f"{WITHHELD} ({name})"


_filter = _Redact()


def install() -> None:
    """Put the filter on every logger of boto that exists by now; do it again after new clients.

    A filter on a parent logger does not see its children's records, hence one on each.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.split(".", 1)[0] in _LOGGERS:
            logging.getLogger(name).addFilter(_filter)
