"""``manage.py live_site``: the demo site with its page; started by ``manage.py live``."""

import json
import os
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.urls import reverse

from demo_project.live import control, shop
from demo_project.live.feed import feed
from demo_project.live.supervisor.gate import LOOPBACK


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing: a line a request helps nobody."""


class Command(BaseCommand):
    """Prints its URL as JSON once it listens."""

    help = "Serve the demo site with the live page; `manage.py live` starts it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="0: any free one.")

    def handle(self, *_: Any, **options: Any) -> None:
        port = options["port"]
        try:
            server = ThreadedWSGIServer((LOOPBACK, port), Quiet)
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"Nothing can listen on {LOOPBACK}:{port}: {error}. Fix: end what does, or choose"
                " another port: make live PORT=8001"
            ) from error
        server.set_app(StaticFilesHandler(get_wsgi_application()))
        if password := os.environ.get(control.PASSWORD):
            get_user_model()._default_manager.create_superuser("demo", password=password)
        shop.open_shop()
        feed.start()
        at = f"http://{LOOPBACK}:{server.server_port}"
        admin = reverse("admin:kinesis_bridge_stream_changelist")
        told = {"url": f"{at}{reverse('live:page')}", "admin": f"{at}{admin}"}
        self.stdout.write(json.dumps(told))
        self.stdout.flush()
        server.serve_forever()
