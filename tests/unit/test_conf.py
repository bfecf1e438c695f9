"""The settings as objects: read lazily, validated once, reset on change, safe to print."""

import dataclasses
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from kinesis_bridge import conf
from kinesis_bridge.conf.types import BridgeConfig, RoleConfig, StreamConfig
from kinesis_bridge.registry import PerProcess
from tests.unit.test_registry import MULTI_THREADED, in_child

ROLE = "arn:aws:iam::222222222222:role/team/EventWriter"
GOOD = {
    "ROLES": {"writer": {"ROLE_ARN": ROLE, "REGION": "eu-central-1"}},
    "STREAMS": {"default": {"STREAM": "orders", "ROLE": "writer"}},
}
WRONG = {
    "SOURCE": "my shop",
    "ROLES": {"writer": {"ROLE_ARN": "EventWriter", "DURATION_SECONDS": 899}},
    "STREAMS": {"default": {"STREAM": "orders", "ROLE": "writers"}},
}
WRONG_IDS = ["E004", "E009", "E010", "E017"]


@pytest.fixture(autouse=True)
def hooks(monkeypatch, fresh):
    """Forget the hooks that a test registers; yield those that there are."""
    with monkeypatch.context() as patch:
        patch.setattr(conf, "_reset_hooks", list(conf._reset_hooks))
        yield conf._reset_hooks


class Counted(dict):
    """Counts how often the settings are read."""

    reads = 0

    def get(self, *args):
        self.reads += 1
        return super().get(*args)

    def items(self):
        self.reads += 1
        return super().items()


def test_get_config_raises_all_problems_in_one_error():
    with override_settings(KINESIS_BRIDGE=WRONG), pytest.raises(ImproperlyConfigured) as caught:
        conf.get_config()

    text = str(caught.value)
    assert text.startswith("settings.KINESIS_BRIDGE cannot be used:\n")
    assert len(text.splitlines()) == 1 + len(WRONG_IDS)
    for number in WRONG_IDS:
        assert f"(kinesis_bridge.{number})" in text
    assert 'KINESIS_BRIDGE["ROLES"]["writer"]["DURATION_SECONDS"] must be 900 to 43200' in text
    assert "Example: 3600" in text


def test_find_problems_returns_what_get_config_raises():
    with override_settings(KINESIS_BRIDGE=WRONG):
        assert [problem.id[-4:] for problem in conf.find_problems()] == WRONG_IDS


def test_missing_setting_is_said_to_be_missing(settings):
    del settings.KINESIS_BRIDGE

    [problem] = conf.find_problems()

    assert problem.key == "KINESIS_BRIDGE"
    assert problem.id == "kinesis_bridge.E001"


def test_settings_are_validated_once():
    raw = Counted(GOOD)
    with override_settings(KINESIS_BRIDGE=raw):
        first = conf.get_config()
        reads = raw.reads

        assert conf.get_config() is first
        assert raw.reads == reads > 0


def test_override_settings_resets_on_the_way_in_and_out():
    before = conf.get_config()

    with override_settings(KINESIS_BRIDGE=GOOD):
        assert conf.get_config().stream("default").region == "eu-central-1"

    after = conf.get_config()
    assert after.stream("default").region == "eu-west-1"
    assert after is not before


def test_change_of_another_setting_resets_nothing():
    before = conf.get_config()

    with override_settings(TIME_ZONE="Europe/Rome"):
        assert conf.get_config() is before


def test_wrong_settings_are_not_kept_once_they_are_mended(settings):
    settings.KINESIS_BRIDGE = WRONG
    with pytest.raises(ImproperlyConfigured):
        conf.get_config()

    settings.KINESIS_BRIDGE = GOOD

    assert conf.get_config().role("writer").role_arn == ROLE


def test_reset_closes_the_last_registered_first_and_last_at_the_end(hooks):
    hooks.clear()
    calls = []
    conf.on_reset(lambda: calls.append("session"))
    conf.on_reset(lambda: calls.append("emulator"), last=True)
    conf.on_reset(lambda: calls.append("producer"))

    conf.reset()

    assert calls == ["producer", "session", "emulator"]


def test_hooks_run_before_the_settings_are_forgotten():
    before = conf.get_config()
    seen = []
    conf.on_reset(lambda: seen.append(conf.get_config()))
    conf.on_reset(lambda: seen.append(conf.get_config()), last=True)

    conf.reset()

    assert [config is before for config in seen] == [True, True]
    assert conf.get_config() is not before


def test_hook_that_raises_keeps_neither_the_others_nor_the_forgetting_from_their_work():
    before = conf.get_config()
    calls = []
    conf.on_reset(lambda: calls.append("first"))
    conf.on_reset(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        conf.reset()

    assert calls == ["first"]
    assert conf.get_config() is not before


def test_reset_closes_what_the_process_has_built():
    closed = []
    registry = PerProcess(str.upper, closed.append)
    assert registry["a"] == "A"

    conf.reset()

    assert closed == ["A"]


@MULTI_THREADED
def test_child_forked_while_a_thread_reads_the_settings_is_not_stuck():
    held, release = threading.Event(), threading.Event()

    class Slow(dict):
        def items(self):
            if threading.current_thread() is not threading.main_thread():
                held.set()
                release.wait(10)
            return super().items()

    with override_settings(KINESIS_BRIDGE=Slow(GOOD)):
        thread = threading.Thread(target=conf.get_config)
        thread.start()
        assert held.wait(10)
        try:
            assert in_child(lambda: conf.get_config().stream("default").name) == "orders"
        finally:
            release.set()
            thread.join()


@pytest.mark.parametrize(
    ("urlconf", "source"), [("shop.urls", "/shop"), ("a.b.urls", "/a"), (None, "/tests")]
)
def test_source_is_the_project_package_by_default(urlconf, source, settings, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    settings.ROOT_URLCONF = urlconf
    settings.KINESIS_BRIDGE = GOOD

    assert conf.get_config().source == source


def test_objects_are_frozen(settings):
    settings.KINESIS_BRIDGE = GOOD
    config = conf.get_config()

    with pytest.raises(dataclasses.FrozenInstanceError):
        config.role("writer").duration_seconds = 900
    with pytest.raises(TypeError):
        config.streams["other"] = config.streams["default"]
    with pytest.raises(TypeError):
        config.streams["default"].options["RETRY_SECONDS"] = 1


def test_defaults_are_those_of_the_design(settings):
    settings.KINESIS_BRIDGE = {
        "ROLES": {"writer": {"ROLE_ARN": ROLE}},
        "STREAMS": {"default": {"STREAM": "orders"}},
    }
    config = conf.get_config()

    assert config == BridgeConfig(
        source="/tests",
        roles={"writer": RoleConfig(alias="writer", role_arn=ROLE)},
        streams={
            "default": StreamConfig(
                alias="default", stream="orders", options=config.stream("default").options
            )
        },
        local_aws=False,
        local_aws_url="http://127.0.0.1:4566",
    )
    assert config.stream("default").options["POISON"] == "skip"


def test_role_knows_its_account_and_its_name_without_the_path():
    role = RoleConfig(alias="writer", role_arn=ROLE)

    assert (role.account, role.name, role.arn.partition) == ("222222222222", "EventWriter", "aws")


@pytest.mark.parametrize(
    ("stream", "region", "expected"),
    [
        ("orders", None, "eu-central-1"),
        ("orders", "us-east-1", "us-east-1"),
        ("arn:aws:kinesis:eu-west-3:222222222222:stream/orders", None, "eu-west-3"),
        ("arn:aws:kinesis:eu-west-3:222222222222:stream/orders", "eu-west-3", "eu-west-3"),
    ],
)
def test_region_is_the_streams_then_its_arns_then_its_roles(stream, region, expected, settings):
    settings.KINESIS_BRIDGE = {
        **GOOD,
        "STREAMS": {"default": {"STREAM": stream, "REGION": region, "ROLE": "writer"}},
    }
    config = conf.get_config().stream("default")

    assert config.region == expected
    assert config.name == "orders"
    assert config.arn == (stream if stream.startswith("arn:") else None)


def test_missing_alias_is_refused_with_those_there_are(settings):
    settings.KINESIS_BRIDGE = GOOD
    config = conf.get_config()

    with pytest.raises(ImproperlyConfigured, match=r'\["STREAMS"\] has no .audit.*: .default.'):
        config.stream("audit")
    with pytest.raises(ImproperlyConfigured, match=r'\["ROLES"\] has no .reader.*: .writer.'):
        config.role("reader")


def test_role_of_a_stream_is_none_without_its_key(settings):
    settings.KINESIS_BRIDGE = {**GOOD, "STREAMS": {"a": {"STREAM": "a"}, **GOOD["STREAMS"]}}
    config = conf.get_config()

    assert config.role_of(config.stream("a")) is None
    assert config.role_of(config.stream("default")).alias == "writer"


def test_secrets_are_in_no_repr(settings):
    policy = '{"Statement": "narrowed"}'
    secret = {"ROLE_ARN": ROLE, "EXTERNAL_ID": "hunter2", "SESSION_POLICY": policy}
    settings.KINESIS_BRIDGE = {**GOOD, "ROLES": {"writer": secret}}
    config = conf.get_config()

    assert config.role("writer").external_id == "hunter2"
    for text in (repr(config), repr(config.role("writer")), str(config.roles)):
        assert ROLE in text
        assert "hunter2" not in text
        assert "narrowed" not in text
