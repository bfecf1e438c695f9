"""pytest fixtures; pytest finds them by the entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .testing import CapturedEvents


@pytest.fixture
def kinesis_events() -> Iterator[CapturedEvents]:
    """Capture what the test publishes: see :func:`kinesis_bridge.testing.capture_events`."""
    from .testing import capture_events  # noqa: PLC0415 - Django must be set up first

    with capture_events() as events:
        yield events
