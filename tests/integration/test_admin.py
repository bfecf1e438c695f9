"""The admin pages of the outbox and its dead letters: read-only, but for two actions that ask."""

import re
import subprocess
import sys

import pytest
from django.db import IntegrityError, connection

from kinesis_bridge.models import DeadLetter, OutboxRecord
from tests.support.admin import (  # noqa: F401 - fixtures
    fixture_browser,
    fixture_everything,
    fixture_site,
    log,
    text,
)
from tests.support.outbox import OutboxOn, dead, waiting

pytestmark = pytest.mark.django_db
OUTBOX = "/admin/kinesis_bridge/outboxrecord/"
DEAD = "/admin/kinesis_bridge/deadletter/"


def ask(browser, action, *letters, url=DEAD, **more):
    """Choose letters and an action; return the page that asks."""
    chosen = {"action": action, "_selected_action": [letter.pk for letter in letters], **more}
    return browser.post(url, chosen)


def confirm(browser, page, url=DEAD):
    """Press the button of that page; return the page after it."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode())
    chosen = {name: value for name, value in fields if name != "csrfmiddlewaretoken"}
    return browser.post(url, chosen, follow=True)


# Reading


@pytest.mark.parametrize(("url", "make"), [(OUTBOX, waiting), (DEAD, dead)])
def test_the_list_shows_rows_and_reads_no_payload(everything, url, make):
    make("default", key="customer-9", event_id="e-9", payload=b"SECRET")

    with connection.execute_wrapper(refuse_payloads):
        page = everything.get(url)

    assert "customer-9" in text(page)
    assert "e-9" in text(page)


def refuse_payloads(execute, sql, params, many, context):
    assert '"payload"' not in sql, sql
    return execute(sql, params, many, context)


@pytest.mark.parametrize(("url", "make"), [(OUTBOX, waiting), (DEAD, dead)])
def test_nothing_can_be_added_changed_or_deleted(everything, url, make):
    row = make("default")

    page = everything.get(f"{url}{row.pk}/change/")
    assert "Save" not in text(page)
    assert not re.search(r'<(input|textarea|select)[^>]* name="(stream|payload)', str(page.content))
    assert everything.get(f"{url}add/").status_code == 403
    assert everything.post(f"{url}add/", {"stream": "x"}).status_code == 403
    assert everything.post(f"{url}{row.pk}/change/", {"stream": "x"}).status_code == 403
    assert everything.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in everything.get(url).content.decode()
    row.refresh_from_db()
    assert row.stream == "default"


@pytest.mark.parametrize("name", ["outboxrecord", "deadletter"])
def test_reading_needs_the_permission_to_view(browser, name):
    url = f"/admin/kinesis_bridge/{name}/"
    assert browser().get(url).status_code == 403


def test_whoever_may_view_reads_only(browser):
    letter = dead("default")
    viewer = browser("view_deadletter")

    assert "ValidationException" in text(viewer.get(DEAD))
    assert 'name="action"' not in viewer.get(DEAD).content.decode()
    for action in ("requeue", "discard"):
        ask(viewer, action, letter, select_across="1", letters=letter.pk)
    assert DeadLetter.objects.count() == 1
    assert log() == []


@pytest.mark.parametrize(("url", "make"), [(OUTBOX, waiting), (DEAD, dead)])
def test_filter_by_stream(everything, url, make):
    for name in ("default", "audit", "removed"):
        make("default", stream=name, event_id=f"event-{name}")

    def shown(query):
        return re.findall(r"event-(\w+)", text(everything.get(url, {"stream": query})))

    assert shown("audit") == ["audit"]
    assert shown("(not in the settings)") == ["removed"]
    assert shown("removed") == ["removed"]
    assert "audit" in text(everything.get(url))


def test_dead_letters_are_found_by_a_whole_event_id_or_key(everything):
    dead("default", key="customer-9", event_id="e-9")
    dead("default", key="customer-99", event_id="e-99")

    for word in ("e-9", "customer-9"):
        page = text(everything.get(DEAD, {"q": word}))
        assert re.search(r"\b1 dead letter\b", page)
        assert "e-99" not in page


def test_a_huge_outbox_is_neither_counted_nor_paged_to_its_end(everything, monkeypatch):
    monkeypatch.setattr("kinesis_bridge.admin.letters.PAGED_RECORDS", 150)
    for _ in range(150):
        waiting("default")
    assert "There are more" not in text(everything.get(OUTBOX))
    waiting("default")

    with connection.execute_wrapper(refuse_full_counts):
        page = everything.get(OUTBOX)

    assert "150 outbox records" in text(page)
    assert "There are more: the pages end after 150 records." in text(page)
    assert "e-1" in text(everything.get(OUTBOX, {"p": 2}))
    assert everything.get(OUTBOX, {"p": 3}).status_code == 302, "there is no such page"


def refuse_full_counts(execute, sql, params, many, context):
    assert "COUNT(" not in sql or "LIMIT 151" in sql, sql
    assert "DISTINCT" not in sql, sql
    return execute(sql, params, many, context)


# Payloads


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (
            b'{"a":{"b":[1,"\xc3\xbc"]}}',
            '{\n  "a": {\n    "b": [\n      1,\n      "ü"\n    ]\n  }\n}',
        ),
        (b'"<script>alert(1)</script>"', '"<script>alert(1)</script>"'),
        (b"<b>no JSON", "<b>no JSON"),
        (b"\xff\x00", "\\xff\x00"),
        (b'"\\ud800"', '"\\ud800"'),
        (b"[" * 5000, "[" * 5000),
    ],
    ids=["json", "script", "text", "binary", "half a surrogate pair", "deep"],
)
def test_payload_is_shown_readable_and_escaped(everything, payload, shown):
    from django.utils.html import escape

    for url, make in ((OUTBOX, waiting), (DEAD, dead)):
        row = make("default", payload=payload)
        page = everything.get(f"{url}{row.pk}/change/")

        assert f"<pre>{escape(shown)}</pre>" in page.content.decode()


def test_of_a_large_payload_the_beginning_is_shown(everything):
    nested = b"[" + b",".join([b"[" * 400 + b"]" * 400] * 80) + b"]"
    row = waiting("default", payload=nested)

    page = everything.get(f"{OUTBOX}{row.pk}/change/").content

    assert b"(the rest is not shown)" in page
    assert len(page) < 300_000


# Actions


def test_requeue_asks_then_puts_back_and_logs(browser):
    first, second, other = (dead("default", event_id=f"e-{n}", outbox_id=n) for n in (1, 2, 3))
    user = browser("view_deadletter", "requeue_deadletter")

    page = ask(user, "requeue", first, second)
    assert "These 2 dead letters go back into the outbox" in text(page)
    assert "e-1 for default: ValidationException" in text(page)
    assert OutboxRecord.objects.count() == 0
    after = confirm(user, page)

    assert "Dead letters requeued: 2." in text(after)
    assert sorted(OutboxRecord.objects.values_list("event_id", flat=True)) == ["e-1", "e-2"]
    assert bytes(OutboxRecord.objects.first().payload) == b'{"a": 1}'
    assert list(DeadLetter.objects.values_list("pk", flat=True)) == [other.pk]
    assert sorted(log()) == [
        ("somebody", 2, f"e-{n} for default: ValidationException",
         "Requeued in database 'default'.")
        for n in (1, 2)
    ]  # fmt: skip


def test_discard_asks_then_deletes_and_logs(browser):
    letter = dead("default", blocks=True)
    user = browser("view_deadletter", "discard_deadletter")

    page = ask(user, "discard", letter)
    assert "This dead letter is deleted for good" in text(page)
    assert "1 of them hold up later events of their key. Those pass then" in text(page)
    confirm(user, page)

    assert DeadLetter.objects.count() == OutboxRecord.objects.count() == 0
    message = "Discarded in database 'default'."
    assert log() == [("somebody", 3, "e-1 for default: ValidationException", message)]


@pytest.mark.parametrize(("may", "may_not"), [("requeue", "discard"), ("discard", "requeue")])
def test_each_action_has_its_own_permission(browser, may, may_not):
    letter = dead("default")
    user = browser("view_deadletter", f"{may}_deadletter")

    assert f'value="{may}"' in user.get(DEAD).content.decode()
    assert f'value="{may_not}"' not in user.get(DEAD).content.decode()
    ask(user, may_not, letter, select_across="1", letters=letter.pk)
    assert DeadLetter.objects.count() == 1
    confirm(user, ask(user, may, letter))
    assert DeadLetter.objects.count() == 0


def test_all_of_a_filter_is_what_the_page_showed_not_what_came_since(everything):
    url = f"{DEAD}?stream=audit"
    for _ in range(120):
        dead("default", stream="audit")
    kept = dead("default")

    page = ask(everything, "discard", kept, url=url, select_across="1")
    assert "These 120 dead letters" in text(page)
    assert "and 20 more" in text(page)
    late = dead("default", stream="audit")
    after = confirm(everything, page, url)

    assert "Dead letters discarded: 120." in text(after)
    assert sorted(DeadLetter.objects.values_list("pk", flat=True)) == [kept.pk, late.pk]


@pytest.mark.parametrize("action", ["requeue", "discard"])
def test_of_too_many_the_oldest_are_done_and_the_others_told(everything, monkeypatch, action):
    monkeypatch.setattr("kinesis_bridge.admin.letters.MOST_LETTERS", 3)
    for place in (5, 2, 4, 1, 3):
        letter = dead("default", outbox_id=place, event_id=f"e-{place}")

    page = ask(everything, action, letter, select_across="1")
    assert "These 3 dead letters" in text(page)
    assert "These are the oldest of 5:" in text(page)
    assert f"manage.py kinesis_deadletter {action} --all" in text(page)
    confirm(everything, page)
    assert sorted(DeadLetter.objects.values_list("outbox_id", flat=True)) == [4, 5]

    page = ask(everything, action, letter, select_across="1")
    assert "the oldest of" not in text(page)
    confirm(everything, page)
    requeued = list(OutboxRecord.objects.order_by("id").values_list("event_id", flat=True))
    assert requeued == ([f"e-{n}" for n in (1, 2, 3, 4, 5)] if action == "requeue" else [])


def test_more_ids_than_a_page_shows_are_not_taken(everything, monkeypatch):
    monkeypatch.setattr("kinesis_bridge.admin.letters.MOST_LETTERS", 2)
    chosen = [dead("default").pk for _ in range(3)]

    sent = ",".join(map(str, chosen))
    everything.post(
        DEAD, {"action": "discard", "_selected_action": 0, "select_across": "1", "letters": sent}
    )

    assert DeadLetter.objects.get().pk == chosen[-1]


def test_letters_that_went_meanwhile_are_told(everything):
    first, second = dead("default"), dead("default")
    page = ask(everything, "requeue", first, second)
    first.delete()

    after = text(confirm(everything, page))

    assert "Dead letters requeued: 1." in after
    assert "Not found any more: 1." in after


def test_an_answer_that_is_no_list_of_ids_does_nothing(everything):
    letter = dead("default")

    after = ask(everything, "discard", letter, select_across="1", letters=f"x,{10**30},-1,²")

    assert after.status_code == 302
    assert DeadLetter.objects.count() == 1


def test_a_failure_leaves_neither_a_deed_nor_a_log_entry(everything):
    waiting("default", id=5)
    letter = dead("default", outbox_id=5, blocks=True)
    page = ask(everything, "requeue", letter)

    with pytest.raises(IntegrityError):
        confirm(everything, page)

    assert DeadLetter.objects.count() == 1
    assert log() == []


# Several databases


class ReadsFrom:
    """A router that has dead letters read from one database and written to another."""

    def __init__(self, read, write):
        self.read, self.write = read, write

    def db_for_read(self, model, **hints):
        return self.read if model._meta.app_label == "kinesis_bridge" else None

    def db_for_write(self, model, **hints):
        return self.write if model._meta.app_label == "kinesis_bridge" else None


@pytest.mark.django_db(databases=["default", "other"])
def test_actions_work_in_the_database_that_is_routed(everything, settings):
    settings.DATABASE_ROUTERS = [ReadsFrom("other", "other"), OutboxOn("other")]
    here, there = dead("default", id=1), dead("other", id=1)

    confirm(everything, ask(everything, "requeue", there))

    assert OutboxRecord.objects.using("other").count() == 1
    assert DeadLetter.objects.using("other").count() == 0
    assert list(DeadLetter.objects.using("default")) == [here]
    assert log()[0][3] == "Requeued in database 'other'."


@pytest.mark.django_db(databases=["default", "other"])
def test_actions_write_where_one_writes_also_if_another_is_read(everything, settings):
    settings.DATABASE_ROUTERS = [ReadsFrom("other", "default")]
    replica, primary = dead("other", id=1), dead("default", id=1)

    confirm(everything, ask(everything, "discard", primary))

    assert DeadLetter.objects.using("default").count() == 0
    assert list(DeadLetter.objects.using("other")) == [replica]


def test_without_the_admin_nothing_of_it_is_imported():
    code = (
        "import django, sys; django.setup(); import kinesis_bridge.models;"
        "assert 'kinesis_bridge.admin' not in sys.modules;"
        "assert 'django.contrib.admin' not in sys.modules"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
