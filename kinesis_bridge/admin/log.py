"""The admin's log: what was done, by whom, in the same breath as the deed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import router, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.models import Model
    from django.http import HttpRequest


class Log:
    """Writes entries of one request's user."""

    def __init__(self, request: HttpRequest) -> None:
        self._user = cast("int", request.user.pk)

    def __call__(self, rows: Sequence[Model], message: str, flag: int = CHANGE) -> list[LogEntry]:
        """Add an entry for each of `rows`."""
        entries: Any = LogEntry.objects.log_actions(
            user_id=self._user,
            queryset=rows,
            action_flag=flag,
            change_message=message,
        )
        return entries if isinstance(entries, list) else [entries]


@contextmanager
def logged(request: HttpRequest, using: str) -> Iterator[Log]:
    """Let the block write into the database `using` and into the log: both, or neither.

    The log's transaction commits first: rather an entry too many than a deed without one.
    """
    log = router.db_for_write(LogEntry)
    with transaction.atomic(using=using), transaction.atomic(using=log):
        yield Log(request)
