"""Publish the rows that are there already, beside those that are written meanwhile.

Chunk by chunk, each in one short transaction: lock the next rows in the order of their primary
keys, queue their events, note how far it came, commit. A row that is locked cannot change until
its event has its place in the outbox, so a later change comes behind it; one that somebody else has
locked is passed over, noted, and published once it is free.

A simpler way to the goal of DBLog's watermarks ("DBLog: A Watermark Based Change-Data-Capture
Framework", Netflix), which has to do without locks.
"""

from .errors import SnapshotError
from .find import declaration_of
from .runs import Part, open_run, resumed_run
from .scope import Scope
from .worker import Limits, Worker

__all__ = [
    "Limits",
    "Part",
    "Scope",
    "SnapshotError",
    "Worker",
    "declaration_of",
    "open_run",
    "resumed_run",
]
