"""Texts that are English to programs, and in the reader's language where people read them."""

import copy
import pickle
from dataclasses import asdict, dataclass

import orjson
import pytest
from django.utils.translation import override

from kinesis_bridge.conf import RoleConfig, StreamConfig
from kinesis_bridge.diagnosis import Path, explain_as
from kinesis_bridge.findings import FINDINGS, in_words, of_name, side_in_words, title_in_words
from kinesis_bridge.words import Text, joined, recognised, said_by, text_of, translated

ROLE = RoleConfig(alias="writer", role_arn="arn:aws:iam::222222222222:role/EventWriter")
STREAM = StreamConfig(alias="default", stream="orders", role="writer", region="eu-west-1")
CALLER = "arn:aws:sts::111111111111:assumed-role/Site/i-1"
BOTH = "events waiting: {pending}, the oldest for {seconds} seconds"


@dataclass
class Holder:
    text: str


def test_it_is_the_english_text_to_everything_that_takes_one():
    text = Text(BOTH, pending="1,000", seconds="7")

    english = "events waiting: 1,000, the oldest for 7 seconds"
    assert text == english
    assert type(str(text)) is str
    with override("ja"):
        assert f"{text}" == english
        assert orjson.dumps({"text": text}) == orjson.dumps({"text": english})
        assert translated(text) == "1,000 件のイベントが待機中、最古は 7 秒前"


@pytest.mark.parametrize(
    "again",
    [
        copy.deepcopy,
        lambda text: pickle.loads(pickle.dumps(text)),
        lambda text: asdict(Holder(text))["text"],
    ],
)
def test_a_copy_can_still_be_translated(again):
    text = again(Text(BOTH, pending="{not} a name", seconds="7"))

    with override("ja"):
        assert translated(text) == "{not} a name 件のイベントが待機中、最古は 7 秒前"


def test_values_that_are_texts_are_translated_too():
    text = Text("{account}: trust policy of role {role}", account=Text("account B"), role="W")

    with override("ja"):
        assert translated(text) == "アカウントB: ロール W の信頼ポリシー"


def test_what_is_no_text_of_ours_is_left_as_it_is():
    with override("ja"):
        assert translated("account B") == "account B"
        assert translated("") == ""


@pytest.mark.parametrize("row", FINDINGS, ids=lambda row: row.name)
def test_what_a_row_kept_in_english_is_read_as_what_the_error_said(row):
    """The relay writes str; the page must not know less than the process that had the error."""
    hop = row.hops[0]
    path = Path(hop=hop, role=ROLE, stream=STREAM, region="eu-west-1", caller_arn=CALLER)
    path.facts.update(
        dict.fromkeys(("host", "address", "port", "fix", "database", "age"), "a fact")
    )
    path.facts.update(dict.fromkeys(("database_name", "pending", "count", "blocking"), "a fact"))
    path.facts.update(dict.fromkeys(("limit", "wanted", "kib", "status"), "a fact"))
    error = explain_as(row, path, code="Code", message="AWS says {this}: no.")
    finding = of_name(error.name)

    with override("ja"):
        for text, template in ((error.message, finding.cause), (error.hint, finding.fix)):
            assert in_words(str(text), template) == translated(text)
        for title in error.documents:
            assert title_in_words(title) != title
            assert title_in_words(title).startswith("アカウント")
        assert side_in_words(error.side) != error.side
    assert in_words(str(error.message), finding.cause) == error.message


def test_a_text_that_was_not_made_so_stays_english():
    with override("ja"):
        assert in_words("Something else.", of_name("stream-denied").cause) == "Something else."
        assert in_words("Of another version.", None) == "Of another version."
    assert of_name("of-another-version") is None


def test_a_name_that_stands_twice_must_be_the_same_twice():
    template = "{a} and {b} and {a}"
    assert recognised("x and y and x", [template]).values == {"a": "x", "b": "y"}
    assert not isinstance(recognised("x and y and z", [template]), Text)


def test_texts_that_are_joined_are_translated_each_for_itself():
    text = joined("{} ", [Text("account B"), "as it is", Text("none")])
    assert text == "account B{} as it is{} none"
    with override("ja"):
        assert translated(text) == "アカウントB{} as it is{} なし"
    assert joined(", ", []) == ""


def test_an_error_is_said_in_the_language_and_is_english_as_text():
    error = ValueError(Text("{account}: trust policy of role {role}", account="B", role="W"))
    with override("ja"):
        assert said_by(error) == "B: ロール W の信頼ポリシー"
        assert str(error) == "B: trust policy of role W"
        assert said_by(KeyError("plain", 1)) == "('plain', 1)"
    assert isinstance(text_of(error), Text)
