"""The page in Japanese: the same page, in which no word is cut off and none is left in English."""

from datetime import timedelta

import pytest
from django.utils import timezone

from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import Path, explain_named
from kinesis_bridge.models import Stream
from tests.support.figures import backlog, history, letters, relay

PAGE = "/admin/kinesis_bridge/stream/"
CARD = "#kb-1-1"
WIDER = """
    return [...document.querySelectorAll("#content *")].filter((each) =>
        each.scrollWidth > each.clientWidth + 1 && each.clientWidth &&
        getComputedStyle(each).overflowX === "visible" &&
        getComputedStyle(each).display !== "inline").map((each) => each.outerHTML.slice(0, 80));
"""


@pytest.fixture
def troubled(alias):
    history(alias)
    relay(alias)
    letters(alias)
    backlog(alias, 12, 3)
    config = get_config()
    stream = config.stream("default")
    path = Path(hop="stream", role=config.role_of(stream), stream=stream, region="eu-west-1")
    error = explain_named("stream-denied", path)
    Stream.objects.using(alias).create(
        alias="default",
        outage=error.name,
        side=error.side,
        cause=str(error.message),
        fix=str(error.hint),
        began=timezone.now() - timedelta(minutes=25),
        ended=timezone.now() - timedelta(minutes=18),
    )


@pytest.fixture
def reader(browser, user, troubled):
    """Somebody who wants Japanese."""
    browser.log_in(user())
    browser.driver.add_cookie({"name": "django_language", "value": "ja"})
    browser.open(PAGE)
    return browser


def test_everything_is_there_in_japanese(reader):
    assert reader.text("#content h1") == "Kinesis ブリッジ"
    assert "1 個のリレーが稼働中" in reader.text("#kb-1-relays")
    card = reader.text(CARD)
    for words in (
        "default 送信中 orders · eu-west-1",
        "待機中 12 最古: ",
        "デッドレター 4 キー停止 1 件",
        "使用中のレーン 32 64 レーン中",
        "最後の障害は 18 分前に終わりました。",
        "に対するこの操作が許可されていません。",
        "対処できる側: アカウントB。 対処: アカウントB",
        "毎分の再送レコード数",
    ):
        assert words in card, (words, card)
    # Its words need a font: apt-get install fonts-ipafont-gothic
    reader.picture("admin-page-ja", 1245)


def test_it_stays_japanese_when_it_refreshes_itself(reader):
    reader.run("document.getElementById('kb-live').replaceChildren()")
    reader.wait(lambda: "使用中のレーン" in reader.text(CARD))


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_no_word_is_wider_than_its_place(reader, phone):
    if phone:
        reader.be_a_phone()
        reader.open(PAGE)
    assert reader.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert reader.run(WIDER) == []


def test_a_test_record_is_followed_in_japanese(reader):
    reader.open(f"{PAGE}test/?stream=default&database=default")
    reader.click("はい、送信します")
    reader.wait(lambda: "読み戻し 同じものを確認" in reader.text("#kb-steps"), 15)
    assert "アカウントBのロール" in reader.text("#kb-steps")
