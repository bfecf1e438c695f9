"""The actions of the page: each asks first, is in the log, and needs its own permission."""

import re

import pytest

from kinesis_bridge.models import DeadLetter, OutboxRecord, Stream
from tests.support.figures import letters, relay
from tests.support.outbox import waiting
from tests.support.servers import wait_for

PAGE = "/admin/kinesis_bridge/stream/"
CARD = "#kb-1-1"
PAUSE, TEST = f"{PAGE}pause/", f"{PAGE}test/"
WHICH = "?stream=default&database=default"


# Pauses


def test_pausing_asks_and_resuming_does(browser, user, alias, log):
    relay(alias)
    browser.log_in(user("view_stream", "pause_stream"))
    browser.open(PAGE)
    browser.click("Pause")
    browser.wait(lambda: "is to be paused: within two seconds" in browser.text())
    browser.click("No, take me back")
    assert not Stream.objects.using(alias).filter(paused__isnull=False).exists()

    browser.click("Pause")
    browser.click("Yes, pause it")
    browser.wait(lambda: browser.text(f"{CARD} .kb-state") == "Paused", 15)
    assert "Stream default is paused in database default. Its events wait." in browser.text("body")
    assert re.search(r"Paused by ada \d s ago: its events wait", browser.text(CARD))
    assert log() == [("default", "Paused in database 'default'.")]

    browser.click("Resume")
    browser.wait(lambda: "is to be resumed" in browser.text())
    browser.click("Yes, resume it")
    browser.wait(lambda: browser.text(f"{CARD} .kb-state") == "Up to date")
    assert log()[1:] == [("default", "Resumed in database 'default'.")]


def test_a_relay_honours_the_page(browser, user, alias, site):
    """Its process, the emulator, the button: events wait while it is paused, and then go."""
    left = OutboxRecord.objects.using(alias)
    browser.log_in(user())
    with site.relay():
        waiting(alias)
        assert wait_for(lambda: not left.exists())
        browser.open(PAUSE + WHICH)
        browser.click("Yes, pause it")
        browser.wait(lambda: browser.text(f"{CARD} .kb-state") == "Paused", 15)
        assert not wait_for(lambda: False, 2)
        waiting(alias)
        assert not wait_for(lambda: not left.exists(), 2)
        browser.click("Resume")
        browser.click("Yes, resume it")
        assert wait_for(lambda: not left.exists())


def test_what_is_done_already_is_not_done_or_logged_again(browser, user, alias, log):
    browser.log_in(user())
    for _ in range(2):
        browser.open(PAUSE + WHICH)
        browser.click("Yes, pause it")
        browser.wait(lambda: "paused" in browser.text("ul.messagelist"))
    assert browser.text("ul.messagelist") == "Stream default is paused already."
    assert len(log()) == 1


@pytest.mark.parametrize(("may", "may_not"), [("pause", "test"), ("test", "pause")])
def test_each_has_its_own_permission(browser, user, alias, may, may_not):
    browser.log_in(user("view_stream", f"{may}_stream"))
    browser.open(PAGE)
    hrefs = [each.get_attribute("href") for each in browser.all(".kb-actions a")]
    assert hrefs
    assert all(f"/{may}/" in href for href in hrefs)
    browser.open(f"{PAGE}{may_not}/{WHICH}")
    assert "403" in browser.text("body")
    assert all("403" in line for line in browser.complaints())


@pytest.mark.parametrize("which", ["", "?stream=nobody&database=default", "?stream=default"])
def test_what_there_is_not_is_not_found(browser, user, alias, which):
    browser.log_in(user())
    browser.open(PAUSE + which)
    assert "404" in browser.driver.title + browser.text("body") or "Not Found" in browser.text(
        "body"
    )
    assert all("404" in line for line in browser.complaints())


# A test record


def test_a_test_record_is_followed_to_the_read_back(browser, user, alias, log):
    browser.log_in(user("view_stream", "test_stream"))
    browser.open(PAGE)
    browser.wait(lambda: browser.all(f"{CARD}-test"))
    browser.open(TEST + WHICH)
    assert "straight from this site and past the outbox" in browser.text()
    browser.click("Yes, send it")

    browser.wait(lambda: "Read back the same" in browser.text("#kb-steps"), 20)
    assert [each.text.split("\n")[0] for each in browser.all("#kb-steps b")] == [
        "Caller in account A",
        "Role in account B",
        "Session of the role",
        "Stream",
        "Record sent",
        "Read back",
    ]
    assert "orders in eu-west-1" in browser.text("#kb-steps")
    assert browser.all("#kb-steps .kb-failed") == []
    browser.wait(lambda: browser.text("#kb-working") == "")
    browser.picture("admin-test", 620)
    [(name, message)] = log()
    assert name == "default"
    assert re.fullmatch(
        r"Sent a test record to 'orders': shardId-\S+ \d+, read back: True\.", message
    )


def test_a_hop_that_fails_says_who_mends_it_and_how(browser, user, alias, log):
    browser.log_in(user())
    browser.open(f"{TEST}?stream=audit&database=default")
    browser.click("Yes, send it")
    browser.wait(lambda: browser.all("#kb-steps .kb-failed"), 20)
    failed = browser.text("#kb-steps .kb-failed")
    assert "There is no stream 'gone' (STREAMS['audit']) in account B (222222222222)" in failed
    assert "Who can mend it: account B. Fix: Correct STREAM (KINESIS_STREAM)" in failed
    assert log() == [("audit", "Sent no test record to 'gone': stream-missing.")]


def test_without_scripts_it_is_a_page(browser, user, alias, log):
    browser.log_in(user())
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(TEST + WHICH)
    browser.one("#kb-test [type=submit]").click()
    browser.tell("Emulation.setScriptExecutionDisabled", value=False)
    browser.wait(lambda: "Read back the same" in browser.text("#kb-steps"), 20)
    assert browser.one("#kb-test [type=submit]").get_attribute("value") == "Send another one"
    assert len(log()) == 1


def test_an_answer_that_breaks_off_is_told(browser, user, alias):
    browser.log_in(user())
    browser.open(TEST + WHICH)
    browser.tell("Network.setBlockedURLs", urls=["*/test/*"])
    browser.click("Yes, send it")
    browser.wait(lambda: "The answer broke off" in browser.text("#kb-working"))
    assert all("ERR_BLOCKED_BY_CLIENT" in line for line in browser.complaints())


# Dead letters


@pytest.mark.parametrize(
    ("action", "left", "done"),
    [("Requeue", 4, "Requeued in database 'default'."), ("Discard", 0, "Discarded in database")],
)
def test_dead_letters_are_requeued_and_discarded(browser, user, alias, log, action, left, done):
    letters(alias)
    browser.log_in(user())
    browser.open("/admin/kinesis_bridge/deadletter/")
    browser.one("#action-toggle").click()
    [choice, *_] = [each for each in browser.all("select option") if each.text == action]
    choice.click()
    browser.all("button[name=index]")[0].click()
    browser.wait(lambda: "These 4 dead letters" in browser.text())
    browser.click("Yes, I’m sure")  # noqa: RUF001 - Django's own apostrophe
    browser.wait(lambda: "Dead letters" in browser.text("ul.messagelist"))
    assert DeadLetter.objects.using(alias).count() == 0
    assert OutboxRecord.objects.using(alias).count() == left
    assert len(log()) == 4
    assert all(message.startswith(done) for _, message in log())
