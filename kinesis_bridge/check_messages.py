"""Messages of system checks: English to programs, in the reader's language where they are printed.

``msg`` and ``hint`` are English; Django prints ``str(message)``. Its own are never translated.
"""

from __future__ import annotations

from django.core import checks

from .words import translated


class _Spoken(checks.CheckMessage):
    def __str__(self) -> str:
        hint = self.hint and translated(self.hint)
        said = checks.CheckMessage(
            self.level, translated(self.msg), hint=hint, obj=self.obj, id=self.id
        )
        return str(said)


class Error(_Spoken, checks.Error):
    """Keeps commands from running."""


class Warning(_Spoken, checks.Warning):  # noqa: A001 - as Django's
    """Is said, and may be silenced."""
