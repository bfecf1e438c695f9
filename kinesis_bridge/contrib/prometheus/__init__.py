"""Prometheus metrics: ``"kinesis_bridge.contrib.prometheus"`` in INSTALLED_APPS, and that is all.

Needs ``pip install 'django-kinesis-bridge[prometheus]'``. They are in prometheus-client's usual
registry, for whatever serves that; on a relay's ``--health-port``; and :func:`exposition` returns
them for a view of one's own, right under several processes too. docs/observe.md lists them.
"""

from __future__ import annotations

import os

from kinesis_bridge.contrib import needs

with needs("prometheus"):
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["exposition", "is_multiprocess", "registry"]


def is_multiprocess() -> bool:
    """Tell whether the metrics of several processes are one: PROMETHEUS_MULTIPROC_DIR is set."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def registry() -> CollectorRegistry:
    """Return what to scrape: of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""
    if not is_multiprocess():
        return REGISTRY
    from .backlog import BacklogCollector  # noqa: PLC0415 - its models want the apps first

    merged = CollectorRegistry()
    MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    merged.register(BacklogCollector())  # the databases' answer is nobody's own: once
    return merged


def exposition(accept: str = "") -> tuple[str, bytes]:
    """Return the content type and the body of an answer; `accept` is the request's header."""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry())
