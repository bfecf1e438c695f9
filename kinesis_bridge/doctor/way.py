"""The hops at AWS: who the site is, the roles, the stream, and whether it takes a record."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from kinesis_bridge import redaction
from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import DENIED, Path, explain, explain_named
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.proof import impatient, make_records, send_all, was_read_back
from kinesis_bridge.session import region_of, source_of, temporary_credentials
from kinesis_bridge.transport import kinesis_client, open_transport
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .check import Check, Found
from .describe import describe_firehose, describe_stream, target_of
from .network import reach, read_clock
from .suspects import narrowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinesis_bridge.conf import RoleConfig, StreamConfig
    from kinesis_bridge.findings import Hop

CANARY = {"kinesis_bridge": "This record of kinesis_doctor can be ignored."}


class Way:
    """From account A's credentials to the stream in B, with a person's patience."""

    def __init__(self, stream: StreamConfig, *, write: bool) -> None:
        self.stream = impatient(stream)
        self.role = get_config().role_of(stream)
        self.write = write
        self.caller: str | None = None
        self.region: str | None = None

    def checks(self) -> Iterator[Check]:
        """Yield one check for each hop, up to the first that fails."""
        for name, look in self._hops():
            try:
                found = look()
            except AwsError as error:
                yield Check.failed(name, error)
                return
            yield Check.passed(name, found)

    def _hops(self) -> Iterator[tuple[str, Callable[[], Found]]]:
        yield "sts-endpoint", self._reach_sts
        yield "clock", self._read_clock
        yield "credentials", self._ask_caller
        for step in self._roles():
            last = step is self.role
            yield (
                "assume-role" if last else f"assume-role:{step.alias}",
                partial(self._assume, step),
            )
        yield "stream-endpoint", self._reach_stream
        yield "stream", self._describe
        if self.stream.options["AGGREGATE"] == "shard" and not self.stream.is_firehose:
            yield "shards", self._list_shards
        yield "permission", self._may_write
        if self.write:
            yield "write", self._write

    def _roles(self) -> list[RoleConfig]:
        """Return the roles of the way, the one that A assumes first."""
        roles: list[RoleConfig] = []
        step = self.role
        while step is not None:
            roles.insert(0, step)
            step = get_config().role(step.via) if step.via else None
        return roles

    def _path(self, hop: Hop, **known: Any) -> Path:
        return Path(
            hop=hop,
            **{"role": self.role, "region": self.region, "caller_arn": self.caller, **known},
        )

    # Account A

    def _reach_sts(self) -> Found:
        from botocore.exceptions import NoRegionError  # noqa: PLC0415 - lazily

        from kinesis_bridge.session.assume import (  # noqa: PLC0415 - imports boto3
            STS_CONFIG,
            explained,
        )

        path = self._path("credentials")
        with explained(path):
            self.region = region_of(self.stream)
            if self.region is None:
                raise NoRegionError
            session = source_of(self.role)
            with closing(session.client("sts", region_name=self.region, config=STS_CONFIG)) as sts:
                self.sts_url: str = sts.meta.endpoint_url
        return reach(self.sts_url, self._path("network"))

    def _read_clock(self) -> Found:
        bundle = source_of(self.role)._session.get_config_variable("ca_bundle")  # noqa: SLF001
        path = self._path("credentials", endpoint=self.sts_url)
        return read_clock(self.sts_url, bundle or True, path)

    def _ask_caller(self) -> Found:
        from kinesis_bridge.session.assume import who_am_i  # noqa: PLC0415 - imports boto3

        session = source_of(self.role)
        self.caller = caller = who_am_i(session, self._path("credentials"))
        if self.role and caller.endswith(":root"):
            raise explain_named("caller-root", self._path("credentials"))
        if self.role and ":federated-user/" in caller:
            raise explain_named("caller-federated", self._path("credentials"))
        credentials = session.get_credentials()
        method = credentials.method if credentials else "unknown"
        hint = ""
        if method == "env" and credentials and credentials.token:
            hint = Text(
                _(
                    "They are temporary, from AWS_SESSION_TOKEN, and end with nobody to renew them:"
                    " let a long-running process use the role of its ECS task, EC2 instance or pod."
                )
            )
        return Found(Text(_("{caller} (from {method})"), caller=caller, method=method), hint)

    # The roles

    def _assume(self, step: RoleConfig) -> Found:
        try:
            given = temporary_credentials(step.alias)
        except AwsError as error:
            if step.via or not self.caller:
                raise  # it was another role's session that was refused
            found = narrowed(error, step, self.caller, source_of(step), self.region)
            raise found from error
        left = (given.expires_at - datetime.now(UTC)).total_seconds()
        hint = ""
        if left < 0.9 * step.duration_seconds:
            hint = Text(
                _("DURATION_SECONDS asks for {duration}; it is renewed in time all the same."),
                duration=step.duration_seconds,
            )
        return Found(
            Text(_("{session}, for {seconds} seconds"), session=given.arn, seconds=f"{left:.0f}"),
            hint,
        )

    # The stream

    def _reach_stream(self) -> Found:
        transport = open_transport(self.stream)
        try:
            url = transport.url()
        finally:
            transport.close()
        return reach(url, self._path("network", stream=self.stream))

    def _describe(self) -> Found:
        describe = describe_firehose if self.stream.is_firehose else describe_stream
        try:
            return describe(self.stream, self._path("stream", stream=self.stream))
        except AwsError as error:
            if error.code not in DENIED:
                raise
            action = (
                "firehose:DescribeDeliveryStream"
                if self.stream.is_firehose
                else "kinesis:DescribeStreamSummary"
            )
            return Found(
                Text(_("not looked at: the optional {action} is not allowed"), action=action),
                Text(
                    _(
                        "manage.py kinesis_iam --read has it. The next check shows whether it can"
                        " be written to."
                    )
                ),
            )

    def _list_shards(self) -> Found:
        transport = open_transport(self.stream)
        try:
            count = len(transport.shards())
            return Found(Text(_("{count} open, as AGGREGATE needs to know"), count=count))
        finally:
            transport.close()

    def _may_write(self) -> Found:
        if self.write:
            return Found(Text(_("tried by writing")))
        if self.stream.is_firehose:
            return Found(
                Text(_("not tried: Firehose has no DryRun")), Text(_("Send a canary: --write"))
            )
        if get_config().local_aws:
            return Found(
                Text(_("not tried: the emulator has no DryRun")), Text(_("Send a canary: --write"))
            )
        from kinesis_bridge.session.assume import BOTO_ERRORS  # noqa: PLC0415 - imports boto3

        client = kinesis_client(self.stream)
        shape = client.meta.service_model.operation_model("PutRecords").input_shape
        if shape is None or "DryRun" not in shape.members:
            return Found(
                Text(_("not tried: this boto3 knows no DryRun")),
                Text(_("Upgrade boto3, or: --write")),
            )
        [record] = make_records(self.stream, CANARY, None, 1)
        try:
            with closing(client), redaction.quiet():
                client.put_records(
                    Records=[{"Data": record.data, "PartitionKey": record.partition_key}],
                    DryRun=True,
                    **target_of(self.stream),
                )
        except BOTO_ERRORS as error:
            path = self._path("stream", stream=self.stream, endpoint=client.meta.endpoint_url)
            explained = explain(error, path)
            # "Test your permissions and request inputs with dry run", Kinesis Developer Guide.
            if explained.code == "DryRunOperationException":
                return Found(Text(_("kinesis:PutRecords is allowed (DryRun: nothing was written)")))
            raise explained from error
        return Found(
            Text(_("the endpoint knows no DryRun and wrote the canary")),
            Text(_("It is no AWS endpoint.")),
        )

    def _write(self) -> Found:
        [record] = make_records(self.stream, CANARY, None, 1)
        landed = send_all(self.stream, [record])
        where = f"{landed.shard_id} {landed.sequence_number}".strip()
        seen = was_read_back(self.stream, landed, record)
        if seen is False:
            raise explain_named(
                "canary-lost", self._path("stream", stream=self.stream), status=where
            )
        found = _("{place}, read back") if seen else _("{place}, not read back: optional")
        return Found(Text(found, place=where))
