"""``kinesis_deadletter``: list, requeue, discard; all of those asked for, or none."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.utils.dateparse import parse_datetime

from kinesis_bridge import deadletters
from kinesis_bridge.models import DeadLetter, OutboxRecord
from tests.support.outbox import OutboxOn, dead, waiting

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def outbox(database, settings):
    """The alias of the one database that has an outbox."""
    settings.DATABASE_ROUTERS = [OutboxOn(database)]
    return database


@pytest.fixture
def two_outboxes(settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default", "other")]


def deadletter(*arguments):
    out = StringIO()
    call_command("kinesis_deadletter", *map(str, arguments), stdout=out)
    return out.getvalue()


def left(database):
    return list(DeadLetter.objects.using(database).order_by("id").values_list("pk", flat=True))


def queued(database):
    records = OutboxRecord.objects.using(database).order_by("id")
    return list(records.values_list("event_id", flat=True))


def test_list_shows_all_but_the_payload(outbox):
    letter = dead(outbox, key="customer-9", event_id="e-9", payload=b"SECRET", blocks=True)

    (found,) = json.loads(deadletter("list", "--json"))["dead_letters"]

    assert parse_datetime(found.pop("failed")) == letter.failed
    assert found == {
        "database": outbox,
        "id": letter.pk,
        "stream": "default",
        "key": "customer-9",
        "event_id": "e-9",
        "code": "ValidationException",
        "message": "No.",
        "blocks": True,
    }
    text = deadletter("list")
    for part in (f"{letter.pk} in {outbox}", "customer-9", "e-9", "ValidationException: No.",
                 "blocks its key", "Dead letters: 1"):  # fmt: skip
        assert part in text
    assert "SECRET" not in text


def test_list_reads_no_payload(outbox, django_assert_num_queries):
    dead(outbox)
    with django_assert_num_queries(2, using=outbox) as queries:  # one looks for the table
        deadletter("list")

    assert "payload" not in queries[-1]["sql"]


def test_list_of_ids_and_of_a_stream(outbox):
    first, second = dead(outbox), dead(outbox, stream="audit")

    def ids(*arguments):
        letters = json.loads(deadletter("list", "--json", *arguments))["dead_letters"]
        return [letter["id"] for letter in letters]

    assert ids() == [first.pk, second.pk]
    assert ids("--stream", "audit") == [second.pk]
    assert ids(first.pk) == [first.pk]
    assert ids("--stream", "default", "--all") == [first.pk]


def test_requeue_puts_what_blocks_in_front_of_what_waits_behind_it(outbox):
    place = waiting(outbox)
    waiting(outbox, event_id="later")
    first, second, third = (
        dead(outbox, event_id=f"e-{n}", outbox_id=place.pk, blocks=n == 1) for n in (1, 2, 3)
    )
    place.delete()

    text = deadletter("requeue", first.pk, second.pk)

    assert "Dead letters requeued: 2" in text
    assert left(outbox) == [third.pk]
    assert queued(outbox) == ["e-1", "later", "e-2"]
    record = OutboxRecord.objects.using(outbox).get(event_id="e-2")
    assert bytes(record.payload) == b'{"a": 1}'


def test_discard_deletes(outbox):
    first, second = dead(outbox), dead(outbox)

    assert json.loads(deadletter("discard", first.pk, "--json")) == {"discarded": 1}
    assert left(outbox) == [second.pk]
    assert queued(outbox) == []


@pytest.mark.parametrize("action", ["requeue", "discard"])
def test_all_and_all_of_a_stream(outbox, action):
    kept = dead(outbox, stream="audit")
    for _ in range(2):
        dead(outbox)

    assert json.loads(deadletter(action, "--all", "--stream", "default", "--json")) == {
        "requeued" if action == "requeue" else "discarded": 2
    }
    assert left(outbox) == [kept.pk]
    deadletter(action, "--all")
    assert left(outbox) == []


def test_all_of_nothing_is_nothing(outbox):
    assert json.loads(deadletter("requeue", "--all", "--json")) == {"requeued": 0}


@pytest.mark.parametrize("action", ["list", "requeue", "discard"])
def test_ids_that_do_not_exist_are_named_and_nothing_is_done(outbox, action):
    letter = dead(outbox)

    with pytest.raises(CommandError, match=rf"no dead letter 777, {10**30} in {outbox}\. See: "):
        deadletter(action, letter.pk, 777, 10**30)

    assert left(outbox) == [letter.pk]
    assert queued(outbox) == []


def test_an_id_of_another_stream_does_not_exist_in_this_one(outbox):
    letter = dead(outbox)

    with pytest.raises(CommandError, match=f"no dead letter {letter.pk} of stream 'audit'"):
        deadletter("discard", "--stream", "audit", letter.pk)

    assert left(outbox) == [letter.pk]


def test_a_failure_in_the_middle_leaves_all_as_it_was(outbox):
    waiting(outbox, id=5)
    dead(outbox, event_id="fine")
    dead(outbox, event_id="its place is taken", outbox_id=5, blocks=True)

    with pytest.raises(CommandError, match=f"Database '{outbox}' failed, and nothing was changed"):
        deadletter("requeue", "--all")

    assert len(left(outbox)) == 2
    assert queued(outbox) == ["e-1"]


@pytest.mark.parametrize("action", ["requeue", "discard"])
@pytest.mark.parametrize("arguments", [[], ["1", "--all"]], ids=["nothing", "both"])
def test_which_is_said_one_way(action, arguments):
    with pytest.raises(CommandError, match="either IDs as listed, or --all"):
        deadletter(action, *arguments)


@pytest.mark.parametrize(
    "arguments", [["burn", "1"], ["requeue", "one"], []], ids=["action", "id", "nothing"]
)
def test_what_is_no_action_or_id_is_refused(arguments):
    with pytest.raises(CommandError, match=r"argument action|argument ID|required: action"):
        deadletter(*arguments)


@pytest.mark.parametrize("action", ["list", "requeue", "discard"])
def test_a_stream_that_nobody_knows_is_refused(outbox, action):
    dead(outbox)

    with pytest.raises(CommandError, match="has no 'adit'; there are: 'default', 'audit'"):
        deadletter(action, "--all", "--stream", "adit")

    assert len(left(outbox)) == 1


def test_letters_of_a_stream_that_the_settings_lack_can_be_discarded(outbox):
    dead(outbox, stream="removed")

    deadletter("discard", "--all", "--stream", "removed")

    assert left(outbox) == []


def test_options_may_stand_before_and_between_ids(outbox):
    first, second = dead(outbox), dead(outbox)

    deadletter("discard", "--database", outbox, first.pk, "--stream", "default", second.pk)

    assert left(outbox) == []


def test_an_error_is_a_json_document_too(outbox):
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("kinesis_deadletter", "discard", "7", "--json", stdout=out)

    assert json.loads(out.getvalue())["error"]["message"].startswith("Nothing was changed: ")


# Several databases


@both
def test_an_id_is_found_in_whichever_database_has_it(two_outboxes):
    first = dead("default", id=1)
    second = dead("other", id=2)

    letters = json.loads(deadletter("list", "--json"))["dead_letters"]
    assert [(each["database"], each["id"]) for each in letters] == [("default", 1), ("other", 2)]
    deadletter("requeue", first.pk, second.pk)

    assert queued("default") == queued("other") == ["e-1"]
    assert left("default") == left("other") == []


@both
def test_an_id_that_several_databases_have_needs_the_database(two_outboxes):
    for alias in ("default", "other"):
        dead(alias, id=1)

    with pytest.raises(CommandError, match=r"1 exist in several databases \(default, other\). Say"):
        deadletter("discard", 1)
    assert left("default") == left("other") == [1]
    deadletter("discard", 1, "--database", "other")

    assert left("default") == [1]
    assert left("other") == []


@both
def test_all_is_of_all_databases_and_none_if_one_fails(two_outboxes):
    dead("default")
    dead("other", outbox_id=5, blocks=True)
    taken = waiting("other", id=5)

    with pytest.raises(CommandError, match="'other' failed"):
        deadletter("requeue", "--all")
    assert queued("default") == []
    taken.delete()
    deadletter("requeue", "--all")

    assert queued("default") == queued("other") == ["e-1"]


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
@pytest.mark.parametrize(
    "settle",
    [
        lambda alias: DeadLetter.objects.using(alias).requeue(),
        lambda alias: DeadLetter.objects.using(alias).discard(),
        lambda alias: deadletters.settle("discard", {1, 2}, database=alias),
    ],
    ids=["requeue", "discard", "ids"],
)
def test_all_lock_the_oldest_first_so_that_no_two_wait_for_each_other(settings, settle):
    settings.DATABASE_ROUTERS = [OutboxOn("postgres")]
    younger, older = dead("postgres", id=1, outbox_id=2), dead("postgres", id=2, outbox_id=1)
    rows = DeadLetter.objects.using("postgres").select_for_update(nowait=True)

    def work():
        try:
            settle("postgres")
        finally:
            connections["postgres"].close()

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic(using="postgres"):
            rows.get(pk=older.pk)
            done = other.submit(work)
            until(lambda: done.done() or somebody_waits())
            assert not done.done()
            rows.get(pk=younger.pk)  # raises where the other one has it
        done.result(timeout=30)
    assert left("postgres") == []


def somebody_waits():
    """Whether anybody waits for what this transaction has locked."""
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return cursor.fetchone()[0]


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
