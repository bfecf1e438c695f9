"""Figures in words, in the reader's language."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from django import template
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

register = template.Library()

NOTHING = "–"  # noqa: RUF001 - a dash, where a figure would stand


@register.filter
def number(value: float | None) -> str:
    """Return ``1,234``; small ones that are not whole with a decimal."""
    if value is None:
        return NOTHING
    whole = value >= 10 or value == int(value)
    return number_format(round(value, 0 if whole else 1), 0 if whole else 1, force_grouping=True)


@register.filter
def size(value: float | None) -> str:
    """Return bytes: ``1.2 KB``."""
    return NOTHING if value is None else filesizeformat(int(value))


@register.filter
def seconds(value: float | None) -> str:
    """Return a time as it is read at a glance: ``18 ms``, ``1.2 s``, ``5 min``, ``2 h 5 min``."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return _("over 30 min")
    if value < 0.9995:
        return _("%(n)s ms") % {"n": number_format(round(value * 1000))}
    if value < 10:
        return _("%(n)s s") % {"n": number_format(round(value, 1), 0 if value == int(value) else 1)}
    return _large(round(value))


def _large(whole: int) -> str:
    if whole < 60:
        return _("%(n)s s") % {"n": whole}
    if whole < 3600:
        return _("%(n)s min") % {"n": whole // 60}
    hours, minutes = divmod(whole // 60, 60)
    if hours < 24:
        if not minutes:
            return _("%(h)s h") % {"h": hours}
        return _("%(h)s h %(m)s min") % {"h": hours, "m": minutes}
    return _("%(d)s d %(h)s h") % {"d": hours // 24, "h": hours % 24}


@register.filter
def ago(moment: datetime) -> str:
    """Return how long ago it was: ``5 min``."""
    return _large(max(0, round((timezone.now() - moment).total_seconds())))


@register.filter
def ranges(numbers: Iterable[int]) -> str:
    """Return ``0-31, 40``."""
    ordered = sorted(numbers)
    if not ordered:
        return NOTHING
    cuts = [0, *(n for n, (a, b) in enumerate(pairwise(ordered), 1) if b > a + 1), len(ordered)]
    runs = [ordered[start:end] for start, end in pairwise(cuts)]
    return ", ".join(str(run[0]) if run[0] == run[-1] else f"{run[0]}-{run[-1]}" for run in runs)
