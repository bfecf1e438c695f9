"""How fast is the sink itself? ``python -m benchmarks.sink.capacity [--seconds 3] [sink options]``.

A client as cheap as can be: one prebuilt request, sent again and again over a few raw sockets,
replies read by length and not looked at. Prints one JSON line: requests and records per second,
and ``per_core``: records per second of the sink's own CPU time, which is what it could answer if
it had one core to itself.
"""

from __future__ import annotations

import argparse
import base64
import socket
import sys
import threading
import time

import orjson

from benchmarks.sink.client import Sink
from benchmarks.sink.config import MAX_RECORDS


def request_bytes(records: int, size: int) -> bytes:
    """A PutRecords request, head and body, of records with ``size`` bytes of data each."""
    body = orjson.dumps(
        {
            "StreamName": "orders",
            "Records": [
                {
                    "Data": base64.b64encode(place.to_bytes(4, "big") * (size // 4)).decode(),
                    "PartitionKey": f"customer-{place % 100:06d}",
                }
                for place in range(records)
            ],
        }
    )
    return (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"X-Amz-Target: Kinesis_20131202.PutRecords\r\n"
        b"Content-Type: application/x-amz-json-1.1\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


def _pump(port: int, request: bytes, until: float) -> None:
    buffer = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < until:
            sock.sendall(request)
            held = sock.recv_into(buffer)
            while (split := buffer.find(b"\r\n\r\n", 0, held)) < 0:
                held += sock.recv_into(memoryview(buffer)[held:])
            at = buffer.index(b"Content-Length:", 0, split) + 15
            left = split + 4 + int(buffer[at : buffer.find(b"\r\n", at)]) - held
            while left > 0:
                left -= sock.recv_into(buffer)


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description="Measure the sink's own capacity.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--records", type=int, default=MAX_RECORDS)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--units", action="store_true")
    parser.add_argument("--route", action="store_true")
    options = parser.parse_args()
    request = request_bytes(options.records, options.size)
    fast = not options.full
    with Sink(
        fast=fast, units=options.units, route=options.route, keep=False, shards=4, process=True
    ) as sink:
        port = int(sink.url.rpartition(":")[2])
        until = time.monotonic() + options.seconds
        threads = [
            threading.Thread(target=_pump, args=(port, request, until))
            for _ in range(options.connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = sink.stats()
    document = {
        "mode": stats["mode"],
        "requests_per_second": round(stats["requests"] / options.seconds),
        "records_per_second": round(stats["records"] / options.seconds),
        "per_core": round(stats["records"] / stats["cpu_seconds"]),
        "body_mb_per_second": round(stats["body_bytes"] / options.seconds / 1e6),
        "sink_cpu_share": round(stats["cpu_seconds"] / options.seconds, 2),
    }
    sys.stdout.write(orjson.dumps(document).decode() + "\n")


if __name__ == "__main__":
    main()
