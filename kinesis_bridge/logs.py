"""A ``logging.Handler`` that sends the site's logs to a stream, through its background delivery.

In Django's LOGGING: ``{"class": "kinesis_bridge.logs.KinesisHandler", "stream": "logs"}``. A call
of a logger appends to the buffer in memory, past any transaction (a log is no domain event: what a
rolled-back transaction logged is sent, too). It neither waits nor raises, whatever AWS does.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import weakref
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.core.checks import CheckMessage, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .check_messages import Error
from .conf import SETTING, default_source, get_config
from .event import Event
from .exceptions import (
    BufferClosed,
    EventError,
    KinesisBridgeError,
    RecordTooLarge,
    SerializationError,
)
from .serializers import to_json
from .streams import streams
from .words import Text, joined, text_of
from .words import marked as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .streams import Stream

__all__ = ["KinesisHandler"]

OWN_LOGGERS = (
    "kinesis_bridge", "boto3", "botocore", "s3transfer", "urllib3",
    "moto", "werkzeug",  # the emulator, where it runs in this process
)  # fmt: skip
"""Loggers of what sends the records: theirs would cause the next ones, for ever."""
EXCLUDED = ("django.db.backends",)
"""At DEBUG it logs SQL with its values: the data of the site's users."""
EARLY_RECORDS = 100
MAX_TEXT = 256 * 1024
MAX_EXTRA = 16 * 1024
MAX_NAME = 256
# Message, exception and stack, each character six bytes in JSON at worst, take 3/4 of a record.
CUT_SHARE = 24
# The most records of one request, which never holds two of one key: PutRecords, Kinesis Data
# Streams API Reference.
KEYS = 500

_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_default_formatter = logging.Formatter()
_handlers: weakref.WeakSet[KinesisHandler] = weakref.WeakSet()


class _Early(NamedTuple):
    """What was logged before Django was set up, and by which process."""

    process: int
    time: datetime
    data: dict[str, Any]


class KinesisHandler(logging.Handler):
    """Sends each record as an event of type ``<project>.log`` to one stream.

    Never sent: what this package and boto log, what is logged on the threads that send the stream,
    and what is logged while a record is being made. Only a delivery that takes events without
    waiting will do: ``background``; the system checks refuse others (E060, E061). A full buffer
    drops the record, whatever WHEN_FULL says, and counts it in the delivery's statistics.

    LOGGING is set up before the apps. The first :data:`EARLY_RECORDS` records made until they are
    ready go out before the first one made after; a child that was forked meanwhile has none.
    """

    def __init__(
        self,
        level: int | str = logging.NOTSET,
        *,
        stream: str = "logs",
        type: str | None = None,  # noqa: A002 - the attribute's name in CloudEvents
        exclude: Iterable[str] = EXCLUDED,
    ) -> None:
        """`stream`: its alias in the settings. `exclude`: loggers, with those below them."""
        super().__init__(level)
        self.stream = stream
        self.type = type
        self.lost = 0
        """Records that could not be made or taken; those that found no room are counted there."""
        self._excluded = (*OWN_LOGGERS, *exclude)
        self._host = socket.gethostname()
        self._numbers = count()
        self._early: deque[_Early] = deque()
        self._emitting = threading.local()
        self._used_by: int | None = None
        self._told: set[str] = set()
        register(check_handlers)  # a set: once
        _handlers.add(self)

    def handle(self, record: logging.LogRecord) -> bool:
        """As of :class:`logging.Handler`, without its lock: no thread waits for another here."""
        kept: Any = self.filter(record)
        if isinstance(kept, logging.LogRecord):  # Python 3.12: a filter may replace it
            record = kept
        if kept:
            self.emit(record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record to the delivery; say on stderr, once for each kind, what cannot be."""
        if getattr(self._emitting, "now", False) or self._is_own(record.name):
            return
        try:
            self._emitting.now = True
            self._emit(record)
        except BufferClosed:  # the process ends, and has flushed
            self.lost += 1
        except Exception:  # noqa: BLE001 - a logger must not raise in its caller's hands
            self.lost += 1
            self.handleError(record)
        finally:
            self._emitting.now = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say once what kind of error it was, and never what the record holds."""
        error = sys.exception()
        kind = type(error).__name__
        if not logging.raiseExceptions or sys.stderr is None or kind in self._told:
            return
        self._told.add(kind)
        ours = isinstance(error, (KinesisBridgeError, ImproperlyConfigured))
        reason = f": {error}" if ours and not isinstance(error, EventError) else ""
        with suppress(OSError, ValueError):
            sys.stderr.write(
                f"KinesisHandler (stream {self.stream!r}): a record of logger {record.name!r},"
                f" {record.filename}:{record.lineno}, was not sent: {kind}{reason}."
                " More of this kind are counted, not told.\n"
            )

    def flush(self) -> None:
        """Wait until what was taken is delivered, for SHUTDOWN_SECONDS at most."""
        if self._used_by != os.getpid():
            return
        with suppress(KinesisBridgeError, ImproperlyConfigured):
            stream = streams[self.stream]
            stream.flush(stream.config.options.get("SHUTDOWN_SECONDS", 0.0))

    def close(self) -> None:
        """Stop; the delivery, which others may use, goes on."""
        _handlers.discard(self)
        super().close()

    def check(self) -> list[CheckMessage]:
        """Return why this handler cannot send to its stream, by the settings."""
        try:
            self._refuse_others()
        except ImproperlyConfigured as error:
            number = "E061" if self.stream in get_config().streams else "E060"
            return [
                Error(
                    joined(": ", ["LOGGING", text_of(error)]),
                    hint=Text(
                        _("Example: {example}"),
                        example=f'{SETTING}["STREAMS"]["{self.stream}"] = '
                        '{"STREAM": "logs", "ROLE": "data-platform", "DELIVERY": "background"}',
                    ),
                    id=f"kinesis_bridge.{number}",
                )
            ]
        return []

    # The way of one record

    def _is_own(self, name: str) -> bool:
        if any(name == own or name.startswith(f"{own}.") for own in self._excluded):
            return True
        # The delivery's and its producer's threads are named so.
        return threading.current_thread().name.startswith(f"kinesis-{self.stream}-")

    def _emit(self, record: logging.LogRecord) -> None:
        time = datetime.fromtimestamp(record.created, UTC)
        data = self._data(record, time)
        if not apps.ready:
            if len(self._early) < EARLY_RECORDS:
                self._early.append(_Early(os.getpid(), time, data))
            else:
                self.lost += 1
            return
        stream = streams[self.stream]
        if not hasattr(stream.delivery, "offer"):
            self._refuse_others()
            return  # the settings are right: a test has put its own delivery in place
        self._used_by = os.getpid()
        while self._early:
            with suppress(IndexError):  # another thread was faster
                early = self._early.popleft()
                if early.process == os.getpid():
                    self._send(stream, early.data, early.time)
        self._send(stream, data, time)

    def _send(self, stream: Stream, data: dict[str, Any], time: datetime) -> None:
        # Their order is worth nothing, so no key holds another record back; packed, one is best.
        number = 0 if stream.config.options["AGGREGATE"] == "key" else next(self._numbers) % KEYS
        event: dict[str, Any] = {
            "type": self.type or f"{default_source().strip('/')}.log",
            "source": get_config().source,
            "key": f"{self._host}:{os.getpid()}:{number}",
            "time": time,
            "stream": self.stream,
        }
        try:
            stream.offer(Event(data=data, **event))
        except RecordTooLarge:
            cut = _cut(data, stream.config.max_record_bytes // CUT_SHARE)
            stream.offer(Event(data=cut, **event))

    def _data(self, record: logging.LogRecord, time: datetime) -> dict[str, Any]:
        data: dict[str, Any] = {
            "level": record.levelname,
            "logger": _text(record.name, MAX_NAME),
            "message": _text(record.getMessage(), MAX_TEXT),
            "time": time,
            "module": _text(record.module, MAX_NAME),
            "function": _text(record.funcName or "", MAX_NAME),
            "line": record.lineno,
            "host": self._host,
            "process": record.process,
            "thread": _text(record.threadName or "", MAX_NAME),
        }
        # record.exc_text is what another handler's formatter made, with its colours.
        formatter = self.formatter or _default_formatter
        exception = record.exc_text
        if record.exc_info and record.exc_info[0]:
            exception = formatter.formatException(record.exc_info)
        if exception:
            data["exception"] = _text(exception, MAX_TEXT)
        if record.stack_info:
            data["stack"] = _text(formatter.formatStack(record.stack_info), MAX_TEXT)
        extra = {
            _text(str(name), MAX_NAME): _plain(value)
            for name, value in record.__dict__.items()
            if name not in _ATTRIBUTES
        }
        if extra:
            data["extra"] = extra
        if any(len(data.get(name, "")) > MAX_TEXT for name in ("message", "exception", "stack")):
            return _cut(data, MAX_TEXT) | ({"extra": extra} if extra else {})
        return data

    def _refuse_others(self) -> None:
        """Raise ImproperlyConfigured where the stream's delivery could make a logger wait."""
        config = get_config().stream(self.stream)
        if not hasattr(import_string(config.delivery_class), "offer"):
            raise ImproperlyConfigured(
                Text(
                    _(
                        "KinesisHandler sends to stream {stream}, whose DELIVERY is {delivery}: a"
                        " logger must not wait for a database or for AWS, so it takes"
                        ' "background".'
                    ),
                    stream=repr(self.stream),
                    delivery=repr(config.delivery),
                )
            )


def check_handlers(**_given: Any) -> list[CheckMessage]:
    """Return what is wrong with the handlers that LOGGING made; wrong settings tell others."""
    try:
        get_config()
    except ImproperlyConfigured:
        return []
    return [message for handler in list(_handlers) for message in handler.check()]


def _cut(data: dict[str, Any], size: int) -> dict[str, Any]:
    """Return `data` with texts of `size` characters at most, without ``extra``, and marked."""
    cut = {name: value for name, value in data.items() if name != "extra"}
    for name in ("message", "exception", "stack"):
        if name in cut:
            cut[name] = cut[name][:size]
    return {**cut, "truncated": True}


def _text(text: str, most: int) -> str:
    """Return valid Unicode; of what is longer than `most`, one character more, to tell by."""
    return text[: most + 1].encode(errors="backslashreplace").decode()


def _plain(value: object) -> Any:
    """Return what has a JSON form and is not large; a text in place of anything else."""
    with suppress(SerializationError):
        if len(to_json(value)) <= MAX_EXTRA:
            return value
    try:
        return _text(_described(value), MAX_NAME)
    except Exception:  # noqa: BLE001 - anybody's __str__
        return type(value).__qualname__


def _described(value: object) -> str:
    from django.db.models import Model  # noqa: PLC0415 - the apps may not be ready yet
    from django.db.models.query import QuerySet  # noqa: PLC0415
    from django.http import HttpRequest  # noqa: PLC0415

    match value:
        case HttpRequest():  # its str() has the query, which may hold secrets
            return f"{value.method} {value.path}"
        case Model():  # its str() may ask the database, as a QuerySet's does
            return f"{value._meta.label} {value.pk}"
        case QuerySet():
            return f"QuerySet of {value.model._meta.label}"
    return str(value)
