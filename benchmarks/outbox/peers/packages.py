"""The packages that are compared with ours. Standard library only: every environment reads this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KINESIS = "boto3 `put_record`, one by one, to the sink"
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Package:
    """Another outbox of PyPI."""

    name: str
    version: str
    module: str
    """Its use, a module of this package."""
    apps: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    """What else its environment has, besides psycopg."""
    target: str
    """What its relay sends to; where it is KINESIS, it runs again with NOTHING instead."""
    events: int = 2_000
    """Of its backlog: what its relay drains in about ten seconds."""
    note: str
    """How it captures, what runs as its relay, and what is set otherwise than by default."""

    @property
    def requirement(self) -> str:
        """For pip."""
        return f"{self.name}=={self.version}"


PACKAGES = (
    Package(
        name="django-outbox-pattern",
        version="3.2.1",
        module="outbox_pattern",
        apps=("django_outbox_pattern",),
        events=20_000,
        target="a STOMP server that only counts",
        note="`@publish`; `publish`; the second it waits after a round is not counted",
    ),
    Package(
        name="django-jaiminho",
        version="2.2.1",
        module="jaiminho",
        apps=("jaiminho",),
        settings={
            # With its other strategy the process that saves sends, after the commit.
            "JAIMINHO_CONFIG": {"PUBLISH_STRATEGY": "keep-order", "DELETE_AFTER_SEND": True}
        },
        needs=("boto3",),
        target=KINESIS,
        note="`@save_to_outbox`, called after the save; `events_relay`; `keep-order`",
    ),
    Package(
        name="django-domain-events",
        version="0.14.1",
        module="domain_events",
        apps=("django_domain_events",),
        needs=("boto3",),
        target=KINESIS,
        note="`fire()` after the save, one durable receiver; `deliver_events`",
    ),
    Package(
        name="django-celery-outbox",
        version="0.4.3",
        module="celery_outbox",
        apps=("django_celery_outbox",),
        events=20_000,
        settings={
            "CELERY_OUTBOX_APP": "benchmarks.outbox.peers.celery_outbox.celery",
            "MONITORING_METRICS_ENABLED": False,  # else a datagram or two for each message
        },
        target="Celery's broker within its own process (`memory://`), no socket",
        note="`send_task()` after the save; `celery_outbox_relay`; metrics and its log off",
    ),
)


def package(name: str) -> Package:
    """The package of that name."""
    return next(one for one in PACKAGES if one.name == name)
