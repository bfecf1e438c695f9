"""Django signals to subscribe to: a leaf, so that logging and metrics never touch the event path.

==========================  =====================================================================
signal                      sent with
==========================  =====================================================================
``event_published``         ``event`` (Event), ``stream`` (alias): handed to its delivery
``records_sent``            ``stream`` (alias), ``count``, ``bytes``, ``seconds``
``records_rejected``        ``stream`` (alias), ``count``, ``codes`` (AWS code -> count)
``credentials_refreshed``   ``role`` (alias), ``role_arn``, ``expires_at`` (aware datetime)
==========================  =====================================================================

``sender`` is the class that sent it. Receivers that raise are logged, never passed on.
"""

from __future__ import annotations

from django.dispatch import Signal

event_published = Signal()
records_sent = Signal()
records_rejected = Signal()
credentials_refreshed = Signal()
