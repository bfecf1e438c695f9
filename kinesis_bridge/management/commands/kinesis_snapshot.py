"""``manage.py kinesis_snapshot``: publish the rows that are there already."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils.translation import gettext, ngettext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kinesis_bridge.databases import explained, some_outbox_databases
from kinesis_bridge.management.output import BridgeCommand
from kinesis_bridge.models import SnapshotRun
from kinesis_bridge.snapshot import Limits, Part, Scope, Worker, declaration_of
from kinesis_bridge.snapshot.find import database_of
from kinesis_bridge.snapshot.runs import left, new_runs, open_run, resumed_run
from kinesis_bridge.snapshot.worker import described
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator

STATES = (_("finished"), _("unfinished"), _("abandoned"))
"""SnapshotRun.state; here, to be translated."""
_CHOOSING = ("model", "where", "since", "since_field", "range", "part", "type", "stream", "restart")


class Command(BridgeCommand):
    """Runs a snapshot until its end, or until SIGTERM or Ctrl-C; a second one ends it at once."""

    help = _("Publish the rows of a model as they are now, beside what changes meanwhile.")
    signalled = 0

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("model", nargs="?", metavar="MODEL", help=gettext("app_label.Model"))
        add(
            "--where",
            action="append",
            default=[],
            metavar="FIELD[__LOOKUP]=VALUE",
            help=gettext("As in filter(); several: all must hold."),
        )
        add("--since", metavar="TIME", help=gettext("Rows changed then or later; ISO 8601."))
        add("--since-field", metavar="FIELD", help=gettext("Default: the one with auto_now."))
        add("--range", metavar="FROM:TO", help=gettext("Of primary keys; TO is not of it."))
        add("--part", metavar="K/N", help=gettext("One of N parts, for N processes."))
        add("--type", help=gettext("Where the model is declared more than once."))
        add("--stream", help=gettext("Alias; where the model is declared more than once."))
        add("--database", help=gettext("Alias; default: where the model is written to."))
        add("--batch", type=int, default=1000, help=gettext("Rows a transaction."))
        add("--rate", type=float, default=0, help=gettext("Rows a second; default: no limit."))
        add(
            "--max-backlog",
            type=int,
            default=1_000_000,
            help=gettext("Pause while more waits; 0: never."),
        )
        add(
            "--lock-timeout",
            type=float,
            default=60,
            help=gettext("Seconds to wait for locked rows."),
        )
        add(
            "--skip-invalid",
            action="store_true",
            help=gettext("Pass over rows that can have no event."),
        )
        add("--resume", type=int, metavar="ID", help=gettext("Go on with a run, as listed."))
        add("--restart", action="store_true", help=gettext("Begin anew where a run is unfinished."))
        add("--dry-run", action="store_true", help=gettext("Count the rows and publish none."))
        add("--list", action="store_true", help=gettext("The runs and where they stand."))

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        if self.signalled:
            sys.exit(128 + self.signalled)

    def run(self, **options: Any) -> dict[str, Any] | None:
        if options["list"]:
            return self._list(options["database"])
        limits = _limits(options)
        part = None if options["part"] is None else Part.parse(options["part"])
        if options["resume"] is not None:
            return self._resume(options, limits)
        if options["model"] is None:
            raise CommandError(
                Text(_("Name a MODEL, as app_label.Model; or give --resume ID, or --list."))
            )
        declaration = declaration_of(
            options["model"], type=options["type"], stream=options["stream"]
        )
        scope = Scope(
            declaration=declaration,
            where=tuple(options["where"]),
            since=options["since"],
            since_field=options["since_field"],
            key_range=options["range"],
        )
        using = database_of(declaration, options["database"])
        with explained(using):
            if options["dry_run"]:
                return self._count(scope, using, part or Part())
            run, resumed = open_run(scope, using, part, restart=options["restart"])
        return self._work(run, scope, using, limits, resumed=resumed)

    def _resume(self, options: dict[str, Any], limits: Limits) -> dict[str, Any]:
        if given := [name for name in _CHOOSING if options[name]]:
            raise CommandError(
                Text(
                    _("--resume goes on with what was asked then: leave out {options}."),
                    options=", ".join(given),
                )
            )
        found = []
        for using in some_outbox_databases(options["database"]):
            with explained(using):
                if SnapshotRun.objects.using(using).filter(pk=options["resume"]).exists():
                    found.append(using)
        if len(found) > 1:
            raise CommandError(
                Text(
                    _("Say by --database which run: {databases} have one."),
                    databases=" and ".join(found),
                )
            )
        using = found[0] if found else some_outbox_databases(options["database"])[0]
        with explained(using):
            run, scope = resumed_run(options["resume"], using)
        return self._work(run, scope, database_of(scope.declaration, using), limits, resumed=True)

    def _work(
        self, run: SnapshotRun, scope: Scope, using: str, limits: Limits, *, resumed: bool
    ) -> dict[str, Any]:
        began = time.monotonic()
        rows_now = 0
        if run.state == "unfinished":
            with self._progress(run, scope, using) as advance:
                worker = Worker(run, scope, using, limits, advance)
                with self._stopping(worker), _collecting_rarely():
                    worker.work()
            run, rows_now = worker.run, worker.published
        answer = {
            **described(run),
            "database": using,
            "rows_now": rows_now,
            "resumed": resumed,
            "seconds": round(time.monotonic() - began, 3),
        }
        if self.signalled:
            self.stderr.write(
                gettext(
                    "Stopped by %(signal)s. Go on with: manage.py kinesis_snapshot --resume %(id)s"
                    " --database %(database)s"
                )
                % {
                    "signal": signal.Signals(self.signalled).name,
                    "id": run.pk,
                    "database": using,
                }
            )
        if not self.as_json:
            self.console.print(
                gettext(
                    "Snapshot %(id)s of %(model)s, part %(part)s: %(state)s. %(rows)s rows"
                    " published, %(now)s of them now in %(seconds)s s; %(skipped)s passed over."
                )
                % {
                    "id": run.pk,
                    "model": run.model,
                    "part": f"{run.part}/{run.parts}",
                    "state": gettext(run.state),
                    "rows": f"{run.rows:,}",
                    "now": f"{rows_now:,}",
                    "seconds": f"{answer['seconds']:g}",
                    "skipped": f"{run.skipped:,}",
                },
                highlight=False,
                soft_wrap=True,
            )
        return answer

    def _count(self, scope: Scope, using: str, part: Part) -> dict[str, Any]:
        run = new_runs(scope, using, part.of)[part.number - 1]
        count = left(run, scope, using).count()
        if not self.as_json:
            self.console.print(
                ngettext(
                    "%(count)s row of %(model)s would be published.",
                    "%(count)s rows of %(model)s would be published.",
                    count,
                )
                % {"count": f"{count:,}", "model": run.model},
                highlight=False,
            )
        return {**described(run), "database": using, "rows": count, "state": "dry run"}

    def _list(self, database: str | None) -> dict[str, Any]:
        runs: list[dict[str, Any]] = []
        for using in some_outbox_databases(database):
            with explained(using):
                found = SnapshotRun.objects.using(using).order_by("pk")
                runs += [{**described(run), "database": using} for run in found]
        if not self.as_json:
            lines = [
                gettext(
                    "%(run)s: %(model)s, part %(part)s, %(state)s, %(rows)s rows published,"
                    " %(skipped)s passed over, %(locked)s locked; %(updated)s in database"
                    " %(database)s"
                )
                % {
                    **run,
                    "state": gettext(run["state"]),
                    "rows": f"{run['rows']:,}",
                    "skipped": f"{run['skipped']:,}",
                    "updated": run["updated"][:19],
                }
                for run in runs
            ]
            text = "\n".join(lines or [gettext("There are no snapshots.")])
            self.console.print(text, highlight=False, soft_wrap=True)
        return {"runs": runs}

    @contextmanager
    def _progress(
        self, run: SnapshotRun, scope: Scope, using: str
    ) -> Iterator[Callable[[int], None]]:
        console = Console(stderr=True)
        if not console.is_terminal:
            yield lambda _rows: None
            return
        columns = (TextColumn(run.model), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=left(run, scope, using).count())
            yield lambda rows: progress.advance(task, rows)

    @contextmanager
    def _stopping(self, worker: Worker) -> Iterator[None]:
        """Stop `worker` by the first signal, end the process by the second."""
        if threading.current_thread() is not threading.main_thread():  # no other handles signals
            yield
            return

        def stop(number: int, _frame: object) -> None:
            self.signalled = number
            worker.stop()
            for other in kept:
                signal.signal(other, lambda again, _frame: os._exit(128 + again))

        kept = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Let the garbage collector look less often: rows come by the thousand, without cycles."""
    before = gc.get_threshold()
    gc.set_threshold(10_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _limits(options: dict[str, Any]) -> Limits:
    if not 1 <= options["batch"] <= 10_000:
        raise CommandError(Text(_("--batch is from 1 to 10000.")))
    for name in ("rate", "max_backlog", "lock_timeout"):
        if not 0 <= options[name] < float("inf"):
            option = f"--{name.replace('_', '-')}"
            raise CommandError(Text(_("{option} is a number from 0 on."), option=option))
    names = ("batch", "rate", "max_backlog", "lock_timeout", "skip_invalid")
    return Limits(**{name: options[name] for name in names})
