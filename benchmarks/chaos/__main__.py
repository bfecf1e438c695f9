"""The command, see ``options``."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from benchmarks.chaos import options
from benchmarks.chaos.actions import RunError
from benchmarks.chaos.databases import DatabaseError
from benchmarks.chaos.report import markdown
from benchmarks.chaos.run import run
from benchmarks.chaos.verdict import TruthError
from benchmarks.sink import SinkError


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the cleaning up
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, exit with 1 unless all is well."""
    given = options.parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        document = run(given)
    except (RunError, TruthError, DatabaseError, SinkError) as error:
        sys.exit(f"No verdict: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted: what was started has been ended.")
    print(json.dumps(document, indent=1) if given.json else markdown(document))
    if not document["ok"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
