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
from kinesis_bridge.status import OLD_SECONDS, read_status
from kinesis_bridge.trigger_checks import drift_of
from kinesis_bridge.words import Text, joined, text_of
from kinesis_bridge.words import marked as _

from .check import Check, Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.conf import StreamConfig
    from kinesis_bridge.status import DatabaseStatus, StreamStatus


def check_settings(alias: str) -> Check:
    """Look at the settings and the declarations, and for the stream."""
    path = Path(hop="settings")
    ours = {declaration.model for declaration in declarations() if declaration.stream == alias}
    declared = [message for message in check_declarations() if message.obj in ours]
    found = [*run_settings_checks(), *check_outbox_aliases(), *declared]
    wrong = [message for message in found if message.level >= ERROR]
    try:
        if wrong:
            said = joined("; ", (Text("{msg} ({id})", msg=one.msg, id=one.id) for one in wrong))
            fix = joined(" ", dict.fromkeys(one.hint or "" for one in wrong))
            raise explain_named("settings", path, message=said, fix=fix)
        try:
            stream = get_config().stream(alias)
        except ImproperlyConfigured as error:
            fix = Text(_("Name one of them: --stream"))
            raise explain_named("settings", path, message=text_of(error), fix=fix) from error
    except AwsError as error:
        return Check.failed("settings", error)
    role = get_config().role_of(stream)
    through = (
        Text(_("through {role}"), role=role.role_arn)
        if role
        else Text(_("with the site's own credentials"))
    )
    local = Text(_("; LOCAL_AWS: all of it in the emulator")) if get_config().local_aws else ""
    detail = Text(
        _("stream {stream} {through}, delivery {delivery}{local}"),
        stream=stream.stream,
        through=through,
        delivery=stream.delivery,
        local=local,
    )
    hints = [joined(" ", filter(None, (one.msg, one.hint))) for one in found]
    return Check.passed("settings", Found(detail, *hints[:1]))


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
            "delivery-keeps", Path(hop="outbox", stream=stream), message=repr(stream.delivery)
        )
        return Check.failed("outbox", error)
    return Check.passed(
        "outbox",
        Found(
            Text(_("not used: delivery is {delivery}"), delivery=stream.delivery),
            ""
            if stream.delivery == "direct"
            else Text(_("What is committed is lost with the process.")),
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
    yield Check.passed(
        f"outbox{several}", Found(Text(_("database {database} has its tables"), database=database))
    )
    yield from _triggers(database, stream, several)
    ours = [one for one in status.streams if one.stream == stream.alias]
    for name, look in (("relay", _relay), ("backlog", _backlog), ("dead-letters", _dead_letters)):
        try:
            found = look(status, ours[0], path)
        except AwsError as error:
            yield Check.failed(f"{name}{several}", error)
        else:
            yield Check.passed(f"{name}{several}", found)


def _triggers(database: str, stream: StreamConfig, several: str) -> Iterator[Check]:
    """Look at the triggers of the models that are captured by them, if there are any."""
    found = [
        one
        for one in declarations()
        if one.capture == "triggers"
        and one.stream == stream.alias
        and router.db_for_write(one.model) == database
    ]
    if not found:
        return
    path = Path(hop="outbox", stream=stream)
    path.facts.update(database_name=database)
    for declaration in found:
        if wrong := drift_of(declaration, database):
            said = joined(": ", [declaration.label, wrong])
            error = explain_named("triggers-differ", path, message=said)
            yield Check.failed(f"triggers{several}", error)
            return
    models = ", ".join(dict.fromkeys(one.label for one in found))
    yield Check.passed(f"triggers{several}", Found(Text(_("as declared: {models}"), models=models)))


def _relay(status: DatabaseStatus, stream: StreamStatus, path: Path) -> Found:
    if not status.relays:
        if get_config().local_aws and not stream.pending:
            return Found(
                Text(_("none runs, and nothing waits")),
                Text(_("Start one: manage.py kinesis_relay")),
            )
        raise explain_named("relay-missing", path, pending=f"{stream.pending:,}")
    alive = ", ".join(f"{relay.host}:{relay.pid}" for relay in status.relays)
    return Found(Text(_("alive: {relays}"), relays=alive))


def _backlog(status: DatabaseStatus, stream: StreamStatus, path: Path) -> Found:
    unknown = [one for one in status.streams if not one.known and one.pending]
    if unknown:
        names = ", ".join(f"STREAMS[{one.stream!r}]" for one in unknown)
        count = sum(one.pending for one in unknown)
        raise explain_named("orphans", path, pending=f"{count:,}", message=names)
    if not stream.pending:
        return Found(Text(_("nothing waits")))
    age = stream.age_seconds or 0.0
    if status.relays and age > OLD_SECONDS and not stream.paused:
        facts = {"pending": f"{stream.pending:,}", "age": Text(_("{n} seconds"), n=f"{age:.0f}")}
        raise explain_named("backlog", path, **facts)
    waiting = _("events waiting: {pending}, the oldest for {seconds} seconds")
    found = Text(waiting, pending=f"{stream.pending:,}", seconds=f"{age:.0f}")
    if not stream.paused:
        return Found(found)
    paused = _(
        "The stream is paused since {time}, and no relay sends its events. Resume it in the admin,"
        " on the page Streams."
    )
    return Found(found, Text(paused, time=f"{stream.paused:%Y-%m-%d %H:%M:%S %Z}"))


def _dead_letters(_status: DatabaseStatus, stream: StreamStatus, path: Path) -> Found:
    if stream.dead_letters:
        counts = {"count": f"{stream.dead_letters:,}", "blocking": f"{stream.blocking:,}"}
        raise explain_named("dead-letters", path, **counts)
    return Found(Text(_("none")))
