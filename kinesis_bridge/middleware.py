"""The context of a request, for the events that are made in it."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import FileResponse

from .context import _current, event_context, parse_traceparent, parse_tracestate
from .event import new_id
from .exceptions import EventError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

    from django.http import HttpRequest

    from .context import EventContext, Given

T = TypeVar("T")

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=+@~-]{0,127}")
_AT_ONCE = {"requestid", "traceparent", "tracestate"}


class EventContextMiddleware:
    """Has the events made in a request carry ``requestid``, ``userid`` and ``traceparent``.

    Sync and async. First in MIDDLEWARE, so that the events of the others have it, too. A subclass
    says what is carried: each name in ``attributes`` has a method ``get_<name>(request)``, whose
    None leaves it out. Those of headers are called when the request comes, ``get_userid`` and those
    of a subclass each time an event is made, in the thread that makes it.
    """

    sync_capable = True
    async_capable = True

    attributes: tuple[str, ...] = ("requestid", "userid", "traceparent")
    """What events carry; ``tracestate`` is there for the asking."""
    request_id_header: str | None = "X-Request-ID"
    """Whose word is taken for ``requestid``; None: nobody's, it is always a new one."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._getters: dict[str, Callable[[HttpRequest], Any]] = {}
        try:
            event_context(**dict.fromkeys(self.attributes))
            for name in self.attributes:
                self._getters[name] = getattr(self, f"get_{name}")
        except (EventError, AttributeError) as error:
            raise ImproperlyConfigured(
                f"{type(self).__module__}.{type(self).__qualname__}.attributes: {error}"
                ' Example: attributes = ("requestid", "tenantid"), with a method'
                " get_tenantid(self, request)."
            ) from error
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer `request` within its context."""
        if self._is_async:
            return self._acall(request)
        with self._context(request):
            return _continued(self.get_response(request))

    async def _acall(self, request: HttpRequest) -> Any:
        with self._context(request):
            return _continued(await self.get_response(request))

    def _context(self, request: HttpRequest) -> EventContext:
        values: dict[str, Given] = {
            name: get(request) if name in _AT_ONCE else partial(get, request)
            for name, get in self._getters.items()
        }
        return event_context(**values)

    def get_requestid(self, request: HttpRequest) -> str:
        """Return the header's token, 128 characters at most, or a new UUIDv7."""
        header = self.request_id_header
        given = request.headers.get(header, "") if header else ""
        return given if _REQUEST_ID.fullmatch(given) else new_id()

    def get_userid(self, request: HttpRequest) -> str | None:
        """Return the primary key of ``request.user``, None for nobody.

        Called when an event is made: a request without events touches neither session nor database.
        """
        # None, too, while the middlewares before AuthenticationMiddleware run.
        pk = getattr(getattr(request, "user", None), "pk", None)
        if pk is None:
            return None
        return ",".join(map(str, pk)) if isinstance(pk, tuple) else str(pk)

    def get_traceparent(self, request: HttpRequest) -> str | None:
        """Return the header, if it is valid."""
        return parse_traceparent(request.headers.get("traceparent", ""))

    def get_tracestate(self, request: HttpRequest) -> str | None:
        """Return the header, if it and ``traceparent`` are valid."""
        if self.get_traceparent(request) is None:  # then it says nothing: W3C Trace Context
            return None
        return parse_tracestate(request.headers.get("tracestate", ""))


def _continued(response: Any) -> Any:
    # What is streamed is made after the middlewares. A file makes no events, and wrapped it could
    # no longer be sent by the server itself (wsgi.file_wrapper).
    if response.streaming and not isinstance(response, FileResponse):
        wrap = _aiterate if response.is_async else _iterate
        response.streaming_content = wrap(response.streaming_content, _Steps())
    return response


class _Steps:
    """Each step of an iteration runs in the context of its last; the first in that of now."""

    def __init__(self) -> None:
        self._frame = _current.get()

    def __enter__(self) -> None:
        self._token = _current.set(self._frame)

    def __exit__(self, *_: object) -> None:
        self._frame = _current.get()  # a block within the iteration may be open
        _current.reset(self._token)


def _iterate(content: Iterable[T], steps: _Steps) -> Iterator[T]:
    iterator = iter(content)
    while True:
        with steps:
            try:
                part = next(iterator)
            except StopIteration:
                return
        yield part


async def _aiterate(content: AsyncIterable[T], steps: _Steps) -> AsyncIterator[T]:
    iterator = aiter(content)
    while True:
        with steps:
            try:
                part = await anext(iterator)
            except StopAsyncIteration:
                return
        yield part
