"""The page "Kinesis bridge": what it shows, to whom, in which light, and how it stays fresh."""

import re

import pytest

from kinesis_bridge.models import OutboxRecord, RelayProcess
from tests.support.figures import backlog, history, letters, outage, relay
from tests.support.outbox import waiting
from tests.support.servers import wait_for

PAGE = "/admin/kinesis_bridge/stream/"
CARD = "#kb-1-1"


@pytest.fixture
def busy(alias):
    """A site that has run for hours and has had its troubles."""
    history(alias)
    relay(alias)
    relay(alias, "web-2", 812, {"default": [*range(32, 60), 63], "audit": [5]})
    outage(alias, ended=18)
    letters(alias)
    backlog(alias, 12, 3)
    return alias


def test_the_admin_leads_to_it_and_shows_everything(browser, user, busy):
    browser.log_in(user())
    browser.click("Streams")

    assert browser.text("#content h1") == "Kinesis bridge"
    assert "2 relays are alive" in browser.text("#kb-1-relays")
    assert "web-2:812" in browser.text("#kb-1-relays")
    assert "32-59, 63" in browser.text("#kb-1-relays")
    card = browser.text(CARD)
    for words in (
        "default Sending orders · eu-west-1",
        "Waiting 12 oldest: ",
        "Dead letters 4 1 hold up their key",
        "Lanes in use 61 of 64",
        "Role arn:aws:iam::222222222222:role/EventWriter",
        "Session shop-web1 expires in 43 min web-1:4711",
        "The last outage ended 18 min ago. Role EventWriter may not write",
        "Who can mend it: account B. Fix: In account B, allow kinesis:PutRecords",
        "ValidationException",
        "1 record is larger than 1 MiB.",
    ):
        assert words in card, (words, card)
    assert len(browser.all(f"{CARD} svg path.kb-line[d^=M]")) == 6
    assert "audit Up to date" in browser.text("#kb-1-2")
    browser.picture("admin-page", 1245)


def test_dead_letters_lead_to_their_list(browser, user, busy):
    browser.log_in(user())
    browser.open(PAGE)
    browser.click("RecordTooLarge")
    assert "1 dead letter" in browser.text()
    assert "e-large" in browser.text()


def test_each_chart_has_a_table_and_the_pointer_reads_it(browser, user, busy):
    browser.log_in(user())
    browser.open(PAGE)
    browser.unfold(CARD)
    rows = browser.all(f"{CARD}-table tbody tr")
    assert len(rows) == 60
    middle = rows[30].text.split()

    svg = browser.all(f"{CARD} svg")[0]
    browser.run("arguments[0].scrollIntoView({block: 'center'})", svg)
    browser.run(
        """const box = arguments[0].getBoundingClientRect();
        arguments[0].dispatchEvent(new PointerEvent("pointermove", {
            clientX: box.left + box.width * 30 / 59, clientY: box.top + 40, bubbles: true}))""",
        svg,
    )
    assert browser.all(f"{CARD} .kb-readout")[0].text.split() == middle[:2]


def test_longer_windows(browser, user, alias):
    history(alias, hours=4)
    browser.log_in(user())
    browser.open(PAGE)
    browser.click("Last 6 hours")
    assert browser.text(".kb-windows [aria-current]") == "Last 6 hours"
    browser.unfold(CARD)
    assert len(browser.all(f"{CARD}-table tbody tr")) == 72


def test_it_refreshes_itself_and_keeps_open_what_was_opened(browser, user, busy):
    browser.log_in(user())
    browser.open(PAGE)
    browser.unfold(CARD)
    browser.one(f"{CARD}-toggle").send_keys("")  # has the focus
    first = browser.text("#kb-at")
    for _ in range(3):
        waiting(busy)

    browser.wait(lambda: "Waiting 15" in browser.text(CARD))

    assert browser.text("#kb-at") > first
    assert browser.one(f"{CARD} details").get_attribute("open")
    focused = browser.run("return document.activeElement.id")
    assert focused == CARD[1:] + "-toggle"


def asked(browser):
    return browser.run(
        "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/live/'))"
        ".length"
    )


def look_again(browser, *, hidden):
    browser.run(
        "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))",
        hidden,
    )


def seen_soon(browser, words, where=CARD):
    """Look until the page shows these words, more often than it would by itself."""

    def seen():
        look_again(browser, hidden=False)
        return words in browser.text(where)

    browser.wait(seen, 15)


def test_a_hidden_tab_asks_for_nothing_and_looks_when_it_is_seen_again(browser, user, alias):
    browser.log_in(user())
    browser.open(PAGE)
    look_again(browser, hidden=True)
    waiting(alias)
    assert not wait_for(lambda: asked(browser), 6)
    look_again(browser, hidden=False)
    browser.wait(lambda: "Waiting 1" in browser.text(CARD), 4.5)


def test_a_request_that_fails_is_told_and_the_next_one_mends_it(browser, user, alias):
    browser.log_in(user())
    browser.open(PAGE)
    browser.tell("Network.setBlockedURLs", urls=["*/live/*"])
    look_again(browser, hidden=False)
    browser.wait(lambda: "No fresh figures: the site does not answer" in browser.text("#kb-bar"))
    waiting(alias)
    browser.tell("Network.setBlockedURLs", urls=[])
    look_again(browser, hidden=False)
    browser.wait(lambda: browser.text("#kb-trouble") == "")
    assert "Waiting 1" in browser.text(CARD)
    assert all("ERR_BLOCKED_BY_CLIENT" in line for line in browser.complaints())


def test_what_takes_long_is_asked_for_more_seldom(browser, user, alias):
    """Each answer takes 1.5 s and more: the pause after it is longer than the usual five."""
    browser.log_in(user())
    browser.open(PAGE)
    slow = {"offline": False, "latency": 1500, "downloadThroughput": -1, "uploadThroughput": -1}
    try:
        browser.tell("Network.emulateNetworkConditions", **slow)
        look_again(browser, hidden=False)
        first, second = browser.wait(lambda: at_least_two(browser.run(ASKED)), 60)
    finally:
        browser.tell("Network.emulateNetworkConditions", **{**slow, "latency": 0})
    assert second["start"] - first["end"] >= 3.9 * (first["end"] - first["start"])


ASKED = """
    const found = performance.getEntriesByType("resource").filter((e) => e.name.includes("/live/"));
    return found.map((each) => ({start: each.startTime, end: each.responseEnd}));
"""


def at_least_two(found):
    return found[:2] if len(found) > 1 else None


def test_who_was_logged_out_is_told(browser, user, alias):
    browser.log_in(user())
    browser.open(PAGE)
    browser.driver.delete_all_cookies()
    look_again(browser, hidden=False)
    browser.wait(lambda: "you are logged out" in browser.text("#kb-bar"))


def test_without_the_permission_there_is_no_page(browser, user, alias):
    browser.log_in(user("view_deadletter"))
    assert "Streams" not in browser.text("body")
    browser.open(PAGE)
    assert "403" in browser.driver.title + browser.text("body")
    assert all("403" in line for line in browser.complaints())


def test_who_may_only_look_has_no_actions(browser, user, busy):
    browser.log_in(user("view_stream"))
    browser.open(PAGE)
    assert "Waiting" in browser.text(CARD)
    assert browser.all(".kb-actions a") == []
    assert browser.all(".kb-reasons a") == []


def overflow(browser):
    """How many pixels the page is wider than the window."""
    return browser.run(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def brightness(browser, selector, what):
    colour = browser.run(
        "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]",
        selector,
        what,
    )
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_dark_theme(browser, user, busy):
    browser.be_dark()
    browser.log_in(user())
    browser.open(PAGE)
    assert brightness(browser, "body", "backgroundColor") < 60
    assert brightness(browser, f"{CARD} dd", "color") > 180
    assert brightness(browser, f"{CARD} .kb-line", "stroke") > 120
    browser.picture("admin-page-dark", 1245)


@pytest.mark.parametrize("hours", [1, 24])
def test_on_a_phone_nothing_is_wider_than_it(browser, user, busy, hours):
    letters(busy, 1, code="X" * 100, message="y" * 300)
    browser.be_a_phone()
    browser.log_in(user())
    browser.open(f"{PAGE}?hours={hours}")
    assert overflow(browser) <= 0
    browser.unfold()
    assert overflow(browser) <= 0
    for way in ("pause", "test"):
        browser.open(f"{PAGE}{way}/?stream=default&database=default")
        assert overflow(browser) <= 0


def test_a_picture_of_a_phone(browser, user, busy):
    browser.be_a_phone()
    browser.log_in(user())
    browser.open(PAGE)
    assert browser.run("return window.innerWidth") == 390
    browser.picture("admin-page-phone", 1500)


def test_without_scripts_everything_is_there(browser, user, busy):
    browser.log_in(user())
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(PAGE)
    assert "reload it" in browser.text()
    assert "Waiting 12" in browser.text(CARD)


def test_text_of_anyones_is_text(browser, user, alias):
    evil = "<img src=x onerror=alert(1)>"
    letters(alias, 1, stream=evil[:64], code=evil, message=evil)
    relay(alias, evil, lanes={evil: [1]})
    row = outage(alias)
    row.cause = row.fix = row.side = evil
    row.save(using=alias)
    browser.log_in(user())
    browser.open(PAGE)
    look_again(browser, hidden=False)
    browser.wait(lambda: asked(browser))
    assert browser.text().count(evil) >= 6
    assert browser.all("#content img") == []


def test_an_outage_and_a_missing_relay_are_the_first_to_be_seen(browser, user, alias):
    outage(alias)
    backlog(alias, 5, 700)
    browser.log_in(user())
    browser.open(PAGE)
    assert "No relay is alive in this database" in browser.text()
    assert browser.text(f"{CARD} .kb-state") == "No relay"
    relay(alias)
    browser.open(PAGE)
    assert browser.text(f"{CARD} .kb-state") == "Takes no events"
    assert "It has taken no events for 7 min. Role EventWriter may not write" in browser.text(CARD)
    assert "oldest: 11 min" in browser.text(CARD)
    browser.picture("admin-outage", 640)


def test_a_relay_of_its_own_is_seen_at_work(browser, user, alias, site):
    """A relay's process, the emulator, and events that go: nothing is made up."""
    browser.log_in(user())
    browser.open(PAGE)
    waiting(alias, key="k")
    with site.relay():
        assert wait_for(lambda: not OutboxRecord.objects.using(alias).exists())
        seen_soon(browser, "1 relay is alive", "#kb-1-relays")
        seen_soon(browser, "Session demo_project-")
        seen_soon(browser, "Sent in the last minute 1")
        assert re.search(r"expires in (59 min|1 h)", browser.text(CARD))
        sent = OutboxRecord.objects.using(alias)
        waiting(alias, stream="audit")  # account B has no such stream
        seen_soon(browser, "There is no stream 'gone'", "#kb-1-2")
        assert browser.text("#kb-1-2 .kb-state") == "Takes no events"
        assert sent.filter(stream="audit").count() == 1
    assert wait_for(lambda: not RelayProcess.objects.using(alias).exists())
