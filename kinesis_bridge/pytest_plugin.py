"""pytest fixtures; pytest finds them by the entry point."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .testing import CapturedEvents


def pytest_runtest_setup() -> None:
    """Keep the assertions of one test from looking at another's events."""
    testing = sys.modules.get("kinesis_bridge.testing")
    if testing is not None:
        testing.forget()


@pytest.fixture
def kinesis_events() -> Iterator[CapturedEvents]:
    """Capture what the test publishes: see :func:`kinesis_bridge.testing.capture_events`."""
    from .testing import capture_events  # noqa: PLC0415 - Django must be set up first

    with capture_events() as events:
        yield events
