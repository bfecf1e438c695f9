"""What the commands share: one JSON document, or tables for people; errors with their fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django_rich.management import RichCommand
from rich.markup import escape

from kinesis_bridge.exceptions import AwsError, KinesisBridgeError

if TYPE_CHECKING:
    from argparse import ArgumentParser


class BridgeCommand(RichCommand):
    """Runs :meth:`run`; prints what it returns as JSON with ``--json``; exits 1 on our errors."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON document on stdout.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.as_json: bool = options["json"]
        try:
            answer = self.run(**options)
        except (KinesisBridgeError, ImproperlyConfigured) as error:
            self.fail(error)
        except CommandError as error:
            if self.as_json:
                self.print_json({"error": {"name": "usage", "message": str(error)}})
            raise
        else:
            if self.as_json and answer is not None:
                self.print_json(answer)

    def run(self, **options: Any) -> dict[str, Any] | None:
        """Do the work and return what ``--json`` prints, if anything is left to print."""
        raise NotImplementedError

    def print_json(self, answer: Any) -> None:
        """Write one JSON document and a line end."""
        self.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())

    def fail(self, error: Exception) -> None:
        """Say what happened, why and what to do; raise CommandError (exit 1)."""
        if self.as_json:
            self.print_json({"error": _as_dict(error)})
        elif isinstance(error, AwsError):
            for title, document in error.documents.items():
                # Unwrapped and without a frame: it is there to be copied.
                self.console.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
                self.console.print_json(orjson.dumps(document).decode())
        raise CommandError(_message(error)) from error


def _message(error: Exception) -> str:
    if isinstance(error, AwsError):
        return f"{error.message}\nWho: {error.side}\nFix: {error.hint}"
    return str(error)


def _as_dict(error: Exception) -> dict[str, Any]:
    if isinstance(error, AwsError):
        return {
            "name": error.name,
            "code": error.code,
            "side": error.side,
            "message": error.message,
            "hint": error.hint,
            "documents": error.documents,
        }
    return {"name": type(error).__name__, "message": str(error)}
