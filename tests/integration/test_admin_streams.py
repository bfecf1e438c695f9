"""The page "Kinesis bridge" and its actions, without a browser: who may, what is written, where."""

import gzip
import json
import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import clear_url_caches, path

from kinesis_bridge.models import Stream
from tests.support.admin import (  # noqa: F401 - fixtures
    fixture_browser,
    fixture_everything,
    fixture_site,
    log,
    text,
)
from tests.support.figures import history, letters, outage, relay
from tests.support.outbox import OutboxOn, dead, now, waiting

PAGE = "/admin/kinesis_bridge/stream/"
WHICH = {"stream": "default", "database": "default"}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default")]
    bridge = settings.KINESIS_BRIDGE
    both = {alias: {**given, "DELIVERY": "outbox"} for alias, given in bridge["STREAMS"].items()}
    settings.KINESIS_BRIDGE = {**bridge, "STREAMS": both}


# The page


def test_nothing_inline_that_a_strict_policy_forbids(everything):
    history("default")
    relay("default")
    outage("default")
    letters("default")

    pages = [
        everything.get(PAGE),
        everything.get(f"{PAGE}pause/", WHICH),
        everything.get(f"{PAGE}test/", WHICH),
    ]

    for page in pages:
        html = page.content.decode()
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", html)
        assert not re.search(r"<script(?![^>]* src=\"/static/)", html)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', html)


def test_the_live_view_is_the_pages_own_html(everything):
    waiting("default")
    page = everything.get(PAGE).content.decode()
    answer = everything.get(f"{PAGE}live/")
    assert answer.headers["Content-Type"] == "application/json"
    found = json.loads(answer.content)
    assert found.keys() == {"html", "at"}
    assert '<article class="kb-stream kb-is-no-relay" id="kb-1-1"' in found["html"]
    assert '<article class="kb-stream kb-is-no-relay" id="kb-1-1"' in page


@pytest.mark.parametrize("url", [PAGE, f"{PAGE}live/"])
def test_both_are_small_on_the_wire(everything, url):
    history("default")
    plain = everything.get(url)
    packed = everything.get(url, headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.content) * 4 < len(plain.content)
    assert b"kb-stream" in gzip.decompress(packed.content)


@pytest.mark.parametrize("blocking", [False, True])
def test_what_waits_for_long_though_a_relay_runs_is_not_only_being_sent(everything, blocking):
    relay("default")
    waiting("default", created=now() - timedelta(minutes=44))
    if blocking:
        dead("default", blocks=True)
    page = text(everything.get(PAGE))
    assert "Behind" in page
    assert "The oldest event has waited for 44 min, though a relay runs." in page
    assert "manage.py kinesis_doctor --stream default say." in page
    assert ("Dead letters hold up their keys: requeue or discard them." in page) == blocking


def test_neither_is_kept_by_anyone(everything):
    for url in (PAGE, f"{PAGE}live/"):
        assert "no-store" in everything.get(url).headers["Cache-Control"], url


@pytest.mark.parametrize("hours", ["", "0", "7", "-1", "x", "²", "9" * 400])
def test_a_window_that_there_is_not_is_an_hour(everything, hours):
    page = everything.get(PAGE, {"hours": hours})
    assert re.search(r'aria-current="true">Last hour<', page.content.decode())


def test_wrong_settings_are_said_on_the_page(everything, settings):
    settings.KINESIS_BRIDGE = {"STREAMS": {"default": {}}}
    assert "STREAM" in text(everything.get(PAGE))
    assert "errornote" in everything.get(f"{PAGE}live/").json()["html"]


@pytest.mark.django_db(databases=["default", "other"])
def test_each_database_has_its_own(everything, settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default", "other")]
    letters("other")
    page = everything.get(PAGE).content.decode()
    assert [int(n) for n in re.findall(r'id="kb-(\d)-title"', page)] == [1, 2]
    assert "ValidationException" in page
    assert "deadletter/?" not in page, "the admin shows the letters of default only"


def test_any_language_of_figures_keeps_the_charts(everything):
    history("default")
    with override_settings(LANGUAGE_CODE="de", USE_THOUSAND_SEPARATOR=True):
        page = everything.get(PAGE).content.decode()
    paths = re.findall(r'class="kb-[^"]*" d="([^"]*)"', page)
    assert len(paths) == 8
    for path_data in paths:
        assert re.fullmatch(r"[MLZ\d. ]*", path_data)
    assert not re.findall(r' y[12]="[^"]*,', page)


@pytest.mark.parametrize("url", ["", "live/", "pause/", "resume/", "test/"])
def test_everything_is_the_admins_and_needs_a_permission(browser, url):
    assert Client().get(PAGE + url).status_code == 302
    assert browser("view_deadletter").get(PAGE + url, WHICH).status_code == 403


@pytest.mark.parametrize(
    ("permission", "urls"),
    [("view_stream", ["pause/", "resume/", "test/"]), ("pause_stream", ["", "live/", "test/"])],
)
def test_one_permission_is_not_another(browser, permission, urls):
    client = browser(permission)
    for url in urls:
        assert client.get(PAGE + url, WHICH).status_code == 403, url
        assert client.post(PAGE + url, WHICH).status_code in {403, 405}, url


def test_a_stream_cannot_be_added_changed_or_deleted(everything):
    row = Stream.objects.create(alias="default")
    assert everything.get(f"{PAGE}add/").status_code == 403
    assert everything.post(f"{PAGE}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert everything.get(f"{PAGE}{row.pk}/change/").headers["Location"] == PAGE
    assert "default" in text(everything.get(f"{PAGE}{row.pk}/history/"))


def test_permissions_are_named():
    names = Permission.objects.filter(content_type__model="stream")
    assert {each.codename: each.name for each in names} == {
        "view_stream": "Can view stream",
        "pause_stream": "Can pause and resume streams",
        "test_stream": "Can send test records to streams",
    }


def test_another_site_has_the_page_as_well(everything, monkeypatch):
    from kinesis_bridge.admin import StreamAdmin
    from tests import admin_urls

    monkeypatch.setattr(admin_urls.second, "_registry", {})
    admin_urls.second.register(Stream, StreamAdmin)
    urls = [path("admin/", admin.site.urls), path("second/", admin_urls.second.urls)]
    monkeypatch.setattr(admin_urls, "urlpatterns", urls)
    clear_url_caches()

    page = everything.get("/second/kinesis_bridge/stream/").content.decode()
    assert 'data-url="/second/kinesis_bridge/stream/live/?hours=1"' in page
    assert 'href="/second/kinesis_bridge/stream/pause/?stream=default' in page
    assert '"/admin/' not in page
    moved = everything.post("/second/kinesis_bridge/stream/pause/", WHICH)
    assert moved.headers["Location"] == "/second/kinesis_bridge/stream/"
    clear_url_caches()


def test_a_site_without_dead_letters_leads_to_none(everything, monkeypatch):
    from kinesis_bridge.admin import StreamAdmin
    from tests import admin_urls

    monkeypatch.setattr(admin_urls.second, "_registry", {})
    admin_urls.second.register(Stream, StreamAdmin)
    urls = [path("admin/", admin.site.urls), path("second/", admin_urls.second.urls)]
    monkeypatch.setattr(admin_urls, "urlpatterns", urls)
    clear_url_caches()
    letters("default")

    page = everything.get("/second/kinesis_bridge/stream/").content.decode()

    assert "ValidationException" in page
    assert "deadletter/?" not in page
    clear_url_caches()


@pytest.mark.parametrize("use_tz", [True, False])
def test_charts_have_the_readers_time_of_day(everything, settings, use_tz):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Kolkata"
    history("default")
    here = ZoneInfo("Asia/Kolkata")

    before = datetime.now(here)
    page = everything.get(PAGE).content.decode()
    after = datetime.now(here)

    last = re.findall(r'<tr><th scope="row">(\d\d:\d\d)</th>', page)[-1]
    assert last in {f"{moment:%H:%M}" for moment in (before, after)}
    [first, *_] = re.findall(r'class="kb-times" aria-hidden="true"><span>(\d\d:\d\d)<', page)
    hour = timedelta(minutes=59)
    assert first in {f"{moment - hour:%H:%M}" for moment in (before, after)}


# Pauses


def test_to_ask_changes_nothing(everything):
    assert "is to be paused" in text(everything.get(f"{PAGE}pause/", WHICH))
    assert not Stream.objects.exists()
    assert log() == []


def test_a_pause_is_written_with_who_did_it(everything):
    page = everything.post(f"{PAGE}pause/", WHICH, follow=True)
    assert "Its events wait." in text(page)
    row = Stream.objects.get()
    assert row.alias == "default"
    assert row.paused is not None
    assert row.paused_by == "somebody"
    assert log() == [("somebody", 2, "default", "Paused in database 'default'.")]

    everything.post(f"{PAGE}resume/", WHICH)
    row.refresh_from_db()
    assert (row.paused, row.paused_by) == (None, "")


def test_only_a_person_with_the_page_can_do_it(everything):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = everything.cookies
    assert strict.post(f"{PAGE}pause/", WHICH).status_code == 403
    assert not Stream.objects.exists()


def test_a_failure_of_the_log_leaves_no_pause(everything, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("the log is full")

    monkeypatch.setattr("django.contrib.admin.models.LogEntryManager.log_actions", fail)
    with pytest.raises(RuntimeError, match="full"):
        everything.post(f"{PAGE}pause/", WHICH)
    assert not Stream.objects.filter(paused__isnull=False).exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_a_pause_is_of_one_database(everything, settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default", "other")]
    everything.post(f"{PAGE}pause/", {"stream": "default", "database": "other"})
    assert Stream.objects.using("other").get().paused is not None
    assert not Stream.objects.using("default").exists()
    assert log()[0][3] == "Paused in database 'other'."


@pytest.mark.parametrize(
    "which",
    [{}, {"stream": "default"}, {"stream": "x", "database": "default"},
     {"stream": "default", "database": "x"}, {"stream": "default", "database": "other"}],
)  # fmt: skip
def test_what_there_is_not_is_404(everything, which):
    for url in ("pause/", "resume/", "test/"):
        assert everything.get(PAGE + url, which).status_code == 404
        assert everything.post(PAGE + url, which).status_code == 404


# Test records


def test_a_test_record_is_told_hop_by_hop(everything, fresh):
    answer = everything.post(f"{PAGE}test/", WHICH, headers={"Accept": "application/x-ndjson"})
    assert answer.streaming
    lines = [json.loads(line) for line in b"".join(answer).splitlines()]
    assert [line["ok"] for line in lines] == [True] * 6
    assert "Caller in account A" in lines[0]["html"]
    assert "Read back" in lines[-1]["html"]
    [(_, _, name, message)] = log()
    assert name == "default"
    assert message.startswith("Sent a test record to 'orders': shardId-")


def test_a_setting_that_is_wrong_is_a_hop_that_failed(everything, settings, fresh, monkeypatch):
    def refuse(*_, **__):
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured("<b>wrong</b>")
        yield

    monkeypatch.setattr("kinesis_bridge.admin.trial.follow", refuse)
    page = everything.post(f"{PAGE}test/", WHICH)
    assert isinstance(page, HttpResponse)
    assert "&lt;b&gt;wrong&lt;/b&gt;" in page.content.decode()
    assert log()[0][3] == "Sent no test record to 'orders': <b>wrong</b>."


def test_under_asgi_it_is_told_hop_by_hop_too(everything, fresh):
    """A sync iterator there would be a warning, which is an error in these tests."""
    client = AsyncClient()
    client.cookies = everything.cookies

    async def lines():
        accept = {"Accept": "application/x-ndjson"}
        answer = await client.post(f"{PAGE}test/", WHICH, headers=accept)
        return [json.loads(line) async for line in answer]

    assert [line["ok"] for line in async_to_sync(lines)()] == [True] * 6
    [(_, _, _, message)] = log()
    assert message.startswith("Sent a test record to 'orders': shardId-")
