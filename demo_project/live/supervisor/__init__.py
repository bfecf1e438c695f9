"""Owns the demo's processes and breaks them on demand; the standard library, and no more.

============  ===================================================================================
emulator      ``kinesis_local``: account B, and the keys of account A
relay         ``kinesis_relay``: reaches AWS through the :class:`~.gate.Gate` only
site          ``live_site``: the shop in account A, and the page. It reads account B's stream past
              the gate, as a consumer in account B would, and throws the switches
============  ===================================================================================
"""

from .supervisor import SWITCHES, LiveError, Supervisor

__all__ = ["SWITCHES", "LiveError", "Supervisor"]
