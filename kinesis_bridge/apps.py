"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class KinesisBridgeConfig(AppConfig):
    """Connects what is declared; imports neither boto3 nor the network."""

    name = "kinesis_bridge"
    verbose_name = "Kinesis bridge"

    def ready(self) -> None:
        """Find every app's ``kinesis_events.py``, connect the models, register the checks."""
        from . import checks, outbox_checks  # noqa: F401, PLC0415 - register themselves
        from .capture import bulk, signals  # noqa: PLC0415 - models may be imported from here on

        autodiscover_modules("kinesis_events")
        signals.start()
        bulk.start()
