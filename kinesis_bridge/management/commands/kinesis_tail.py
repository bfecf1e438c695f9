"""``manage.py kinesis_tail``: read a stream back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware
from django.utils.translation import gettext

from kinesis_bridge.conf import get_config
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.tail import Reader, as_dict
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from kinesis_bridge.tail import Start


class Command(BridgeCommand):
    """Prints what is on a stream, one event a line."""

    help = _("Print the events of a stream, de-aggregated, one a line.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--stream", default="default", help=gettext("Alias of the stream."))
        parser.add_argument(
            "--from", default="oldest", help=gettext("oldest, latest, or an ISO 8601 time.")
        )
        parser.add_argument("--limit", type=int, help=gettext("Stop after so many events."))
        parser.add_argument(
            "--follow", action="store_true", help=gettext("Wait for more, until Ctrl-C.")
        )

    def run(self, **options: Any) -> dict[str, Any] | None:
        if options["json"] and options["follow"] and options["limit"] is None:
            raise CommandError(
                Text(_("--json prints one document at the end: with --follow give --limit."))
            )
        if options["limit"] is not None and options["limit"] < 1:
            raise CommandError(
                Text(_("--limit must be at least 1, not {limit}"), limit=options["limit"])
            )
        start = _start(options["from"])
        reader = Reader(get_config().stream(options["stream"]))
        events = []
        try:
            for record in reader.tail(start, limit=options["limit"], follow=options["follow"]):
                if self.as_json:
                    events.append(as_dict(record))
                else:
                    line = record.data.decode(errors="backslashreplace")
                    self.stdout.write(f"{record.shard_id} {record.partition_key} {line}")
                    self.stdout.flush()  # whoever follows through a pipe wants it now
        except KeyboardInterrupt:
            pass
        finally:
            reader.close()
        return {"events": events} if self.as_json else None


def _start(text: str) -> Start:
    words: dict[str, Start] = {"oldest": "oldest", "latest": "latest"}
    if text in words:
        return words[text]
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise CommandError(
            Text(
                _("--from is oldest, latest or a time like 2026-11-22T09:00:00Z: {given}"),
                given=repr(text),
            )
        )
    return make_aware(moment) if is_naive(moment) else moment
