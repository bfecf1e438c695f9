"""``KINESIS_*`` variables through a real ``environ.Env``."""

import environ
import pytest

from kinesis_bridge import conf
from kinesis_bridge.conf import settings_from_env

ROLE = "arn:aws:iam::222222222222:role/EventWriter"
NAMES = [
    "STREAM",
    "ROLE_ARN",
    "EXTERNAL_ID",
    "REGION",
    "SESSION_NAME",
    "PROFILE",
    "DELIVERY",
    "SOURCE",
    "SCHEMAS",
    "LOCAL_AWS",
    "LOCAL_AWS_URL",
    "STRICT",
]


@pytest.fixture
def env(monkeypatch):
    """Set ``KINESIS_*`` variables and return the settings made from them."""

    def build(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"KINESIS_{name}", value)
        return settings_from_env(environ.Env())

    return build


@pytest.fixture
def problems(env, settings, fresh):
    """Set ``KINESIS_*`` variables and return the problems of the settings made from them."""

    def find(**variables):
        settings.KINESIS_BRIDGE = env(**variables)
        return conf.find_problems()

    return find


def test_all_variables_together_make_one_role_and_one_stream(env):
    assert env(
        STREAM="orders",
        ROLE_ARN=ROLE,
        EXTERNAL_ID="shop-prod",
        REGION="eu-west-1",
        SESSION_NAME="shop-web",
        PROFILE="shop",
        DELIVERY="memory",
        SOURCE="/shop",
        SCHEMAS="https://shop.test/schemas/",
        LOCAL_AWS="on",
        LOCAL_AWS_URL="http://127.0.0.1:4567",
        STRICT="yes",
    ) == {
        "SOURCE": "/shop",
        "SCHEMAS": "https://shop.test/schemas/",
        "ROLES": {
            "default": {
                "ROLE_ARN": ROLE,
                "EXTERNAL_ID": "shop-prod",
                "REGION": "eu-west-1",
                "SESSION_NAME": "shop-web",
                "PROFILE": "shop",
            }
        },
        "STREAMS": {
            "default": {
                "STREAM": "orders",
                "REGION": "eu-west-1",
                "DELIVERY": "memory",
                "ROLE": "default",
            }
        },
        "LOCAL_AWS": True,
        "LOCAL_AWS_URL": "http://127.0.0.1:4567",
        "STRICT": True,
    }


ROLE_KEYS = {
    "ROLE_ARN": ROLE,
    "EXTERNAL_ID": "shop-prod",
    "SESSION_NAME": "shop-web",
    "PROFILE": "shop",
}


@pytest.mark.parametrize(("name", "value"), ROLE_KEYS.items())
def test_variable_of_the_role_lands_in_the_role(env, name, value):
    assert env(**{name: value}) == {
        "ROLES": {"default": {name: value}},
        "STREAMS": {"default": {"ROLE": "default"}},
    }


@pytest.mark.parametrize(
    ("name", "value"), [("STREAM", "orders"), ("DELIVERY", "memory"), ("REGION", "eu-west-1")]
)
def test_variable_of_the_stream_lands_in_the_stream(env, name, value):
    assert env(**{name: value}) == {"STREAMS": {"default": {name: value}}}


@pytest.mark.parametrize(
    ("name", "value"),
    [("SOURCE", "/shop"), ("SCHEMAS", "urn:shop:/"), ("LOCAL_AWS_URL", "http://localhost:1")],
)
def test_variable_of_the_bridge_lands_at_the_top(env, name, value):
    assert env(**{name: value}) == {name: value, "STREAMS": {"default": {}}}


@pytest.mark.parametrize("value", ["", "  "])
def test_empty_variables_count_as_unset(env, value):
    assert env(**dict.fromkeys(NAMES, value)) == env() == {"STREAMS": {"default": {}}}


def test_white_space_around_a_value_is_not_part_of_it(env):
    assert env(STREAM=" orders\n")["STREAMS"]["default"]["STREAM"] == "orders"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *((word, True) for word in ("true", "True", "TRUE", "on", "Yes", "y", "OK", "1")),
        *((word, False) for word in ("false", "False", "FALSE", "off", "No", "n", "0")),
    ],
)
def test_local_aws_takes_the_true_and_false_words_in_any_case(env, problems, word, expected):
    assert env(LOCAL_AWS=word)["LOCAL_AWS"] is expected
    assert problems(LOCAL_AWS=word, STREAM="orders") == []
    assert conf.get_config().local_aws is expected


def test_strict_takes_the_same_words(env, problems):
    assert env(STRICT="off")["STRICT"] is False
    assert problems(STRICT="on", STREAM="orders") == []
    assert conf.get_config().strict
    [problem] = problems(STRICT="maybe", STREAM="orders")
    assert problem.id == "kinesis_bridge.E024"


@pytest.mark.parametrize("word", ["maybe", "tru", "2"])
def test_local_aws_with_another_word_is_refused_and_not_taken_for_false(problems, word):
    [problem] = problems(LOCAL_AWS=word, STREAM="orders")

    assert problem.id == "kinesis_bridge.E018"
    assert problem.key == 'KINESIS_BRIDGE["LOCAL_AWS"]'
    assert repr(word) in problem.reason


def test_without_a_stream_the_problem_names_the_variable(problems):
    [problem] = problems(ROLE_ARN=ROLE)

    assert problem.id == "kinesis_bridge.E003"
    assert problem.key == 'KINESIS_BRIDGE["STREAMS"]["default"]["STREAM"]'
    assert "KINESIS_STREAM" in problem.reason


def test_external_id_without_a_role_names_the_variable_and_not_the_id(problems):
    [problem] = problems(STREAM="orders", EXTERNAL_ID="hunter2")

    assert problem.key == 'KINESIS_BRIDGE["ROLES"]["default"]["ROLE_ARN"]'
    assert "KINESIS_ROLE_ARN" in problem.reason
    assert "hunter2" not in str(problem)


def test_settings_from_the_environment_can_be_used(problems):
    assert problems(STREAM="orders", ROLE_ARN=ROLE, REGION="eu-west-1") == []

    config = conf.get_config()
    assert config.role_of(config.stream("default")).role_arn == ROLE
    assert config.stream("default").region == config.role("default").region == "eu-west-1"


def test_schema_of_the_sites_own_env_change_nothing(monkeypatch):
    monkeypatch.setenv("KINESIS_LOCAL_AWS", "off")
    monkeypatch.setenv("KINESIS_STREAM", "orders")
    site = environ.Env(KINESIS_LOCAL_AWS=(bool, True), KINESIS_STREAM=(list, []))

    assert settings_from_env(site) == {
        "STREAMS": {"default": {"STREAM": "orders"}},
        "LOCAL_AWS": False,
    }
