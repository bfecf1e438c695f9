"""A test record, followed to the read-back: each hop is told as it is passed, or why it is not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from kinesis_bridge.exceptions import AwsError, KinesisBridgeError
from kinesis_bridge.findings import side_in_words, title_in_words
from kinesis_bridge.proof import Hop, follow
from kinesis_bridge.words import said_by, translated

from .log import logged
from .target import Target, target_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from django.contrib.admin.models import LogEntry
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from kinesis_bridge.proof import Report

    from .page import PageAdmin

LINES = "application/x-ndjson"
DATA = {"hello": "kinesis"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A line of the result."""

    label: str
    found: str
    ok: bool = True
    who: str = ""
    """Of a failure: who can mend it."""
    fix: str = ""
    documents: dict[str, str] = field(default_factory=dict)
    """Policy documents to compare, by title, as JSON."""


def trial_view(admin: PageAdmin, request: HttpRequest) -> HttpResponseBase:
    """Ask with GET. Send with POST: a page, or for a script one line of JSON for each hop."""
    target = target_of(request)
    if request.method != "POST":
        return _page(admin, request, target)
    entry = _entry(request, target)
    if request.headers.get("Accept") != LINES:
        return _page(admin, request, target, steps=list(steps(target, entry)))
    lines = (_line(step) for step in steps(target, entry))
    # ASGI would read to its end what is not asynchronous, and warn of it.
    told = _awaited(lines) if isinstance(request, ASGIRequest) else lines
    response = StreamingHttpResponse(told, content_type=LINES)
    response["X-Accel-Buffering"] = "no"  # nginx keeps nothing back
    return response


async def _awaited(lines: Generator[bytes]) -> AsyncIterator[bytes]:
    """Yield each line once it is there, made in the thread that the view ran in."""
    make = sync_to_async(lambda: next(lines, None))
    while (line := await make()) is not None:
        yield line


def _page(admin: PageAdmin, request: HttpRequest, target: Target, **more: Any) -> TemplateResponse:
    context = {**admin.context(request, _("Send a test record")), "target": target, **more}
    return TemplateResponse(request, "admin/kinesis_bridge/stream/test.html", context)


def _line(step: Step) -> bytes:
    html = render_to_string("admin/kinesis_bridge/stream/step.html", {"step": step})
    return json.dumps({"html": html, "ok": step.ok}).encode() + b"\n"


def _entry(request: HttpRequest, target: Target) -> LogEntry:
    """Log before the deed: rather an entry too many than a deed without one."""
    with logged(request, target.database) as log:
        [entry] = log(
            [target.row()],
            _("Sends a test record to %(stream)s.") % {"stream": repr(target.stream.name)},
        )
    return entry


def steps(target: Target, entry: LogEntry) -> Generator[Step]:
    """Send the record; yield what was found at each hop, and note the end in the log."""
    name = repr(target.stream.name)
    hops = follow(target.stream.alias, data=DATA)
    try:
        while True:
            try:
                hop = next(hops)
            except StopIteration as end:
                report: Report = end.value
                break
            yield _passed(hop)
    except (KinesisBridgeError, ImproperlyConfigured) as error:
        said = _("Sent no test record to %(stream)s: %(reason)s.")
        _note(entry, said % {"stream": name, "reason": getattr(error, "name", error)})
        yield _failed(error)
        return
    where = f"{report.shard_id} {report.sequence_number}"
    said = _("Sent a test record to %(stream)s: %(place)s, read back: %(seen)s.")
    _note(entry, said % {"stream": name, "place": where, "seen": report.read_back})
    yield _read_back(report)


def _note(entry: LogEntry, message: str) -> None:
    entry.change_message = message
    entry.save(update_fields=["change_message"])


def _passed(hop: Hop) -> Step:
    labels = {
        "caller in A": _("Caller in account A"),
        "role in B": _("Role in account B"),
        "session": _("Session of the role"),
        "stream": _("Stream"),
        "put": _("Record sent"),
    }
    return Step(label=labels.get(hop.name, hop.name), found=translated(hop.found))


def _read_back(report: Report) -> Step:
    label, took = _("Read back"), {"ms": report.elapsed_ms}
    if report.read_back:
        return Step(label=label, found=_("the same, %(ms)s ms after the start") % took)
    if report.read_back is None:
        return Step(label=label, found=_("not possible, or not allowed to this role: that is fine"))
    return Step(
        label=label,
        found=_("not seen within 3 seconds, though it was acknowledged"),
        ok=False,
        fix=_("Look whether it came later: manage.py kinesis_tail"),
    )


def _failed(error: Exception) -> Step:
    if not isinstance(error, AwsError):
        return Step(label=_("Failed"), found=said_by(error), ok=False)
    return Step(
        label=_("Failed"),
        found=translated(error.message),
        ok=False,
        who=side_in_words(error.side),
        fix=translated(error.hint),
        documents={
            title_in_words(title): json.dumps(doc, indent=2)
            for title, doc in error.documents.items()
        },
    )
