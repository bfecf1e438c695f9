"""Pausing and resuming a stream: a row that its relays look at every second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from .log import logged
from .target import Target, target_of

if TYPE_CHECKING:
    from django.http import HttpRequest

    from .page import PageAdmin


def pause_view(admin: PageAdmin, request: HttpRequest, *, pause: bool) -> HttpResponse:
    """Ask with GET; pause or resume with POST, and go back to the page."""
    target = target_of(request)
    if request.method != "POST":
        title = _("Pause a stream") if pause else _("Resume a stream")
        context = {**admin.context(request, title), "target": target, "pause": pause}
        return TemplateResponse(request, "admin/kinesis_bridge/stream/pause.html", context)
    names = {"stream": target.stream.alias, "database": target.database}
    if not _set(request, target, pause=pause):
        already = _("Stream %(stream)s is paused already.") if pause else _(
            "Stream %(stream)s is not paused."
        )  # fmt: skip
        admin.message_user(request, already % names, messages.WARNING)
    elif pause:
        admin.message_user(
            request,
            _("Stream %(stream)s is paused in database %(database)s. Its events wait.") % names,
            messages.SUCCESS,
        )
    else:
        admin.message_user(
            request,
            _("Stream %(stream)s is resumed in database %(database)s.") % names,
            messages.SUCCESS,
        )
    return HttpResponseRedirect(admin.url("changelist"))


def _set(request: HttpRequest, target: Target, *, pause: bool) -> bool:
    """Write it, and who did; False where it was so already."""
    with logged(request, target.database) as log:
        alias, rows = target.stream.alias, target.rows
        who = request.user.get_username()
        if not (rows.pause(alias, who) if pause else rows.resume(alias)):
            return False
        done = _("Paused in database %(database)s.") if pause else _(
            "Resumed in database %(database)s."
        )  # fmt: skip
        log([target.row()], done % {"database": repr(target.database)})
    return True
