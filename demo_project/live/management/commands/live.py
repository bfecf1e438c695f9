"""``manage.py live``: the whole demo, until Ctrl-C."""

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from demo_project.live.supervisor import LiveError, Supervisor


class Command(BaseCommand):
    """Ends all that it started, however it ends."""

    help = "Run the emulator, a relay and the demo site, with a page that breaks and repairs them."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="Of the site; 0: any free one.")
        parser.add_argument("--database", help="DATABASE_URL; default: a SQLite of its own.")

    def handle(self, *_: Any, **options: Any) -> None:
        # A closed terminal and a shell's background job end it, too.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            self.run(options["database"] or None, options["port"])
        except KeyboardInterrupt:
            self.say("Ended: no process is left.")
        except LiveError as error:
            raise CommandError(str(error)) from error

    def run(self, database: str | None, port: int) -> None:
        self.say("Starting the emulator, the site and the relay ...")
        with Supervisor(self.say, database, port) as demo:
            who = f"user demo, password {demo.password}" if demo.password else "your superuser"
            self.say(f"\n  Open {demo.url}")
            self.say(f"\nAs an operator sees it: {demo.admin_url} ({who})\nCtrl-C ends all of it.")
            try:
                demo.watch()
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)  # the end is short, and not cut short
                self.say("\nEnding ...")

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
