"""The page of ``make live``: each of its buttons. Its processes: tests/acceptance."""

import re

import pytest

from demo_project.live.supervisor import SWITCHES
from tests.support.live import SECONDS, demo, runs

WHY = ("#state", "#note", "#cause", "#fix", "#side")


@pytest.fixture
def live(tmp_path):
    with demo(tmp_path) as running:
        yield running


def number(browser, name):
    return int(browser.text(f"[data-show={name}]").replace(",", ""))


def press(browser, selector):
    browser.wait(lambda: browser.one(selector).click() or True)


@pytest.fixture
def page(window, live):
    window.reset()
    window.be_a_laptop()
    window.url = live.url
    window.open("")
    press(window, "#traffic")  # off: only what the test does
    window.wait(lambda: window.text("#state") == "Events flow", SECONDS)
    window.wait(lambda: number(window, "arrived") >= 10, SECONDS)  # the customers
    window.wait(lambda: number(window, "arrived") == number(window, "committed"), SECONDS)
    yield window
    window.driver.get("about:blank")


def break_it(browser, switch, cause, shop=None):
    """Throw a switch, do something in the shop: it waits, and the cause is named."""
    press(browser, f"[data-switch={switch}]")
    pressed = f"[data-switch={switch}][aria-pressed=true]"
    browser.wait(lambda: browser.all(pressed), SECONDS)
    arrived, before = number(browser, "arrived"), number(browser, "committed")
    press(browser, shop or "[data-post='shop/place/']")
    browser.wait(lambda: number(browser, "committed") > before, SECONDS)
    browser.wait(lambda: number(browser, "waiting") > 0, SECONDS)
    visible = "#why:not([hidden])"
    browser.wait(lambda: re.search(cause, browser.text(visible)), SECONDS)
    assert re.search("What happened .+ What to do .+ Who can mend it .+", browser.text(visible))
    assert "events wait" in browser.text("#state")
    for part in (".way", "#role", *map("[data-switch={}]".format, SWITCHES), ".says", *WHY):
        assert browser.is_in_sight(part), part
    assert browser.run("return document.documentElement.scrollHeight <= innerHeight")
    assert number(browser, "arrived") <= arrived + 20  # a throttled stream takes a few
    if switch in {"down", "external-id"}:  # those that the documents show
        browser.picture(f"live-{switch}", 800)


def repair(browser):
    press(browser, "[data-switch=repair]")
    done = "Everything that waited has arrived"
    browser.wait(lambda: done in browser.text("#note"), SECONDS)
    browser.wait(lambda: number(browser, "arrived") == number(browser, "committed"), SECONDS)
    assert (number(browser, "lost"), number(browser, "reordered")) == (0, 0)


def is_over(browser):
    """What waits for a moment after a repair is said to be no outage any more."""
    browser.run(
        "window.seen = [];"
        "const note = () => window.seen.push(document.body.dataset.state);"
        "new MutationObserver(note).observe(document.body, { attributes: true });"
    )
    before = number(browser, "committed")
    press(browser, "[data-post='shop/thousand/']")
    browser.wait(lambda: number(browser, "committed") == before + 1000, SECONDS)
    browser.wait(lambda: number(browser, "arrived") == before + 1000, SECONDS)
    assert set(browser.run("return window.seen")) == {"flows"}


def test_each_button_of_the_page(page):
    """The shop, every switch, and its repair."""
    press(page, "[data-post='shop/place/']")
    placed = page.wait(lambda: re.match(r"Order \d+", page.text("#said")), SECONDS)[0]
    page.wait(lambda: f"created {placed} ·" in page.text("#events"), SECONDS)
    press(page, f"[aria-label='Edit {placed.lower()}']")
    page.wait(lambda: f"updated {placed} ·" in page.text("#events"), SECONDS)
    press(page, f"[aria-label='Delete {placed.lower()}']")
    page.wait(lambda: f"deleted {placed} ·" in page.text("#events"), SECONDS)
    press(page, "[data-post='shop/roll-back/']")
    page.wait(lambda: "no order, and no event" in page.text("#said"), SECONDS)
    all_of_it = 10 + 3 + 1000  # customers, the order, and a thousand; none of what rolled back
    press(page, "[data-post='shop/thousand/']")
    page.wait(lambda: number(page, "arrived") >= all_of_it, SECONDS)
    page.wait(lambda: number(page, "arrived") == number(page, "committed"), SECONDS)
    assert re.fullmatch(r"5\d:\d\d min|60:00 min", page.text("#left"))
    assert page.text("#session") == "shop-web-1"
    page.picture("live-page", 800)

    break_it(page, "down", "fails on its own side")
    repair(page)
    is_over(page)
    break_it(page, "throttled", "AWS throttles: Rate exceeded", "[data-post='shop/thousand/']")
    repair(page)
    denied = "user/site may not assume role .*same ExternalId .*and B's, together"
    break_it(page, "external-id", denied)
    assert page.text("#role-name") == "none now"
    repair(page)
    relay = int(page.text("#relay").split()[-1])
    break_it(page, "kill", "No relay runs .*Start one, under a supervisor")
    assert not runs(relay)
    assert page.text("#relay") == "not running"
    repair(page)
    assert page.text("#role-name") == "EventWriter"

    page.be_dark()
    page.picture("live-page-dark", 800)
    page.be_a_phone()
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.run(wide) <= 0
    page.picture("live-page-phone")
    assert page.complaints() == []
