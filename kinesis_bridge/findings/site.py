"""The site itself: its settings, its outbox, its relays. Only the doctor finds these."""

from __future__ import annotations

from kinesis_bridge.words import marked as _

from .finding import Finding

SITE: tuple[Finding, ...] = (
    Finding(
        name="settings",
        hops=("settings",),
        side="site",
        cause=_("The settings cannot be used: {message}"),
        fix=_("{fix} `manage.py check` shows everything at once."),
    ),
    Finding(
        name="outbox-unreachable",
        hops=("outbox",),
        side="site",
        cause=_("Database {database}, which has the outbox, cannot be read: {message}"),
        fix=_(
            "Correct DATABASES[{database}], or start the server; events cannot be published now."
        ),
        retryable=True,
    ),
    Finding(
        name="outbox-missing",
        hops=("outbox",),
        side="site",
        cause=_("Events are written to database {database}, which lacks the outbox's tables."),
        fix=_("Run: manage.py migrate --database {database_name}"),
    ),
    Finding(
        name="outbox-forbidden",
        hops=("outbox",),
        side="site",
        cause=_(
            "Events are written to database {database}, and a router's allow_migrate keeps the"
            " outbox's tables out of it."
        ),
        fix=_(
            "Let the router allow kinesis_bridge there, then: manage.py migrate --database"
            " {database_name}"
        ),
    ),
    Finding(
        name="triggers-differ",
        hops=("outbox",),
        side="site",
        cause="{message}",
        fix=_(
            "Run: manage.py makemigrations, then: manage.py migrate --database {database_name}."
            " For what was disabled or dropped past the migrations: manage.py pgtrigger install"
            " --database {database_name}. Then send again what is lost: manage.py"
            " kinesis_snapshot"
        ),
    ),
    Finding(
        name="relay-missing",
        hops=("outbox",),
        side="site",
        cause=_(
            "No relay runs for database {database}, and nothing is sent. Events waiting: {pending}."
        ),
        fix=_("Start one, under a supervisor: manage.py kinesis_relay"),
    ),
    Finding(
        name="backlog",
        hops=("outbox",),
        side="site",
        cause=_(
            "Events waiting in database {database}: {pending}, the oldest for {age}, though a relay"
            " runs."
        ),
        fix=_(
            "Its log says what holds it up. If it is only slow: start more relays, or have shards"
            " added."
        ),
        retryable=True,
    ),
    Finding(
        name="dead-letters",
        hops=("outbox",),
        side="site",
        cause=_(
            "{count} events in database {database} could not pass; {blocking} of them hold up later"
            " ones of their key."
        ),
        fix=_(
            "See why: manage.py kinesis_deadletter list. Then send them again (requeue) or give"
            " them up (discard)."
        ),
    ),
    Finding(
        name="orphans",
        hops=("outbox",),
        side="site",
        cause=_(
            "{pending} events in database {database} are for {message}, which the settings lack."
        ),
        fix=_("Put the stream back into STREAMS, under the same alias: else they are never sent."),
    ),
    Finding(
        name="delivery-keeps",
        hops=("outbox",),
        side="site",
        cause=_("DELIVERY of {stream} is {message}: events go nowhere."),
        fix=_('Set DELIVERY (KINESIS_DELIVERY) to "outbox".'),
    ),
)  # fmt: skip
