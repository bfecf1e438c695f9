"""The app that switches it on."""

from __future__ import annotations

from django.apps import AppConfig


class EmfConfig(AppConfig):
    """Connects the recorder to the signals."""

    name = "kinesis_bridge.contrib.emf"
    label = "kinesis_bridge_emf"
    verbose_name = "Kinesis bridge: CloudWatch embedded metrics"

    def ready(self) -> None:
        """Connect; raise ``ImproperlyConfigured`` for a wrong setting."""
        from . import recorder  # noqa: PLC0415 - once the apps are there

        recorder.connect()
