"""Admin pages of the outbox and its dead letters: to be read, never edited.

Dead letters can be requeued and discarded, each with its own permission, a page that asks first,
and an entry in the admin's log. The pages show the database that the routers choose for reading;
what an action does, it does in the database it is to be written in.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.core.paginator import Paginator
from django.db import router, transaction
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import Truncator

from .conf import get_config
from .models import DeadLetter, DeadLetterQuerySet, OutboxRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from .deadletters import Verb

    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

PAGED_RECORDS = 10_000
"""Records that can be paged through: beyond, each page and each count would cost seconds."""
SHOWN_CHARACTERS = 256 * 1024
"""The most that is shown of a payload: a small one that is deeply nested is large, indented."""
ID = re.compile(r"[0-9]{1,18}")
NAMED_LETTERS = 100
"""Letters that the page that asks names; it counts the others."""
NOT_IN_SETTINGS = "(not in the settings)"
LETTER_FIELDS = ("id", "stream", "lane", "partition_key", "event_id", "created")


class StreamFilter(admin.SimpleListFilter):
    """By stream; the names come from the settings, so that no table is read for them."""

    title = "stream"
    parameter_name = "stream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002, D102
        return [(name, name) for name in (*get_config().streams, NOT_IN_SETTINGS)]

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


class LetterAdmin(_ModelAdmin):
    """What both have in common: nothing is added, changed or deleted here."""

    actions_on_bottom = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002, D102
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002, D102
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002, D102
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave the payloads where they are: a page of them may be a gigabyte."""
        return super().get_queryset(request).defer("payload")

    @admin.display(description="payload")
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
    search_help_text = "A whole event id or partition key."
    fields = readonly_fields = (
        *LETTER_FIELDS, "outbox_id", "failed", "code", "message", "blocks", "decoded_payload",
    )  # fmt: skip
    actions = ("requeue", "discard")

    @admin.display(description="message")
    def short_message(self, letter: DeadLetter) -> str:
        """Show the beginning of the message."""
        return Truncator(letter.message).chars(100)

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        """Tell whether this user may send dead letters once more."""
        return request.user.has_perm("kinesis_bridge.requeue_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Tell whether this user may delete dead letters."""
        return request.user.has_perm("kinesis_bridge.discard_deadletter")

    @admin.action(description="Requeue", permissions=["requeue"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> Any:
        """Ask, then put them back into the outbox."""
        return self._settle(request, queryset, "requeue", "requeued")

    @admin.action(description="Discard", permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> Any:
        """Ask, then delete them."""
        return self._settle(request, queryset, "discard", "discarded")

    def _settle(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], verb: Verb, done: str
    ) -> TemplateResponse | None:
        # Locking is writing to Django: this is the routers' database for writes, where the
        # changelist does not say its own.
        queryset = queryset.using(queryset.select_for_update().db)
        if "letters" not in request.POST:
            return self._ask(request, queryset, verb)
        # Only what that page showed: not what came since, and matches the same filter.
        ids = {int(part) for part in request.POST["letters"].split(",") if ID.fullmatch(part)}
        count = self._act(request, queryset.filter(pk__in=ids), verb, done)
        self.message_user(request, f"Dead letters {done}: {count}.", messages.SUCCESS)
        if count < len(ids):
            gone = f"Not found any more: {len(ids) - count}. Somebody requeued or discarded them."
            self.message_user(request, gone, messages.WARNING)
        return None

    def _ask(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], verb: Verb
    ) -> TemplateResponse:
        letters = list(queryset.only("id", "stream", "event_id", "code", "blocks"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.capitalize()} dead letters",
            "opts": self.opts,
            "media": self.media,
            "verb": verb,
            "count": len(letters),
            "blocking": sum(letter.blocks for letter in letters),
            "letters": letters[:NAMED_LETTERS],
            "more": max(0, len(letters) - NAMED_LETTERS),
            "ids": ",".join(str(letter.pk) for letter in letters),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        request.current_app = self.admin_site.name
        template = "admin/kinesis_bridge/deadletter/confirmation.html"
        return TemplateResponse(request, template, context)

    def _act(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], verb: Verb, done: str
    ) -> int:
        using = queryset.db
        log = router.db_for_write(LogEntry)
        # The log's transaction commits first: rather an entry too many than a deed without one.
        with transaction.atomic(using=using), transaction.atomic(using=log):
            letters = list(queryset.select_for_update())
            LogEntry.objects.log_actions(
                user_id=cast("int", request.user.pk),
                queryset=letters,
                action_flag=CHANGE if verb == "requeue" else DELETION,
                change_message=f"{done.capitalize()} in database {using!r}.",
            )
            # Anew: these have no payloads with them.
            chosen = DeadLetterQuerySet(DeadLetter, using=using).filter(
                pk__in=[letter.pk for letter in letters]
            )
            return chosen.requeue() if verb == "requeue" else chosen.discard()


def readable(payload: bytes) -> str:
    """Return a payload for people: indented where it is JSON, the text that it is otherwise."""
    try:
        parts = json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(payload))
        text = _beginning(parts)
    except (ValueError, RecursionError):
        text = _beginning([payload.decode(errors="backslashreplace")])
    # JSON may escape half a surrogate pair, and then no response could be encoded.
    return text.encode(errors="backslashreplace").decode()


def _beginning(parts: Iterable[str]) -> str:
    shown: list[str] = []
    room = SHOWN_CHARACTERS
    for part in parts:
        shown.append(part[:room])
        room -= len(part)
        if room < 0:
            shown.append("\n... (the rest is not shown)")
            break
    return "".join(shown)
