"""What is wrong with the settings, in Japanese: by commands, by the page and by the checks."""

import json
import re
from io import StringIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.utils.translation import override

from kinesis_bridge.checks import check_declarations, check_settings
from kinesis_bridge.conf import get_config
from kinesis_bridge.deploy_checks import check_emulator, check_keys_in_settings
from kinesis_bridge.outbox_checks import check_outbox
from tests.support.admin import (  # noqa: F401 - fixtures
    fixture_browser,
    fixture_everything,
    fixture_site,
    text,
)
from tests.support.aws import ROLE_ARN
from tests.support.outbox import OutboxOn

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
WRONG = {
    "ROLES": {"w": {"ROLE_ARN": ROLE_ARN, "DURATION_SECONDS": 1, "EXTERNAL_ID": "e" * 2000}},
    "STREAMS": {"default": {"STREAM": "or ders", "ROLE": "none", "OPTIONS": {"CONCURRENCY": "4"}}},
    "STRICT": "yes",
    "SOURSE": "/shop",
}
SAID = [
    'KINESIS_BRIDGE["SOURSE"] はここでは使えません。使えるのは SOURCE, SCHEMAS, ',
    'KINESIS_BRIDGE["ROLES"]["w"]["DURATION_SECONDS"] は 900 から 43200 秒でなければなりません',
    'KINESIS_BRIDGE["STREAMS"]["default"]["STREAM"] はストリームの名前になりません: \'or ders\'。',
    '["OPTIONS"]["CONCURRENCY"] は 整数 でなければなりません (str ではなく)。',
]
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:The EMAIL_.* setting is deprecated"),
]


@pytest.fixture
def japanese(settings):
    settings.LANGUAGE_CODE = "ja"


@pytest.fixture
def wrong(settings, fresh):
    settings.KINESIS_BRIDGE = WRONG


def said(*arguments):
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue(), str(caught.value)


@pytest.mark.parametrize("command", ["kinesis_status", "send_kinesis_test", "kinesis_relay"])
def test_commands_say_every_wrong_setting(wrong, japanese, command):
    _, error = said(command)
    first, *lines = error.splitlines()
    assert first == "settings.KINESIS_BRIDGE を使用できません:"
    assert len(lines) == 7
    assert all(re.match(r"  KINESIS_BRIDGE\[", line) for line in lines)
    assert all(JAPANESE.search(line) for line in lines)
    assert all(part in error for part in SAID)
    assert '。例: "SOURCE": ... (kinesis_bridge.E002)' in error


def test_the_error_itself_and_json_stay_english(wrong, japanese):
    with pytest.raises(ImproperlyConfigured) as caught:
        get_config()
    assert not JAPANESE.search(str(caught.value))
    out, _ = said("kinesis_status", "--json")
    assert json.loads(out)["error"]["message"] == str(caught.value)
    out, _ = said("kinesis_doctor", "--json")
    assert not JAPANESE.search(out)


def test_the_doctor_says_it(wrong, japanese):
    out, _ = said("kinesis_doctor")
    assert "FAIL  settings" in out
    assert "設定が使えません: KINESIS_BRIDGE" in out
    assert all(part in out for part in SAID)


def test_a_stream_and_a_database_that_there_are_not(japanese, settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default")]
    _, error = said("kinesis_relay", "--stream", "nope")
    assert error.startswith("KINESIS_BRIDGE[\"STREAMS\"] に 'nope' がありません。あるもの: ")
    _, error = said("kinesis_relay", "--database", "nope")
    assert error.startswith("DATABASES に 'nope' がありません。あるもの: ")
    _, error = said("kinesis_relay", "--database", "other")
    assert error.startswith("データベース 'other' にアウトボックスがありません。ルーターの")


def test_the_page_says_it(everything, wrong, japanese):
    page = text(everything.get("/admin/kinesis_bridge/stream/"))
    assert "settings.KINESIS_BRIDGE を使用できません: KINESIS_BRIDGE[" in page


def test_check_prints_it_in_the_language_and_gives_it_to_programs_in_english(wrong, japanese):
    with pytest.raises(SystemCheckError) as caught:
        call_command("check", "auth")  # of models only these: others ask their database
    printed = str(caught.value)
    assert all(part in printed for part in SAID)
    assert "\tHINT: 例: " in printed
    for message in check_settings():
        assert not JAPANESE.search(f"{message.msg} {message.hint}")
        with override("en"):
            assert str(message) == f"?: ({message.id}) {message.msg}\n\tHINT: {message.hint}"
        with override(None):  # as migrate has it
            assert str(message).startswith(f"?: ({message.id}) {message.msg}")


def test_checks_of_other_modules(japanese, settings):
    settings.KINESIS_BRIDGE = {
        **settings.KINESIS_BRIDGE,
        "STREAMS": {"audit": settings.KINESIS_BRIDGE["STREAMS"]["audit"]},
    }
    settings.SOME_ACCESS_KEY_ID = "a key"
    found = [*check_declarations(), *check_emulator(), *check_keys_in_settings()]
    found += check_outbox(databases=["default"])
    assert {one.id for one in found} >= {f"kinesis_bridge.E0{number}" for number in (32, 50, 52)}
    for message in found:
        first, _, hint = str(message).partition("\n\tHINT: ")
        assert JAPANESE.search(first), first
        assert JAPANESE.search(hint), hint
        assert "{" not in str(message)
