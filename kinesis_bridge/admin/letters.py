"""Admin pages of the outbox and its dead letters: to be read, never edited.

Dead letters can be requeued and discarded, each with its own permission, a page that asks first,
and an entry in the admin's log. The pages show the database that the routers choose for reading;
what an action does, it does in the database it is to be written in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION
from django.core.paginator import Paginator
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from kinesis_bridge.conf import get_config
from kinesis_bridge.models import DeadLetter, DeadLetterQuerySet, OutboxRecord

from .log import logged
from .payloads import readable
from .readonly import ReadOnlyAdmin

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from kinesis_bridge.deadletters import Verb

    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

PAGED_RECORDS = 10_000
"""Records that can be paged through: beyond, each page and each count would cost seconds."""
ID = re.compile(r"[0-9]{1,18}")
MOST_LETTERS = 10_000
"""Letters of one action: a request ends before its server loses patience, and what the page that
asks sends back stays below DATA_UPLOAD_MAX_MEMORY_SIZE. kinesis_deadletter has no such limit."""
NAMED_LETTERS = 100
"""Letters that the page that asks names; it counts the others."""
NOT_IN_SETTINGS = "(not in the settings)"
TITLES = {"requeue": _("Requeue dead letters"), "discard": _("Discard dead letters")}
DONE = {
    "requeue": _("Dead letters requeued: %(number)s."),
    "discard": _("Dead letters discarded: %(number)s."),
}
LOGGED = {
    "requeue": _("Requeued in database %(database)s."),
    "discard": _("Discarded in database %(database)s."),
}
GONE = _("Not found any more: %(number)s. Somebody requeued or discarded them.")
LETTER_FIELDS = ("id", "stream", "lane", "partition_key", "event_id", "created")


class StreamFilter(admin.SimpleListFilter):
    """By stream; the names come from the settings, so that no table is read for them."""

    title = _("stream")
    parameter_name = "stream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002, D102
        others = (NOT_IN_SETTINGS, gettext("(not in the settings)"))
        return [*((name, name) for name in get_config().streams), others]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002, D102
        if self.value() is None:
            return queryset
        if self.value() == NOT_IN_SETTINGS:
            return queryset.exclude(stream__in=list(get_config().streams))
        return queryset.filter(stream=self.value())


class BoundedPaginator(_Paginator):
    """Pages through the first records only, and counts no further."""

    @cached_property
    def count(self) -> int:
        """How many there are; PAGED_RECORDS where there are more."""
        return min(self._reached, PAGED_RECORDS)

    @property
    def bounded_at(self) -> int | None:
        """The number of records after which the pages end though there are more."""
        return PAGED_RECORDS if self._reached > PAGED_RECORDS else None

    @cached_property
    def _reached(self) -> int:
        records: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return records.order_by()[: PAGED_RECORDS + 1].count()


class LetterAdmin(ReadOnlyAdmin):
    """What both have in common."""

    actions_on_bottom = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave the payloads where they are: a page of them may be a gigabyte."""
        return super().get_queryset(request).defer("payload")

    @admin.display(description=_("payload"))
    def decoded_payload(self, letter: OutboxRecord | DeadLetter) -> str:
        """Show the payload, indented where it is JSON."""
        return format_html("<pre>{}</pre>", readable(bytes(letter.payload)))


@admin.register(OutboxRecord)
class OutboxRecordAdmin(LetterAdmin):
    """May have millions of rows: counts few of them, sorts by id only, searches not at all."""

    list_display = LETTER_FIELDS
    list_filter = (StreamFilter,)
    ordering = ("id",)
    sortable_by = ("id",)
    paginator = BoundedPaginator
    fields = readonly_fields = (*LETTER_FIELDS, "decoded_payload")


@admin.register(DeadLetter)
class DeadLetterAdmin(LetterAdmin):
    """The events that could not pass, and what is to become of them."""

    list_display = (
        "id", "stream", "partition_key", "event_id", "code", "short_message", "failed", "blocks",
    )  # fmt: skip
    list_filter = (StreamFilter, "blocks", "code")
    ordering = ("-id",)
    search_fields = ("event_id__exact", "partition_key__exact")
    search_help_text = _("A whole event id or partition key.")
    fields = readonly_fields = (
        *LETTER_FIELDS, "outbox_id", "failed", "code", "message", "blocks", "decoded_payload",
    )  # fmt: skip
    actions = ("requeue", "discard")

    @admin.display(description=_("message"))
    def short_message(self, letter: DeadLetter) -> str:
        """Show the beginning of the message."""
        return Truncator(letter.message).chars(100)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Tell whether this user may send dead letters once more."""
        return request.user.has_perm("kinesis_bridge.requeue_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Tell whether this user may delete dead letters."""
        return request.user.has_perm("kinesis_bridge.discard_deadletter")

    @admin.action(description=_("Requeue"), permissions=["requeue"])
    def requeue(self, request: HttpRequest, queryset: DeadLetterQuerySet) -> Any:
        """Ask, then put them back into the outbox."""
        return self._settle(request, queryset, "requeue")

    @admin.action(description=_("Discard"), permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: DeadLetterQuerySet) -> Any:
        """Ask, then delete them."""
        return self._settle(request, queryset, "discard")

    def _settle(
        self, request: HttpRequest, queryset: DeadLetterQuerySet, verb: Verb
    ) -> TemplateResponse | None:
        # Locking is writing to Django: this is the routers' database for writes, where the
        # changelist does not say its own.
        queryset = queryset.using(queryset.select_for_update().db)
        if "letters" not in request.POST:
            return self._ask(request, queryset, verb)
        # Only what that page showed: not what came since, and matches the same filter.
        parts = request.POST["letters"].split(",", MOST_LETTERS)[:MOST_LETTERS]
        ids = {int(part) for part in parts if ID.fullmatch(part)}
        count = self._act(request, queryset.filter(pk__in=ids), verb)
        told = DONE[verb] % {"number": count}
        self.message_user(request, told, messages.SUCCESS)
        if count < len(ids):
            self.message_user(request, GONE % {"number": len(ids) - count}, messages.WARNING)
        return None

    def _ask(
        self, request: HttpRequest, queryset: DeadLetterQuerySet, verb: Verb
    ) -> TemplateResponse:
        # The oldest first, whatever the list is sorted by: requeued later they would come behind
        # those of their key that are younger.
        ordered = queryset.order_by("outbox_id", "id")
        letters = list(ordered.only("id", "stream", "event_id", "code", "blocks")[:MOST_LETTERS])
        context = {
            **self.admin_site.each_context(request),
            "title": TITLES[verb],
            "opts": self.opts,
            "media": self.media,
            "verb": verb,
            "count": len(letters),
            "of": queryset.count(),
            "blocking": sum(letter.blocks for letter in letters),
            "letters": letters[:NAMED_LETTERS],
            "more": max(0, len(letters) - NAMED_LETTERS),
            "ids": ",".join(str(letter.pk) for letter in letters),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        request.current_app = self.admin_site.name
        template = "admin/kinesis_bridge/deadletter/confirmation.html"
        return TemplateResponse(request, template, context)

    def _act(self, request: HttpRequest, queryset: DeadLetterQuerySet, verb: Verb) -> int:
        using = queryset.db
        with logged(request, using) as log:
            letters = list(queryset.locked())
            flag = CHANGE if verb == "requeue" else DELETION
            log(letters, LOGGED[verb] % {"database": repr(using)}, flag)
            # Anew: these have no payloads with them.
            chosen = DeadLetterQuerySet(DeadLetter, using=using).filter(
                pk__in=[letter.pk for letter in letters]
            )
            return chosen.requeue() if verb == "requeue" else chosen.discard()
