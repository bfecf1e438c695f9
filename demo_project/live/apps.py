"""The live demo; it holds on to ``manage.py live``, and tells what holds up a relay's events."""

import os

from django.apps import AppConfig


class LiveConfig(AppConfig):
    name = "demo_project.live"
    label = "live"

    def ready(self) -> None:
        from . import lifeline, told  # noqa: PLC0415 - only what is used

        if os.environ.get(lifeline.VARIABLE):
            lifeline.hold()
        if os.environ.get(told.VARIABLE):
            told.subscribe()
