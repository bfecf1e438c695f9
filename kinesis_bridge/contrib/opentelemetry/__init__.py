"""OpenTelemetry traces: ``"kinesis_bridge.contrib.opentelemetry"`` in INSTALLED_APPS.

Needs ``pip install 'django-kinesis-bridge[opentelemetry]'``, and the site's own SDK and exporter:
without them nothing is recorded. docs/observe.md shows the spans and their attributes.
"""
