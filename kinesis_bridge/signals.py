"""Django signals to subscribe to: a leaf, so that logging and metrics never touch the event path.

==========================  =====================================================================
signal                      sent with
==========================  =====================================================================
``event_making``            before it is made: ``type``, ``stream`` (alias), ``count`` (of those of
                            one change), ``context`` (Context or None). What a receiver returns, a
                            mapping, becomes part of their context, if it may
``context_telling``         before a write that triggers may make events of: ``database`` (alias),
                            ``context`` (Context or None). What a receiver returns, a mapping,
                            becomes part of the context that they are told, if it may
``event_published``         ``event`` (Event), ``stream`` (alias): handed to its delivery
``records_sent``            ``stream`` (alias), ``count``, ``bytes``, ``seconds``; ``refused`` (AWS
                            code -> records that this request did not get through) and
                            ``order_violations`` (sequence numbers that did not rise)
``request_failed``          as a whole, and is sent again or given up: ``stream`` (alias), ``count``
                            (records in it), ``seconds``, ``error`` (AwsError)
``records_rejected``        ``stream`` (alias), ``count``, ``codes`` (AWS code -> count)
``batch_settled``           by a relay, once its transaction has committed: ``stream`` (alias),
                            ``database`` (alias), ``sent``, ``bytes``, ``dead_lettered``,
                            ``retried`` (events that stay for another batch), ``codes`` (AWS code
                            of the dead letters -> count), ``seconds`` (to send and to delete),
                            ``ages`` (of each event sent: seconds from its publishing, just before
                            the commit, until the batch was acknowledged), ``records`` (all that was
                            read: Record), ``error`` (AwsError: why some stay; or None)
``relay_started``           ``streams`` and ``databases`` (aliases): what it drains
``relay_paused``            ``stream`` (alias), ``error`` (AwsError): its relay rests
``relay_resumed``           ``stream`` (alias), ``seconds`` (since it rested): it works again, or
                            nothing waits any more: another relay sent it
``metrics_asked``           for ``/metrics`` of a relay's port: ``accept`` (the HTTP header). A
                            receiver returns its content type and its body, text and bytes
``credentials_refreshed``   ``role`` (alias), ``role_arn``, ``session_arn`` (of the assumed role),
                            ``expires_at`` (aware, by AWS's clock): once the thread that refreshed
                            holds no lock of theirs
==========================  =====================================================================

``records_sent`` tells of requests of any delivery, and counts the stream's records, of which an
aggregated one holds several events; ``batch_settled`` counts events of the outbox.

``sender`` is the class that sent it. Receivers that raise are logged, never passed on.
"""

from __future__ import annotations

import os
import threading

from django.dispatch import Signal

event_making = Signal()
context_telling = Signal()
event_published = Signal()
records_sent = Signal()
request_failed = Signal()
records_rejected = Signal()
batch_settled = Signal()
relay_started = Signal()
relay_paused = Signal()
relay_resumed = Signal()
metrics_asked = Signal()
credentials_refreshed = Signal()

ALL = (
    event_making,
    context_telling,
    event_published,
    records_sent,
    request_failed,
    records_rejected,
    batch_settled,
    relay_started,
    relay_paused,
    relay_resumed,
    metrics_asked,
    credentials_refreshed,
)
"""Every one of them."""


def _after_fork_in_child() -> None:
    # Another thread of the parent may have been sending at that moment.
    for signal in ALL:
        signal.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
