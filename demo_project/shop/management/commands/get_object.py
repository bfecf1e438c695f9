"""``manage.py get_object``: an object of account B's S3, read by the role of B."""

import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import CommandError

from demo_project.emulated import furnish
from demo_project.s3 import account_b
from kinesis_bridge.management.output import BridgeCommand

CHUNK = 1024 * 1024


class Command(BridgeCommand):
    help = "Write an object of account B's S3 to stdout, or to a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("bucket", metavar="BUCKET")
        parser.add_argument("key", metavar="KEY")
        parser.add_argument("--output", metavar="FILE", help="Write there; default: stdout.")

    def run(self, **options: Any) -> dict[str, Any] | None:
        bucket, key, output = options["bucket"], options["key"], options["output"]
        if self.as_json and not output:
            raise CommandError("--json leaves no room on stdout for the object: name an --output.")
        account = account_b()
        furnish(account)
        with account.explained("s3:GetObject", f"{bucket}/{key}"), self.target(output) as file:
            body = account.client.get_object(Bucket=bucket, Key=key)["Body"]
            size = sum(file.write(chunk) for chunk in body.iter_chunks(CHUNK))
        return {"bucket": bucket, "key": key, "bytes": size, "output": output}

    @contextmanager
    def target(self, output: str | None) -> Iterator[IO[bytes]]:
        """Open stdout, or a file that has its name only once it is whole."""
        if output is None:
            self.stdout.flush()
            try:
                yield cast("IO[bytes]", self.stdout.buffer)
                self.stdout.flush()
            except BrokenPipeError:  # its reader (head) has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        try:
            with tempfile.NamedTemporaryFile(dir=Path(output).parent, delete=False) as file:
                try:
                    yield file
                    Path(file.name).replace(output)
                except BaseException:
                    with suppress(OSError):
                        Path(file.name).unlink()
                    raise
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}") from error
