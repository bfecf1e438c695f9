"""What the page in the admin shows: figures of databases, streams and relays. Reads only."""

from __future__ import annotations

from .overview import DatabaseView, RelayView, StreamView, overview
from .series import WINDOWS, Point, Window

__all__ = [
    "WINDOWS",
    "DatabaseView",
    "Point",
    "RelayView",
    "StreamView",
    "Window",
    "overview",
]
