"""Django signals to subscribe to: a leaf, so that logging and metrics never touch the event path.

==========================  =====================================================================
signal                      sent with
==========================  =====================================================================
``event_published``         ``event`` (Event), ``stream`` (alias): handed to its delivery
``records_sent``            ``stream`` (alias), ``count``, ``bytes``, ``seconds``
``records_rejected``        ``stream`` (alias), ``count``, ``codes`` (AWS code -> count)
``relay_paused``            ``stream`` (alias), ``error`` (AwsError): its relay rests
``credentials_refreshed``   ``role`` (alias), ``role_arn``, ``expires_at`` (aware, by AWS's clock):
                            once the thread that refreshed holds no lock of theirs
==========================  =====================================================================

``sender`` is the class that sent it. Receivers that raise are logged, never passed on.
"""

from __future__ import annotations

import os
import threading

from django.dispatch import Signal

event_published = Signal()
records_sent = Signal()
records_rejected = Signal()
relay_paused = Signal()
credentials_refreshed = Signal()


_ALL = (event_published, records_sent, records_rejected, relay_paused, credentials_refreshed)


def _after_fork_in_child() -> None:
    # Another thread of the parent may have been sending at that moment.
    for signal in _ALL:
        signal.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
