"""A sink within a test: started on entry, stopped on exit, asked over HTTP in between."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from benchmarks.sink.config import Config
from benchmarks.sink.faults import Fault
from benchmarks.sink.server import App, make_app, serve

_START_SECONDS = 15.0
_STOP_SECONDS = 5.0


class SinkError(RuntimeError):
    """The sink did not start, or refused a control request."""


class Accepted(NamedTuple):
    """One accepted record; Firehose's have no shard and no key."""

    stream: str
    shard_id: str
    sequence_number: int
    partition_key: str
    data: bytes


@dataclasses.dataclass(kw_only=True)
class Sink(Config):
    """A running sink; takes every setting of ``Config``.

    ``process``: a process of its own (what a benchmark wants), or a thread of this one. By default
    a process in fast mode and a thread otherwise.
    """

    process: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.url = ""
        self.summary: dict[str, Any] = {}  #: the last ``stats()``, once stopped
        self._runner: _Process | _Thread | None = None
        self._log: list[Accepted] = []

    def start(self) -> Self:
        """Start it and wait until it listens."""
        if self._runner is not None:
            raise SinkError("this sink runs already")
        config = Config(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Config)})
        own = self.fast if self.process is None else self.process
        self._runner = _Process(config) if own else _Thread(config)
        self.url = self._runner.url
        return self

    def stop(self) -> None:
        """Stop it; connections still open are dropped."""
        if self._runner is not None:
            self.summary = self._runner.stop()
            self._runner = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- asking

    def stats(self) -> dict[str, Any]:
        """Counters so far, see ``Stats.snapshot``."""
        answer: dict[str, Any] = self._ask("GET", "/_sink/stats")
        return answer

    def accepted(self) -> list[Accepted]:
        """Everything accepted so far, in the order of acceptance."""
        while True:
            page = self._ask("GET", f"/_sink/accepted?since={len(self._log)}")
            if not page:
                return list(self._log)
            self._log += [
                Accepted(stream, shard, int(sequence), key, base64.b64decode(data))
                for stream, shard, sequence, key, data in page
            ]

    # -- telling

    def set_faults(self, faults: str | Sequence[Fault], seed: int | None = None) -> None:
        """Replace the faults: a specification or rules, see ``benchmarks.sink.faults``.

        Their generators begin anew, from ``seed`` or else the sink's.
        """
        spec = faults if isinstance(faults, str) else ",".join(map(_as_spec, faults))
        self._ask(
            "POST", "/_sink/faults", {"spec": spec, "seed": self.seed if seed is None else (seed)}
        )

    def clear_faults(self) -> None:
        """No faults from now on."""
        self.set_faults("")

    def expire_tokens(self) -> None:
        """Every session token issued until now is expired from now on."""
        self._ask("POST", "/_sink/expire")

    def split_shard(self, shard: int, stream: str = "") -> tuple[str, str]:
        """Close the shard of this index and open two in its place; returns their ids.

        ``stream`` may be left out where there is only one. A stream that was not named in
        ``streams`` is there from its first request on.
        """
        first, second = self._ask("POST", "/_sink/split", {"stream": stream, "shard": shard})
        return first, second

    def reset(self) -> None:
        """Forget what was accepted and start counting again; faults and shards stay."""
        self._ask("POST", "/_sink/reset")
        self._log.clear()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = HTTPConnection(host, int(port), timeout=30)
        try:
            connection.request(method, path, orjson.dumps(body or {}))
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise SinkError(answer["error"])
        return answer


def _as_spec(fault: Fault) -> str:
    options = [
        f":{name}={getattr(fault, name)}"
        for name in ("next", "after", "ms", "seconds", "shard", "code", "on")
        if getattr(fault, name) is not None
    ]
    return f"{fault.kind}={fault.p!r}" + "".join(options)


class _Thread:
    """The server on an event loop of its own, in a thread of this process."""

    def __init__(self, config: Config) -> None:
        self._app: App = make_app(config)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.url = ""
        self._thread = threading.Thread(target=self._run, name="kinesis-sink", daemon=True)
        self._thread.start()
        self._ready.wait(_START_SECONDS)
        if not self.url:
            raise SinkError(f"the sink did not start: {self._error}")

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as err:
            self._error = err
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve(self._app, self._listening, self._stop)

    def _listening(self, url: str) -> None:
        self.url = url
        self._ready.set()

    def stop(self) -> dict[str, Any]:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_SECONDS)
        return self._app.stats.snapshot()


class _Process:
    """``python -m benchmarks.sink`` as a child process."""

    def __init__(self, config: Config) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        document = orjson.dumps(dataclasses.asdict(config)).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink", "--config", document],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self.url = str(orjson.loads(self._first_line())["url"])

    def _first_line(self) -> bytes:
        deadline = time.monotonic() + _START_SECONDS
        if select.select([self._out], [], [], deadline - time.monotonic())[0]:
            line = self._out.readline()
            if line:
                return line
        self._process.kill()
        self._process.wait()
        self._out.close()
        raise SinkError("the sink's process did not start, see its error output")

    def stop(self) -> dict[str, Any]:
        self._process.terminate()
        try:
            rest, _ = self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return {}
        lines = rest.splitlines()
        summary: dict[str, Any] = orjson.loads(lines[-1]) if lines else {}
        return summary
