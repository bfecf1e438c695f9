"""Pages of the admin: what waits, what could not pass, and how the streams are.

:mod:`.letters` has the outbox and its dead letters, :mod:`.streams` the page "Kinesis bridge".
"""

from __future__ import annotations

from .letters import DeadLetterAdmin, OutboxRecordAdmin
from .streams import StreamAdmin

__all__ = ["DeadLetterAdmin", "OutboxRecordAdmin", "StreamAdmin"]
