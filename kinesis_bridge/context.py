"""Who and why: values that every event made within a block carries as CloudEvents extensions.

::

    with event_context(requestid="a1", userid=user.pk):
        order.save()

The context of an event is that of the moment of the change, whenever it is written. Threads and
asyncio tasks have their own: a task starts with that of its maker, a thread with none.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import orjson

from . import signals
from .exceptions import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Token
    from types import TracebackType

logger = logging.getLogger("kinesis_bridge.context")

MAX_BYTES = 2048
"""Of a whole context, as JSON."""

Value = str | int | UUID
"""What an attribute may be: text, a whole number of 32 bits, a bool; a UUID becomes text."""
Given = Value | Callable[[], Value | None] | None

F = TypeVar("F", bound=Callable[..., Any])

# Names and types: CloudEvents 1.0.2, "Naming Conventions" and "Type System".
_NAME = re.compile(r"[a-z0-9]{1,20}")
_NO_STRING = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_RESERVED = {
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema",
    "partitionkey", "data",
}  # fmt: skip
_TEXTS = {"requestid", "userid"}

# Trace Context, W3C: "traceparent Header Field Values", "tracestate Header Field Values".
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE_MEMBER = re.compile(
    r"([a-z0-9][a-z0-9_*/@-]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_TRACESTATE_MEMBERS = 32
MAX_TRACESTATE = 512
"""Characters; who passes it on need not keep more."""


def parse_traceparent(text: str) -> str | None:
    """Return a ``traceparent`` header as version 00 writes it; None where it is not valid."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or not int(trace, 16) or not int(parent, 16):
        return None
    if version == "00":
        return None if more else text
    # Of a later version only these fields are known, and of its flags only "sampled".
    return f"00-{trace}-{parent}-{int(flags, 16) & 1:02x}"


def parse_tracestate(text: str) -> str | None:
    """Return a ``tracestate`` header without empty members; None where it is not valid."""
    members = [stripped for member in text.split(",") if (stripped := member.strip(" \t"))]
    matches = [match for member in members if (match := _TRACESTATE_MEMBER.fullmatch(member))]
    keys = {match[1] for match in matches}
    joined = ",".join(members)
    is_valid = 0 < len(keys) == len(members) <= _MOST_TRACESTATE_MEMBERS
    return joined if is_valid and len(joined) <= MAX_TRACESTATE else None


class Context(Mapping[str, str | int]):
    """What an event carries beside its own attributes: names and values; cannot be changed.

    Raises :class:`~kinesis_bridge.exceptions.EventError` for a name or a value that CloudEvents
    does not allow, and for more than ``MAX_BYTES``. Its ``repr`` shows no value.
    """

    __slots__ = ("_json", "_values")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = {name: _checked(name, value) for name, value in values.items()}
        self._json = orjson.dumps(self._values)
        if len(self._json) > MAX_BYTES:
            raise EventError(
                f"The event context ({', '.join(self)}) has {len(self._json):,} bytes as JSON, and"
                f" {MAX_BYTES:,} is the most, since every event carries it: put ids there, and the"
                " rest into the data."
            )

    def __getitem__(self, name: str) -> str | int:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"<Context {', '.join(self)}>"


def as_json(context: Context | None) -> str:
    """Return `context` as the text of one JSON object, ``{}`` for none.

    For where only text can go: a setting of the database's transaction, a message header.
    """
    return "{}" if context is None else context._json.decode()  # noqa: SLF001 - its other half


def _checked_name(name: str) -> str:
    if name in _RESERVED:
        raise EventError(
            f"{name!r} cannot be in the event context: it is the name of an attribute that every"
            " event has of its own. Choose another."
        )
    if not _NAME.fullmatch(name):
        raise EventError(
            f"{name!r} cannot be in the event context: CloudEvents has names of lower-case letters"
            " a-z and digits, here of at most 20, as requestid."
        )
    return name


def _checked(name: str, value: Value) -> str | int:
    _checked_name(name)
    if isinstance(value, UUID) or (isinstance(value, int) and name in _TEXTS):
        value = str(value)  # primary keys; some are of 64 bits
    if isinstance(value, str):
        return _checked_text(name, str.__str__(value))
    if isinstance(value, bool):
        return value
    if not isinstance(value, int):
        raise EventError(
            f"{name} in the event context is of type {type(value).__name__}: CloudEvents has text,"
            " whole numbers and booleans. Pass str(...) of it."
        )
    if not -(2**31) <= value < 2**31:
        raise EventError(
            f"{name} in the event context is a whole number of more than 32 bits, which CloudEvents"
            " does not have: pass str(...) of it."
        )
    return int(value)


def _checked_text(name: str, text: str) -> str:
    if not text or _NO_STRING.search(text):
        why = "holds control characters or invalid Unicode" if text else "is empty"
        raise EventError(
            f"{name} in the event context {why}, which no attribute may: leave it out, or pass"
            " None."
        )
    if name == "traceparent" and parse_traceparent(text) != text:
        raise EventError(
            "traceparent in the event context is not as W3C Trace Context has it:"
            " 00-<32 hex digits>-<16>-<2>, lower-case, ids not all zero."
        )
    if name == "tracestate" and parse_tracestate(text) != text:
        raise EventError(
            "tracestate in the event context is not as W3C Trace Context has it: key=value,..., of"
            f" at most {_MOST_TRACESTATE_MEMBERS} members and {MAX_TRACESTATE} characters."
        )
    return text


class _Frame:
    """What one block set, and what those around it did."""

    __slots__ = ("_bare", "_seen", "lazy", "plain")

    def __init__(self, plain: Context | None, lazy: dict[str, Callable[[], Value | None]]) -> None:
        self.plain = plain
        self.lazy = lazy
        self._bare = _Frame(plain, {}) if lazy else self
        self._seen: tuple[dict[str, Value], Context | None] = ({}, plain)

    def context(self) -> Context | None:
        if not self.lazy:
            return self.plain
        # An event that is made while a value is looked up goes without it: else there is no end.
        token = _current.set(self._bare)
        try:
            found = {name: value for name, get in self.lazy.items() if (value := get()) is not None}
        finally:
            _current.reset(token)
        seen, context = self._seen
        if found != seen:
            context = _context({**(self.plain or {}), **found})
            self._seen = (found, context)
        return context


_current: ContextVar[_Frame | None] = ContextVar("kinesis_bridge_event_context", default=None)


def current() -> Context | None:
    """Return the context that an event made now carries; None without any.

    Calls what is lazy: see :func:`event_context`.
    """
    frame = _current.get()
    return None if frame is None else frame.context()


def context_of(type: str, stream: str, count: int = 1) -> Context | None:  # noqa: A002 - as publish
    """Return the context for `count` events that are made now, with what receivers add to it.

    What they return that no context can hold, a name or a size, is left out: it breaks no save.
    """
    context = current()
    if not signals.event_making.receivers:
        return context
    answers = signals.event_making.send_robust(
        Context, type=type, stream=stream, count=count, context=context
    )
    return _with_answers(context, answers)


def context_told(database: str) -> Context | None:
    """Return the context that triggers are told now, with what receivers add to it.

    What they return that no context can hold is left out, as in :func:`context_of`.
    """
    context = current()
    if not signals.context_telling.receivers:
        return context
    answers = signals.context_telling.send_robust(Context, database=database, context=context)
    return _with_answers(context, answers)


def _with_answers(context: Context | None, answers: Iterable[tuple[Any, Any]]) -> Context | None:
    for _, answer in answers:
        if answer and isinstance(answer, Mapping):
            try:
                context = _context({**(context or {}), **answer})
            except EventError as error:
                _tell_once(tuple(answer), error)
    return context


_told: set[tuple[object, ...]] = set()


def _tell_once(names: tuple[object, ...], error: EventError) -> None:
    """Warn of what a receiver returned: once, not with every event."""
    if names not in _told:
        _told.add(names)
        logger.warning("Left out of the context of events, from now on silently: %s", error)


class EventContext:
    """A block that sets a context, or a decorator; made by :func:`event_context`."""

    __slots__ = ("_entered", "_given", "_lazy")

    def __init__(self, given: Mapping[str, Given]) -> None:
        self._lazy = {_checked_name(name): get for name, get in given.items() if callable(get)}
        self._given: dict[str, Value | None] = {
            _checked_name(name): value for name, value in given.items() if not callable(value)
        }
        _context(self._given)  # refused here, not where it is used
        self._entered: tuple[_Frame, _Frame | None, Token[_Frame | None]] | None = None

    def __enter__(self) -> None:
        if self._entered is not None:
            raise RuntimeError("This event_context(...) is entered already: make one per block.")
        outer = _current.get()
        plain: dict[str, Value | None] = {**self._given}
        lazy = self._lazy
        if outer is not None:
            hidden = self._given.keys() | self._lazy.keys()
            kept = {name: get for name, get in outer.lazy.items() if name not in hidden}
            plain = {**(outer.plain or {}), **dict.fromkeys(self._lazy), **self._given}
            lazy = {**kept, **self._lazy}
        frame = _Frame(_context(plain), lazy)
        self._entered = (frame, outer, _current.set(frame))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._entered is not None  # noqa: S101 - with has entered it  # nosec B101
        frame, outer, token = self._entered
        self._entered = None
        try:
            _current.reset(token)
        except ValueError:
            # Entered in another copy of the context: asgiref runs each step of a generator in one
            # and carries its values over.
            if _current.get() is frame:
                _current.set(outer)

    def __call__(self, function: F) -> F:
        """Decorate `function`, sync or async: each call runs within the context."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator: its body runs after the call. Use"
                " `with event_context(...):` inside it."
            )
        given = {**self._given, **self._lazy}
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                with EventContext(given):
                    return await function(*args, **kwargs)

            return arun  # type: ignore[return-value]

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with EventContext(given):
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]


def event_context(**values: Given) -> EventContext:
    """Have every event made within the block carry `values`; a decorator, too.

    ::

        with event_context(jobname="nightly-import", userid=None):
            ...

    Within another block, its values are added and replace those of the same name; None takes one
    away. A function without arguments is lazy: it is called each time an event is made, in the
    thread that makes it, so it should remember what is costly; None from it leaves the name out.
    An event made by the function itself goes without what is lazy.

    Names are of a-z and 0-9, 20 at most; values are text, whole numbers of 32 bits, booleans and
    UUIDs. ``requestid`` and ``userid`` are always text; ``traceparent`` and ``tracestate`` are as
    W3C Trace Context has them. Raises :class:`~kinesis_bridge.exceptions.EventError` for others and
    for names that an event has of its own; where the block is entered for more than 2 KiB with what
    is around it; and where the event is made for what is lazy.
    """
    return EventContext(values)


def _context(values: Mapping[str, Value | None]) -> Context | None:
    kept = {name: value for name, value in values.items() if value is not None}
    return Context(kept) if kept else None
