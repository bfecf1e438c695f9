"""The app that switches it on."""

from __future__ import annotations

from django.apps import AppConfig

from kinesis_bridge.contrib import needs


class OpenTelemetryConfig(AppConfig):
    """Connects the spans to the signals."""

    name = "kinesis_bridge.contrib.opentelemetry"
    label = "kinesis_bridge_opentelemetry"
    verbose_name = "Kinesis bridge: OpenTelemetry"

    def ready(self) -> None:
        """Connect."""
        with needs("opentelemetry"):
            from . import spans  # noqa: PLC0415 - once the apps are there

        spans.connect()
