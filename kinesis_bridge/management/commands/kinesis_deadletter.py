"""``manage.py kinesis_deadletter``: the events that their stream refused."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext

from kinesis_bridge.deadletters import find, settle
from kinesis_bridge.management import tables
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BridgeCommand):
    """Lists dead letters, sends them once more, or deletes them."""

    help = _("List, requeue or discard the events that the stream can never take as they are.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "action",
            choices=("list", "requeue", "discard"),
            help=gettext("What to do with them."),
        )
        parser.add_argument("ids", nargs="*", type=int, metavar="ID", help=gettext("As listed."))
        parser.add_argument(
            "--all", action="store_true", help=gettext("Each that --stream and co. leave.")
        )
        parser.add_argument("--stream", help=gettext("Alias of one stream; default: all."))
        parser.add_argument("--database", help=gettext("Alias of one database; default: all."))
        # Python 3.11 refuses `requeue --stream a 7` otherwise: bugs.python.org/issue15112.
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]

    def run(self, **options: Any) -> dict[str, Any]:
        action, ids = options["action"], options["ids"] or None
        where = {"stream": options["stream"], "database": options["database"]}
        if action != "list" and bool(ids) == options["all"]:
            raise CommandError(
                Text(
                    _("Say which to {action}: either IDs as listed, or --all."),
                    action=action,
                )
            )
        if action == "list":
            letters = find(ids, **where)
            lines = [
                *tables.dead_letters(letters),
                gettext("Dead letters: %(n)s") % {"n": len(letters)},
            ]
            answer: dict[str, Any] = {"dead_letters": [asdict(letter) for letter in letters]}
        else:
            done = {"requeue": "requeued", "discard": "discarded"}[action]
            answer = {done: settle(action, ids, **where)}
            told = {
                "requeue": gettext("Dead letters requeued: %(n)s"),
                "discard": gettext("Dead letters discarded: %(n)s"),
            }
            lines = [told[action] % {"n": answer[done]}]
        if not self.as_json:
            self.console.print("\n".join(lines), highlight=False, soft_wrap=True)
        return answer
