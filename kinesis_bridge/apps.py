"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class KinesisBridgeConfig(AppConfig):
    """Connects what is declared; imports neither boto3 nor the network."""

    name = "kinesis_bridge"
    verbose_name = _("Kinesis bridge")

    def ready(self) -> None:
        """Find every app's ``kinesis_events.py``, connect the models, register the checks."""
        from . import checks, outbox_checks, trigger_checks  # noqa: F401, PLC0415 - register themselves
        from .capture import bulk, signals, strict  # noqa: PLC0415 - models may be imported from here on
        from .declarations import declarations  # noqa: PLC0415

        autodiscover_modules("kinesis_events")
        signals.start()
        bulk.start()
        strict.start()
        if any(declaration.capture == "triggers" for declaration in declarations()):
            start_triggers()


def start_triggers() -> None:
    """Register the triggers; raise ImproperlyConfigured without what they are made with.

    Here, and not by a check: a server runs no checks, and would lose every event.
    """
    how = "pip install 'django-kinesis-bridge[triggers]', and have \"pgtrigger\" in INSTALLED_APPS."
    if not apps.is_installed("pgtrigger"):
        raise ImproperlyConfigured(f'publishes(capture="triggers") needs django-pgtrigger: {how}')
    from .capture import triggers  # noqa: PLC0415 - only for those who have it

    triggers.start()
