"""A site in Japanese: its admin and its commands for people; programs read what they always did."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command, load_command_class
from django.utils import timezone
from rich.cells import cell_len

from kinesis_bridge.conf import get_config
from kinesis_bridge.diagnosis import Path, explain_named
from kinesis_bridge.models import DeadLetter, RelayProcess, Stream
from tests.support.admin import (  # noqa: F401 - fixtures
    fixture_browser,
    fixture_everything,
    fixture_site,
    log,
    text,
)
from tests.support.aws import ROLE_ARN, Answers, AwsServer, bridge, sts_error
from tests.support.figures import backlog, history, letters, relay
from tests.support.outbox import OutboxOn

PAGE = "/admin/kinesis_bridge/stream/"
LOADERS = ["django.template.loaders.app_directories.Loader"]
WHICH = {"stream": "default", "database": "default"}
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
# What differs from one run to the next, whatever the language.
RUNS = re.compile(
    r"\d+ ms|\d+ seconds|shardId-\d+ \d+|127\.0\.0\.1:\d+"
    r'|"(?:elapsed_ms|seconds|age_seconds|partition_key|sequence_number|shard_id|created|updated)"'
    r": [^\n]+"
)
COMMANDS = [
    ["kinesis_assume_role", "nope"],
    ["kinesis_status"],
    ["kinesis_status", "--stream", "nope"],
    ["kinesis_deadletter", "list"],
    ["kinesis_deadletter", "requeue"],
    ["kinesis_doctor"],
    ["kinesis_doctor", "--write"],
    ["kinesis_doctor", "--stream", "nope"],
    ["kinesis_events"],
    ["kinesis_events", "--schema", "nope"],
    ["kinesis_iam", "--kms-key", "arn:aws:kms:eu-west-1:333333333333:key/1234abcd"],
    ["kinesis_iam", "--format", "cli"],
    ["kinesis_local", "--port", "99999"],
    ["kinesis_relay", "--stream", "nope"],
    ["kinesis_relay", "--threads", "0"],
    ["kinesis_snapshot", "testapp.Place", "--dry-run"],
    ["kinesis_snapshot", "--list"],
    ["kinesis_snapshot"],
    ["kinesis_tail", "--limit", "0"],
    ["kinesis_tail", "--from", "latest", "--limit", "1"],
    ["send_kinesis_test"],
    ["send_kinesis_test", "--stream", "nope"],
    ["send_kinesis_test", "--count", "0"],
]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.DATABASE_ROUTERS = [OutboxOn("default")]
    given = settings.KINESIS_BRIDGE
    streams = {alias: {**one, "DELIVERY": "outbox"} for alias, one in given["STREAMS"].items()}
    settings.KINESIS_BRIDGE = {**given, "STREAMS": streams}


@pytest.fixture
def japanese(settings, outbox):
    settings.LANGUAGE_CODE = "ja"


@pytest.fixture
def refused(settings, monkeypatch, outbox, fresh):
    """An AWS of which STS refuses the role."""
    answers = Answers()
    answers.replaced |= {"AssumeRole": sts_error("AccessDenied", "No.")}
    with AwsServer(answers) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        settings.KINESIS_BRIDGE = bridge()
        yield


def said(*arguments):
    """What a command says on stdout and stderr, and as its error."""
    out, err = StringIO(), StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), err.getvalue() + str(error)
    return out.getvalue(), err.getvalue()


# Programs


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_json_is_the_same_in_every_language(arguments, settings):
    letters("default")
    english, _ = said(*arguments, "--json")
    settings.LANGUAGE_CODE = "ja"
    japanese, _ = said(*arguments, "--json")

    assert english
    assert RUNS.sub("", japanese) == RUNS.sub("", english)
    assert not JAPANESE.search(japanese)


def test_an_error_is_english_in_logs_and_rows(japanese):
    stream = get_config().stream("default")
    error = explain_named("stream-not-ready", Path(hop="stream", stream=stream), status="DELETING")
    assert str(error).startswith("Stream 'orders' (STREAMS['default']) in account B is DELETING")
    assert not JAPANESE.search(f"{error} {error.message} {error.hint} {error.side}")


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("command", ["send_kinesis_test", "kinesis_doctor"])
def test_the_json_of_a_refusal_is_the_same_too(command, settings):
    english, _ = said(command, "--json")
    settings.LANGUAGE_CODE = "ja"
    japanese, _ = said(command, "--json")
    assert "account B (222222222222): trust policy of role EventWriter" in english
    assert RUNS.sub("", japanese) == RUNS.sub("", english)


# People


def test_status_is_a_japanese_table(japanese):
    backlog("default", 3, 3700)
    Stream.objects.create(alias="audit", paused=timezone.now())
    out, _ = said("kinesis_status")

    assert "データベース default、稼働中のリレー: なし" in out
    assert "1 時間 1 分" in out
    assert "一時停止中: audit (" in out
    assert "起動: manage.py kinesis_relay" in out
    head, *rows = [line for line in out.splitlines() if re.match(r"ストリーム|default|audit", line)]
    assert re.split(r" {2,}", head.strip())[:3] == ["ストリーム", "順序", "待機中"]
    assert len(rows) == 2
    assert cell_len(head.rstrip()) <= 80


def test_the_doctor_speaks_japanese(japanese):
    out, error = said("kinesis_doctor")
    assert "ok  clock           AWS との差は 1 分以内" in out
    assert "補足: カナリアを送信してください: --write" in out
    assert error == ""


def test_the_test_record_goes_a_japanese_way(japanese):
    out, _ = said("send_kinesis_test")
    lines = out.splitlines()
    assert [line.split("  ")[-1] for line in lines if "読み戻し" in line] == ["はい"]
    assert re.search(r"書き込み  1 件送信、先頭: shardId-\d+ \d+", out)
    values = [re.fullmatch(r"( *\S.*?)  (\S.*)", line)[1] for line in lines]
    assert {cell_len(value) for value in values} == {12}, "one column of labels, though wide ones"


@pytest.mark.usefixtures("refused")
def test_a_refusal_is_explained_in_japanese(japanese):
    out, error = said("send_kinesis_test")
    assert "\n担当: アカウントAまたはアカウントB\n対処: " in error
    assert f"ロール {ROLE_ARN} (ROLES['writer']) を引き受けられません。" in error
    assert "アカウントA (111111111111): arn:aws:iam::111111111111:user/site のアイデンティ" in error
    assert "アカウントB (222222222222): ロール EventWriter の信頼ポリシー" in out
    assert "{" not in error


@pytest.mark.usefixtures("refused")
def test_the_doctor_names_cause_side_and_fix_in_japanese(japanese):
    out, error = said("kinesis_doctor")
    assert "FAIL  assume-role" in out
    assert "      担当: アカウントAまたはアカウントB\n      対処: 2 つのドキュメントを" in out
    assert error.startswith("問題あり: assume-role")


def test_help_is_japanese_where_the_language_is(japanese):
    command = load_command_class("kinesis_bridge", "kinesis_relay")
    told = command.create_parser("manage.py", "kinesis_relay").format_help()
    assert "アウトボックスのコミット済みイベントをストリームへ送信します。" in told
    assert "標準出力に JSON ドキュメントを 1 つ出力します。" in told


def test_usage_errors_are_japanese(japanese):
    assert said("kinesis_relay", "--health-port", "99999")[1].startswith("--health-port は 0")


# The admin


def test_the_page_is_japanese(everything, japanese):
    history("default")
    relay("default")
    letters("default")
    backlog("default")
    page = text(everything.get(PAGE))
    for words in (
        "Kinesis ブリッジ",
        "1 個のリレーが稼働中",
        "理由別のデッドレター",
        "毎分のイベント数",
        "テストレコードの送信",
        "64 レーン中",
    ):
        assert words in page


def test_an_outage_that_a_row_has_in_english_is_told_in_japanese(everything, japanese):
    config = get_config()
    stream = config.stream("default")
    path = Path(hop="stream", role=config.role_of(stream), stream=stream, region="eu-west-1")
    error = explain_named("stream-denied", path)
    Stream.objects.create(
        alias="default",
        outage=error.name,
        side=error.side,
        cause=str(error.message),
        fix=str(error.hint),
        began=timezone.now() - timedelta(minutes=7),
    )
    RelayProcess.objects.create(
        id="r1", host="web-1", pid=1, started=timezone.now(), seen=timezone.now()
    )
    page = text(everything.get(PAGE))
    assert "7 分前からイベントを受け付けていません。" in page
    assert "に対するこの操作が許可されていません。" in page
    assert "対処できる側: アカウントB" in page
    assert "下記の許可ポリシーを" in page
    assert "アカウントB (222222222222)" in page


def test_a_test_record_is_followed_in_japanese(everything, japanese):
    page = text(everything.post(f"{PAGE}test/", WHICH))
    assert "アカウントAの呼び出し元 arn:aws:iam::111111111111:user/site" in page
    assert "1 件送信、先頭: " in page
    assert "読み戻し 同じものを確認" in page
    assert log()[-1][3].startswith("'orders' へテストレコードを送信しました: ")


def test_who_pauses_is_asked_and_logged_in_japanese(everything, japanese):
    assert "一時停止します。2 秒以内に" in text(everything.get(f"{PAGE}pause/", WHICH))
    everything.post(f"{PAGE}pause/", WHICH)
    assert log()[-1][3] == "データベース 'default' で一時停止しました。"


def test_dead_letters_are_settled_in_japanese(everything, japanese):
    letters("default")
    page = text(everything.get("/admin/kinesis_bridge/deadletter/"))
    assert "デッドレター" in page
    assert "(設定にないもの)" in page


def test_the_columns_of_records_and_letters_have_japanese_names(everything, japanese):
    letters("default")
    backlog("default")
    number = DeadLetter.objects.latest("pk").pk
    for url in ("outboxrecord/", f"deadletter/{number}/change/"):
        page = text(everything.get(f"/admin/kinesis_bridge/{url}"))
        for label in ("ストリーム", "レーン", "パーティションキー", "イベント ID", "発行日時"):
            assert label in page, (url, label)
        assert not re.search(r"Partition key|Event id|Created", page, re.IGNORECASE)
    for label in ("アウトボックス ID", "失敗日時", "コード", "メッセージ", "後続を保留"):
        assert label in page, label


def test_every_model_has_a_japanese_name(japanese):
    """In the list of permissions of a user, for instance."""
    for model in apps.get_app_config("kinesis_bridge").get_models():
        assert JAPANESE.search(f"{model._meta.verbose_name}"), model
        assert JAPANESE.search(f"{model._meta.verbose_name_plural}"), model


class Alone:
    """A router that leaves the other databases alone."""

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"


@pytest.mark.parametrize("language", ["en-us", "ja"])
def test_labels_need_no_migration_of_their_language(settings, language):
    settings.LANGUAGE_CODE = language
    settings.DATABASE_ROUTERS = [Alone()]
    call_command("makemigrations", "kinesis_bridge", check=True, dry_run=True, verbosity=0)


def test_who_lacks_a_permission_is_told_which(browser, japanese, settings):
    told = {"403.html": "{{ exception }}"}
    loaders = [("django.template.loaders.locmem.Loader", told), *LOADERS]
    options = {**settings.TEMPLATES[0]["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "APP_DIRS": False, "OPTIONS": options}]

    page = browser("view_stream").get(f"{PAGE}pause/", WHICH)
    assert page.status_code == 403
    assert page.content.decode() == (
        "権限 kinesis_bridge.pause_stream (ストリームを一時停止・再開できる) が必要です。"
    )
