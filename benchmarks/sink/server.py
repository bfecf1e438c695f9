"""The server: dispatch of requests, faults of whole requests, control endpoints, the event loop.

Control endpoints, JSON over the same port::

    GET  /_sink/stats                       counters, see ``benchmarks.sink.stats``
    GET  /_sink/accepted?since=0&limit=N    accepted records from the since-th on, in order
    POST /_sink/faults {"spec", "seed"}     replace the faults
    POST /_sink/expire                      expire every session token issued until now
    POST /_sink/split {"shard", "stream"}   close one shard, open two
    POST /_sink/reset                       forget accepted records and counters
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qs, urlsplit

import orjson

from benchmarks.sink.api import Api
from benchmarks.sink.config import Config
from benchmarks.sink.errors import INTERNAL, ApiError, stream_not_found
from benchmarks.sink.faults import Fault, Faults, Plan, parse_faults
from benchmarks.sink.fields import Document
from benchmarks.sink.http import JSON, XML, Connection, Reply, Request
from benchmarks.sink.stats import Stats
from benchmarks.sink.store import Store, entry_json
from benchmarks.sink.sts import Sts, error_xml, expired

_PAGE_BYTES = 16 * 1024 * 1024  # of one page of /_sink/accepted, roughly


class App:
    """Full mode. One instance a sink; everything runs on its event loop, so nothing is locked."""

    mode = "full"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.connections: set[Connection] = set()
        self.stats = Stats(self.mode, measured=config.units or not config.fast)
        self.store = Store(config)
        self.api = Api(config, self.store, self.stats)
        self.sts = Sts(config)
        self.faults = Faults(self.stats.faults)
        self.faults.set(parse_faults(config.faults), config.seed)
        self._latency = config.latency_ms / 1000
        self._writes: dict[str, Callable[[Document, Plan], Document]] = {
            "Kinesis_20131202.PutRecords": self.api.put_records,
            "Kinesis_20131202.PutRecord": self.api.put_record,
            "Firehose_20150804.PutRecordBatch": self.api.put_record_batch,
        }
        self._reads: dict[str, Callable[[Document], Document]] = {
            "Kinesis_20131202.ListShards": self.api.list_shards,
            "Kinesis_20131202.DescribeStreamSummary": self.api.describe_stream_summary,
        }
        self._ids = 0

    def connected(self) -> None:
        self.stats.connections += 1

    def handle(self, request: Request) -> Reply:
        """Answer one request of a connection."""
        if request.path.startswith("/_sink/"):
            return self._control(request)
        self.stats.requests += 1
        self.stats.body_bytes += request.size
        target = request.header(b"x-amz-target").decode("latin-1")
        token = request.header(b"x-amz-security-token").decode("latin-1")
        if target:
            self.stats.operations[target.rpartition(".")[2]] += 1
            return self._json_service(target, token, request)
        return self._sts_service(token, request)

    # -- JSON services

    def _json_service(self, target: str, token: str, request: Request) -> Reply:
        group = "put" if target in self._writes else "read"
        plan = self.faults.plan(group)
        body = request.body()
        if plan.late > 0:
            return Reply(delay=plan.late, then=partial(self._json_reply, target, token, body, plan))
        return self._json_reply(target, token, body, plan)

    def _json_reply(self, target: str, token: str, body: bytes, plan: Plan) -> Reply:
        delay = plan.slow + self._latency
        if plan.before is not None:
            if plan.before.kind == "reset_before":
                return Reply(action="reset", delay=delay)
            if plan.before.kind == "hang":
                return Reply(action="hang")
        try:
            document = self._json_document(target, token, body, plan)
        except ApiError as error:
            return self._json_error(error, delay)
        reply = Reply(orjson.dumps(document), headers=self.request_id(), delay=delay)
        if plan.after is not None:
            match plan.after.kind:
                case "reset_after":
                    reply.action = "reset"
                case "hang_after":
                    reply.action = "hang"
                case _:
                    reply.action = "truncate"
        return reply

    def _json_document(self, target: str, token: str, body: bytes, plan: Plan) -> Document:
        write, read = self._writes.get(target), self._reads.get(target)
        if write is None and read is None:
            raise ApiError("UnknownOperationException", f"Unknown operation {target}")
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as err:
            raise ApiError("SerializationException", str(err)) from err
        if not isinstance(document, dict):
            raise ApiError("SerializationException", "Start of structure or map expected.")
        refusal = self.sts.refusal(token)
        if refusal is not None:
            raise refusal
        if plan.before is not None:
            raise self._refusal(plan.before, target, token, document)
        if write is not None:
            return write(document, plan)
        assert read is not None
        return read(document)

    def _refusal(self, fault: Fault, target: str, token: str, document: Document) -> ApiError:
        service, _, operation = target.partition(".")
        firehose = service.startswith("Firehose")
        name = str(document.get("StreamName") or document.get("DeliveryStreamName") or "")
        name = name or str(document.get("StreamARN", "")).rpartition("/")[2]
        account, region = self.config.account, self.config.region
        match fault.kind:
            case "http500":
                return ApiError(INTERNAL, "Internal service failure.", 500)
            case "service_unavailable":
                code = "ServiceUnavailableException" if firehose else "ServiceUnavailable"
                return ApiError(code, "Service is unavailable. Slow down.", 503)
            case "throttle_request":
                code = "ServiceUnavailableException" if firehose else fault.code
                message = f"Rate exceeded for stream {name} under account {account}."
                return ApiError(code, message, 503 if firehose else 400)
            case "expired_token":
                return expired()
            case "not_found":
                return stream_not_found(name, account)
            case "kms_disabled":
                key = f"arn:aws:kms:{region}:{account}:key/00000000-0000-0000-0000-000000000000"
                code = "InvalidKMSResourceException" if firehose else "KMSDisabledException"
                return ApiError(code, f"{key} is disabled.")
            case _:
                kind = "firehose" if firehose else "kinesis"
                resource = "deliverystream" if firehose else "stream"
                return ApiError(
                    "AccessDeniedException",
                    f"User: {self.sts.caller_arn(token)} is not authorized to perform: "
                    f"{kind}:{operation} on resource: "
                    f"arn:aws:{kind}:{region}:{account}:{resource}/{name} because no "
                    f"identity-based policy allows the {kind}:{operation} action",
                )

    def _json_error(self, error: ApiError, delay: float) -> Reply:
        self.stats.errors[error.code] += 1
        return Reply(
            orjson.dumps({"__type": error.code, "message": error.message}),
            status=error.status,
            headers=self.request_id() + b"x-amzn-ErrorType: %b\r\n" % error.code.encode(),
            delay=delay,
        )

    def request_id(self) -> bytes:
        """A fresh header line."""
        self._ids += 1
        return b"x-amzn-RequestId: 00000000-0000-4000-8000-%012x\r\n" % self._ids

    # -- STS

    def _sts_service(self, token: str, request: Request) -> Reply:
        plan = self.faults.plan("sts")
        delay = plan.slow + self._latency
        header = self.request_id()
        try:
            fault = plan.before.kind if plan.before is not None else ""
            if fault == "sts_reset":
                return Reply(action="reset", delay=delay)
            if fault == "sts_hang":
                return Reply(action="hang")
            body = request.body()
            form = parse_qs(body.decode("utf-8", "replace"))
            self.stats.operations[form.get("Action", ["unknown"])[0]] += 1
            if fault == "sts_denied":
                raise self.sts.denied(token, *_action_and_role(form))
            if fault == "sts_throttled":
                raise ApiError("Throttling", "Rate exceeded")
            if fault == "sts_http500":
                raise ApiError(INTERNAL, "We encountered an internal error.", 500)
            _, xml = self.sts.answer(body, token)
        except ApiError as error:
            self.stats.errors[error.code] += 1
            xml = error_xml(error, header.split()[1].decode())
            return Reply(xml, status=error.status, content_type=XML, headers=header, delay=delay)
        return Reply(xml, content_type=XML, headers=header, delay=delay)

    # -- control

    def _control(self, request: Request) -> Reply:
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            body = orjson.loads(request.body() or b"{}")
            answer = self._command(f"{request.method} {url.path}", query, body)
        except (ApiError, ValueError, KeyError) as err:
            return Reply(orjson.dumps({"error": str(err)}), status=400, content_type=JSON)
        return Reply(answer, content_type=JSON)

    def _command(self, command: str, query: dict[str, str], body: Document) -> bytes:
        match command:
            case "GET /_sink/stats":
                return orjson.dumps(self.stats.snapshot())
            case "GET /_sink/accepted":
                return self._accepted(int(query.get("since", 0)), int(query.get("limit", 10_000)))
            case "POST /_sink/faults":
                if self.config.fast and body.get("spec"):
                    raise ValueError("fast mode injects no faults")
                rules = parse_faults(body.get("spec", ""))
                self.faults.set(rules, int(body.get("seed", self.config.seed)))
                return b"{}"
            case "POST /_sink/expire":
                self.sts.expire()
                return b"{}"
            case "POST /_sink/split":
                stream = self.store.stream(body.get("stream") or self.store.only())
                return orjson.dumps([shard.id for shard in stream.split(int(body["shard"]))])
            case "POST /_sink/reset":
                self.store.accepted.clear()
                self.stats.reset()
                return b"{}"
            case _:
                raise ValueError(f"there is no {command}")

    def _accepted(self, since: int, limit: int) -> bytes:
        lines: list[bytes] = []
        size = 0
        for entry in self.store.accepted[since : since + limit]:
            lines.append(entry_json(entry))
            size += len(lines[-1])
            if size > _PAGE_BYTES:
                break
        return b"[" + b",".join(lines) + b"]"


def _action_and_role(form: dict[str, list[str]]) -> tuple[str, str]:
    return form.get("Action", ["unknown"])[0], form.get("RoleArn", ["*"])[0]


def make_app(config: Config) -> App:
    """The application of this configuration's mode."""
    if config.fast:
        from benchmarks.sink.fast import FastApp  # it builds on this module

        return FastApp(config)
    return App(config)


async def serve(app: App, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve on 127.0.0.1 until ``stop``; ``ready`` is called with the URL."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(app), "127.0.0.1", app.config.port, backlog=1024
    )
    try:
        ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await stop.wait()
    finally:
        # What was accepted just now becomes a connection in a task of its own, which fails once the
        # server is closed, and leaves its socket open.
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
        if coming := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(coming, timeout=1)
        server.close()
        for connection in list(app.connections):
            connection.abort()
        await asyncio.sleep(0)  # lets connection_lost run
        app.store.close()
