"""What observes: each part is imported only by a site that names it, and needs an extra of its own.

They subscribe to :mod:`kinesis_bridge.signals`, so that nothing of the event's way knows of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Raise ``ImproperlyConfigured`` that names `extra` where an import in the block fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"kinesis_bridge.contrib.{extra} needs {error.name}, which is not installed."
            f" Fix: pip install 'django-kinesis-bridge[{extra}]', or leave it out."
        ) from error
