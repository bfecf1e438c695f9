"""The app that switches it on."""

from __future__ import annotations

from django.apps import AppConfig


class PrometheusConfig(AppConfig):
    """Connects the metrics to the signals."""

    name = "kinesis_bridge.contrib.prometheus"
    label = "kinesis_bridge_prometheus"
    verbose_name = "Kinesis bridge: Prometheus"

    def ready(self) -> None:
        """Make the metrics."""
        from . import metrics  # noqa: PLC0415 - once the apps are there

        metrics.connect()
