"""``kinesis_doctor``: goes the whole way hop by hop, and names the fix where it breaks.

:mod:`.site` looks at the settings and the outbox, :mod:`.network` at names, routes and clocks,
:mod:`.way` asks AWS. Nothing is written anywhere, unless asked to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinesis_bridge.conf import get_config

from .check import Check
from .site import check_outbox, check_settings
from .way import Way

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Check", "examine"]


def examine(alias: str = "default", *, write: bool = False) -> Iterator[Check]:
    """Yield what was found at each hop of one stream's way, in order, as it is found.

    The hops at AWS end with the first that fails; the outbox is looked at in any case, and nothing
    at all with settings that cannot be used. `write` sends a canary record and reads it back.
    """
    settings = check_settings(alias)
    yield settings
    if not settings.ok:
        return
    stream = get_config().stream(alias)
    yield from Way(stream, write=write).checks()
    yield from check_outbox(stream)
