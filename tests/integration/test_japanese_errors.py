"""What was asked of a command and cannot be: said in Japanese, and to programs in English."""

import json
import re
import socket
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from kinesis_bridge.models import SnapshotRun
from tests.support.capture import with_outbox
from tests.support.outbox import OutboxOn
from tests.testapp.models import Thing

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
PRINCIPAL = ["--principal", "arn:aws:iam::111111111111:role/shop-web"]
PLACE = ["kinesis_snapshot", "testapp.Place"]
REFUSED = [
    (["kinesis_snapshot", "nope"], "モデル 'nope' はありません。app_label.Model の形で"),
    (["kinesis_snapshot", "testapp.Plain"], "testapp.Plain は宣言されていないため、"),
    (
        ["kinesis_snapshot", "testapp.Bar"],
        "testapp.Bar は宣言されていませんが、testapp.Place は宣言されています。",
    ),
    ([*PLACE, "--type", "nope"], "testapp.Place に当てはまる宣言がありません。"),
    ([*PLACE, "--where", "name"], "--where name: FIELD=VALUE または FIELD__LOOKUP=VALUE の形で"),
    (
        ["kinesis_snapshot", "testapp.Thing", "--where", "made__isnull=maybe"],
        "--where made__isnull=maybe: 'maybe' は true でも false でもありません。",
    ),
    ([*PLACE, "--range", "4"], "--range 4: FROM:TO の形で書いてください。"),
    ([*PLACE, "--range", "4:3"], "--range 4:3 は空です。"),
    ([*PLACE, "--part", "5/4"], "--part 5/4: K/N の形で書いてください。"),
    ([*PLACE, "--since", "2026-01-01"], "--since: testapp.Place には auto_now=True のフィールドが"),
    (
        [*PLACE, "--since", "2026-01-01", "--since-field", "nope"],
        "--since-field nope: testapp.Place にその名前の日付フィールドはありません。",
    ),
    (
        ["kinesis_snapshot", "--resume", "77", "--database", "default"],
        "--resume 77: データベース 'default' にその番号の実行はありません。",
    ),
    (["kinesis_deadletter", "discard", "77"], "何も変更していません。default にデッドレター 77 は"),
    (
        ["kinesis_deadletter", "discard", "77", "--stream", "audit"],
        "何も変更していません。default にデッドレター 77 (ストリーム 'audit') はありません。",
    ),
    (["kinesis_iam", "--principal", "*"], "プリンシパルはロールまたはユーザーの ARN でなければ"),
    (
        ["kinesis_iam", *PRINCIPAL, "--kms-key", "alias/orders"],
        "--kms-key はエイリアスではなくキーの ARN でなければなりません ('alias/orders' ではなく)",
    ),
    (
        ["kinesis_local", "--host", "0.0.0.0", "--port", "0"],
        "エミュレーターは 0.0.0.0 では待ち受けません。",
    ),
    (["kinesis_tail"], "LOCAL_AWS が有効ですが、http://127.0.0.1:9 では何も待ち受けていません。"),
    (["send_kinesis_test", "--key", ""], "パーティションキーが空です。"),
    (["send_kinesis_test", "--key", "k" * 300], "パーティションキーは 300 文字ですが、"),
    (
        ["send_kinesis_test", "--data", f'"{"x" * 2_000_000}"'],
        "レコードは (キーを含めて) 2,000,",
    ),
]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def outbox(settings, fresh):
    with_outbox(settings)
    settings.DATABASE_ROUTERS = [OutboxOn("default")]


@pytest.fixture
def japanese(settings):
    settings.LANGUAGE_CODE = "ja"


def refused(*arguments):
    """Return what the command prints, and what it says as it fails."""
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue(), str(caught.value)


def both(*arguments):
    """Return what people and programs are told; programs the same as in English."""
    _, spoken = refused(*arguments)
    printed, _ = refused(*arguments, "--json")
    return spoken, json.loads(printed)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "wanted"), REFUSED, ids=[" ".join(arguments)[:70] for arguments, _ in REFUSED]
)
def test_what_cannot_be_done_is_said_in_japanese(arguments, wanted, settings, monkeypatch):
    monkeypatch.setattr("sys.argv", ["manage.py", *arguments])  # who needs a shared emulator
    english, printed = both(*arguments)
    assert english == printed
    settings.LANGUAGE_CODE = "ja"
    spoken, still = both(*arguments)
    assert spoken.startswith(wanted)
    assert still == printed
    assert not JAPANESE.search(printed)


def test_a_row_that_cannot_be_published_is_told_down_to_its_cause(japanese):
    Thing(pk=4).save_base(raw=True, force_insert=True)
    _, spoken = refused("kinesis_snapshot", "testapp.Thing")
    assert spoken.startswith(
        "行 4 を公開できません: '4' の testapp.Thing.owner_id が空ですが、これはこのモデルの"
    )
    assert "--skip-invalid でこのような行を飛ばして" in spoken
    _, spoken = refused("kinesis_snapshot", "--resume", str(SnapshotRun.objects.get().pk))
    assert spoken.startswith("行 4 を公開できません")


def test_the_state_of_a_run_is_told_as_the_list_has_it(japanese):
    call_command("kinesis_snapshot", "testapp.Place", stdout=StringIO())
    run = str(SnapshotRun.objects.get().pk)
    spoken, printed = both("kinesis_snapshot", "--resume", run, "--database", "default")
    assert spoken.startswith(f"--resume {run}: データベース 'default' では「完了」の状態です。")
    assert printed.startswith(f"--resume {run}: it is finished in database 'default'.")


def test_a_port_that_is_taken(japanese):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spoken, printed = both("kinesis_local", "--port", str(port))
        assert spoken.startswith(f"エミュレーターが 127.0.0.1:{port} で待ち受けできません: ")
        assert not JAPANESE.search(printed)
        spoken, printed = both("kinesis_relay", "--health-port", str(port))
        assert spoken.startswith(f"127.0.0.1 のポート {port} は別のプロセスが使用しています。対処:")
        assert not JAPANESE.search(printed)
