"""What the commands share: one JSON document, or tables for people; errors with their fix."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.utils.translation import gettext
from django_rich.management import RichCommand
from rich.markup import escape

from kinesis_bridge.exceptions import AwsError, KinesisBridgeError
from kinesis_bridge.findings import side_in_words, title_in_words
from kinesis_bridge.words import said_by, translated

if TYPE_CHECKING:
    from argparse import ArgumentParser


class BridgeCommand(RichCommand):
    """Runs :meth:`run`; prints what it returns as JSON with ``--json``; exits 1 on our errors."""

    has_process = False
    """Whether the process is this command's alone: it came from a command line."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Note that it came from there."""
        self.has_process = True
        super().run_from_argv(argv)

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        """Describe the command in the language that is active now."""
        self.help = gettext(self.help)
        return super().create_parser(*args, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help=gettext("One JSON document on stdout.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.as_json: bool = options["json"]
        if self.as_json and self.has_process and sys.stderr is not None:
            # The document has stdout to itself, to the end of the process: metrics and what the
            # site prints go to stderr. `self.stdout` has kept the other.
            sys.stdout = sys.stderr
        try:
            answer = self.run(**options)
        except (KinesisBridgeError, ImproperlyConfigured) as error:
            self.fail(error)
        except CommandError as error:
            if self.as_json:
                self.print_json({"error": {"name": "usage", "message": str(error)}})
            error.args = tuple(map(translated, error.args))
            raise
        else:
            if self.as_json and answer is not None:
                self.print_json(answer)

    def run(self, **options: Any) -> dict[str, Any] | None:
        """Do the work and return what ``--json`` prints, if anything is left to print."""
        raise NotImplementedError

    def print_json(self, answer: Any) -> None:
        """Write one JSON document and a line end, now."""
        self.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        self.stdout.flush()  # at its end the interpreter flushes what is sys.stdout then

    def fail(self, error: Exception) -> None:
        """Say what happened, why and what to do; raise CommandError (exit 1)."""
        if self.as_json:
            self.print_json({"error": _as_dict(error)})
        elif isinstance(error, AwsError):
            for title, document in error.documents.items():
                # Unwrapped and without a frame: it is there to be copied.
                self.console.print(f"[bold]{escape(title_in_words(title))}[/bold]", soft_wrap=True)
                self.console.print_json(orjson.dumps(document).decode())
        raise CommandError(_message(error)) from error


def _message(error: Exception) -> str:
    if isinstance(error, AwsError):
        return "\n".join(
            [
                translated(error.message),
                gettext("Who: {side}").format(side=side_in_words(error.side)),
                gettext("Fix: {fix}").format(fix=translated(error.hint)),
            ]
        )
    return said_by(error)


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
