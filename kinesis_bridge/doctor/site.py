"""The site's own part: its settings, its outbox, its relays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.checks import ERROR
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, router

from kinesis_bridge.checks import check_declarations
from kinesis_bridge.checks import check_settings as run_settings_checks
from kinesis_bridge.conf import get_config
from kinesis_bridge.conf.types import DELIVERIES
from kinesis_bridge.databases import UNREADABLE, may_have_outbox, missing_tables, outbox_databases
from kinesis_bridge.declarations import declarations
from kinesis_bridge.diagnosis import Path, explain_named
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.outbox_checks import check_outbox_aliases
from kinesis_bridge.status import read_status

from .check import Check, Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.status import DatabaseStatus, StreamStatus

OLD_SECONDS = 300.0
"""From which age of its oldest event a backlog is a finding, though a relay runs."""


def check_settings(alias: str) -> Check:
    """Look at the settings and the declarations, and for the stream."""
    path = Path(hop="settings")
    ours = {declaration.model for declaration in declarations() if declaration.stream == alias}
    declared = [message for message in check_declarations() if message.obj in ours]
    found = [*run_settings_checks(), *check_outbox_aliases(), *declared]
    wrong = [message for message in found if message.level >= ERROR]
    try:
        if wrong:
            said = "; ".join(f"{message.msg} ({message.id})" for message in wrong)
            fix = " ".join(dict.fromkeys(message.hint or "" for message in wrong))
            raise explain_named("settings", path, message=said, fix=fix)
        try:
            stream = get_config().stream(alias)
        except ImproperlyConfigured as error:
            fix = "Name one of them: --stream"
            raise explain_named("settings", path, message=str(error), fix=fix) from error
    except AwsError as error:
        return Check.failed("settings", error)
    role = get_config().role_of(stream)
    through = f"through {role.role_arn}" if role else "with the site's own credentials"
    local = "; LOCAL_AWS: all of it in the emulator" if get_config().local_aws else ""
    hints = [f"{message.msg} {message.hint or ''}".strip() for message in found]
    return Check.passed(
        "settings",
        Found(f"stream {stream.stream} {through}, delivery {stream.delivery}{local}", *hints[:1]),
    )


def check_outbox(stream: StreamConfig) -> Iterator[Check]:
    """Look at every database that events for `stream` wait in, and for who sends them."""
    if stream.delivery_class != DELIVERIES["outbox"]:
        yield _other_delivery(stream)
        return
    for database in _databases(stream):
        yield from _check_database(database, stream)


def _other_delivery(stream: StreamConfig) -> Check:
    if stream.delivery in {"memory", "console"} and not get_config().local_aws:
        error = explain_named(
            "delivery-keeps", Path(hop="outbox", stream=stream), message=stream.delivery
        )
        return Check.failed("outbox", error)
    return Check.passed(
        "outbox",
        Found(
            f"not used: delivery is {stream.delivery}",
            "" if stream.delivery == "direct" else "What is committed is lost with the process.",
        ),
    )


def _databases(stream: StreamConfig) -> list[str]:
    """Return those that are written to, and those with rows of it from before."""
    written = [
        router.db_for_write(declaration.model)
        for declaration in declarations()
        if declaration.stream == stream.alias
    ]
    if may_have_outbox(DEFAULT_DB_ALIAS):
        written.append(DEFAULT_DB_ALIAS)
    return list(dict.fromkeys([*written, *outbox_databases()]))


def _check_database(database: str, stream: StreamConfig) -> Iterator[Check]:
    path = Path(hop="outbox", stream=stream)
    path.facts.update(database=repr(database), database_name=database)
    several = "" if database == DEFAULT_DB_ALIAS else f":{database}"
    try:
        if not may_have_outbox(database):
            raise explain_named("outbox-forbidden", path)
        if missing_tables(database):
            raise explain_named("outbox-missing", path)
        [status] = read_status(database)
        if status.error is not None:
            raise explain_named("outbox-unreachable", path, message=status.error)
    except UNREADABLE as error:
        said = str(error).strip()
        yield Check.failed(
            f"outbox{several}", explain_named("outbox-unreachable", path, message=said)
        )
        return
    except AwsError as error:
        yield Check.failed(f"outbox{several}", error)
        return
    yield Check.passed(f"outbox{several}", Found(f"database {database} has its tables"))
    ours = [one for one in status.streams if one.stream == stream.alias]
    for name, look in (("relay", _relay), ("backlog", _backlog), ("dead-letters", _dead_letters)):
        try:
            found = look(status, ours[0], path)
        except AwsError as error:
            yield Check.failed(f"{name}{several}", error)
        else:
            yield Check.passed(f"{name}{several}", found)


def _relay(status: DatabaseStatus, stream: StreamStatus, path: Path) -> Found:
    if not status.relays:
        if get_config().local_aws and not stream.pending:
            return Found("none runs, and nothing waits", "Start one: manage.py kinesis_relay")
        raise explain_named("relay-missing", path, pending=f"{stream.pending:,}")
    alive = ", ".join(f"{relay.host}:{relay.pid}" for relay in status.relays)
    return Found(f"alive: {alive}")


def _backlog(status: DatabaseStatus, stream: StreamStatus, path: Path) -> Found:
    unknown = [one for one in status.streams if not one.known and one.pending]
    if unknown:
        names = ", ".join(f"STREAMS[{one.stream!r}]" for one in unknown)
        count = sum(one.pending for one in unknown)
        raise explain_named("orphans", path, pending=f"{count:,}", message=names)
    if not stream.pending:
        return Found("nothing waits")
    age = stream.age_seconds or 0.0
    if status.relays and age > OLD_SECONDS:
        facts = {"pending": f"{stream.pending:,}", "age": f"{age:.0f} seconds"}
        raise explain_named("backlog", path, **facts)
    return Found(f"{stream.pending:,} events wait, the oldest for {age:.0f} seconds")


def _dead_letters(_: DatabaseStatus, stream: StreamStatus, path: Path) -> Found:
    if stream.dead_letters:
        counts = {"count": f"{stream.dead_letters:,}", "blocking": f"{stream.blocking:,}"}
        raise explain_named("dead-letters", path, **counts)
    return Found("none")
