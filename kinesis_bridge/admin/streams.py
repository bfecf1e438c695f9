"""The page "Kinesis bridge": how every stream is, in every database; refreshed by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import router
from django.http import HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.formats import time_format
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.gzip import gzip_page

from kinesis_bridge.dashboard import WINDOWS, StreamView, Window, overview
from kinesis_bridge.findings import in_words, of_name, side_in_words
from kinesis_bridge.models import DeadLetter, Stream
from kinesis_bridge.words import said_by, translated

from .page import PageAdmin
from .panels import panels
from .pauses import pause_view
from .trial import trial_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase

REFRESH_SECONDS = "5"
compressed = method_decorator(gzip_page)
"""Many streams are much HTML that is much the same, and it comes every few seconds."""


@admin.register(Stream)
class StreamAdmin(PageAdmin):
    """The changelist of streams is a page with all that there is to see of them."""

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Tell whether this user may pause and resume streams."""
        return request.user.has_perm("kinesis_bridge.pause_stream")

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Tell whether this user may send test records."""
        return request.user.has_perm("kinesis_bridge.test_stream")

    def get_urls(self) -> list[Any]:
        """Put the page's own addresses before the admin's."""
        wrap = self.admin_site.admin_view
        own = {
            "live": self.live_view,
            "pause": self.pause_view,
            "resume": self.resume_view,
            "test": self.test_view,
        }
        return [
            *(path(f"{name}/", wrap(view), name=self.name_of(name)) for name, view in own.items()),
            *super().get_urls(),
        ]

    @compressed
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the page."""
        self._require(request, view=self.has_view_permission(request))
        window = _window(request)
        context = {
            **self.context(request, _("Kinesis bridge")),
            **self._figures(request, window),
            "windows": WINDOWS.values(),
            "live_url": f"{self.url('live')}?{urlencode({'hours': window.hours})}",
            "refresh_seconds": REFRESH_SECONDS,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/kinesis_bridge/stream/page.html", context)

    def change_view(self, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ARG002
        """Lead to the page: a stream has none of its own."""
        return HttpResponseRedirect(self.url("changelist"))

    @compressed
    def live_view(self, request: HttpRequest) -> JsonResponse:
        """Return the page's figures as they are now: HTML within JSON, and when that was."""
        self._require(request, view=self.has_view_permission(request))
        figures = self._figures(request, _window(request))
        html = render_to_string("admin/kinesis_bridge/stream/live.html", figures, request)
        return JsonResponse({"html": html, "at": figures["at"]})

    def pause_view(self, request: HttpRequest) -> HttpResponse:
        """Ask, then pause a stream."""
        self._require(
            request,
            view=self.has_view_permission(request),
            pause=self.has_pause_permission(request),
        )
        return pause_view(self, request, pause=True)

    def resume_view(self, request: HttpRequest) -> HttpResponse:
        """Ask, then resume a stream."""
        self._require(
            request,
            view=self.has_view_permission(request),
            pause=self.has_pause_permission(request),
        )
        return pause_view(self, request, pause=False)

    def test_view(self, request: HttpRequest) -> HttpResponseBase:
        """Ask, then send a test record and show the way that it takes."""
        self._require(
            request,
            view=self.has_view_permission(request),
            test=self.has_test_permission(request),
        )
        return trial_view(self, request)

    def _require(self, request: HttpRequest, **granted: bool) -> None:
        """Raise PermissionDenied for the first that is not granted; a 403.html may show which."""
        request.current_app = self.admin_site.name
        for action, is_granted in granted.items():
            if not is_granted:
                raise PermissionDenied(self._needed(f"{action}_{self.opts.model_name}"))

    def _needed(self, codename: str) -> str:
        # The database has Django's names of permissions in English: migrate writes them.
        name = dict(self.opts.permissions).get(codename)
        told = f"{self.opts.app_label}.{codename}" + (f" ({_(name)})" if name else "")
        return _("This needs the permission %(permission)s.") % {"permission": told}

    def _figures(self, request: HttpRequest, window: Window) -> dict[str, Any]:
        now = timezone.localtime() if timezone.is_aware(timezone.now()) else timezone.now()
        figures: dict[str, Any] = {"window": window, "at": time_format(now, "H:i:s")}
        try:
            databases = overview(window)
        except ImproperlyConfigured as error:
            return {**figures, "error": said_by(error)}
        return {
            **figures,
            "databases": [
                {
                    "view": database,
                    "error": translated(database.error or ""),
                    "id": f"kb-{number}",
                    "streams": list(self._streams(request, database.streams, number)),
                }
                for number, database in enumerate(databases, 1)
            ],
        }

    def _streams(
        self, request: HttpRequest, views: tuple[StreamView, ...], number: int
    ) -> Iterator[dict[str, Any]]:
        may_pause = self.has_pause_permission(request)
        may_test = self.has_test_permission(request)
        for position, view in enumerate(views, 1):
            query = urlencode({"stream": view.status.stream, "database": view.database})
            verb = "resume" if view.state == "paused" else "pause"
            yield {
                "view": view,
                "id": f"kb-{number}-{position}",
                "panels": panels(view) if view.moved else [],
                "outage": outage_in_words(view.outage) if view.outage else None,
                "toggle": verb if may_pause and view.status.known else "",
                "toggle_url": f"{self.url(verb)}?{query}",
                "test_url": f"{self.url('test')}?{query}" if may_test and view.config else "",
                "reasons": [
                    {"reason": reason, "url": self._letters_url(request, view, reason.code)}
                    for reason in view.reasons
                ],
            }

    def _letters_url(self, request: HttpRequest, view: StreamView, code: str) -> str:
        """Return the address of those dead letters; empty where this site does not show them."""
        shown = self.admin_site.is_registered(DeadLetter) and (
            view.database == router.db_for_read(DeadLetter)
        )
        if not (shown and request.user.has_perm("kinesis_bridge.view_deadletter")):
            return ""
        changelist = reverse(
            "admin:kinesis_bridge_deadletter_changelist", current_app=self.admin_site.name
        )
        return f"{changelist}?{urlencode({'stream': view.status.stream, 'code': code})}"


def outage_in_words(row: Stream) -> dict[str, str]:
    """Return cause, fix and side of an outage in the reader's language; the row has English."""
    finding = of_name(row.outage)
    return {
        "cause": in_words(row.cause, finding.cause if finding else None),
        "fix": in_words(row.fix, finding.fix if finding else None),
        "side": side_in_words(row.side),
    }


def _window(request: HttpRequest) -> Window:
    hours = request.GET.get("hours", "")
    return WINDOWS.get(int(hours) if hours.isdecimal() else 1, WINDOWS[1])
