"""Every rule of the settings: its id, the key it names, its reason, and that its example works."""

import copy
from types import MappingProxyType

import pytest

from kinesis_bridge.conf.rules import ROLE_KEYS, STREAM_KEYS, TOP_KEYS, read
from kinesis_bridge.delivery.base import Delivery

ROLE = "arn:aws:iam::222222222222:role/EventWriter"
HUB = "arn:aws:iam::333333333333:role/Hub"
STREAM = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
GOOD = {
    "SOURCE": "/shop",
    "ROLES": {"writer": {"ROLE_ARN": ROLE}, "hub": {"ROLE_ARN": HUB}},
    "STREAMS": {"default": {"STREAM": "orders", "ROLE": "writer"}},
}
WRITER = ("ROLES", "writer")
DEFAULT = ("STREAMS", "default")
SECRET = "hunter2 must not be seen"


class Duck:
    """Has what a delivery has, and is none."""

    options = ()


class Unfinished(Delivery):
    """Does not say how it delivers."""


class Finished(Delivery):
    def deliver(self, event, payload, using):
        raise NotImplementedError


def changed(path, value, base=GOOD):
    """Return `base` with `value` at `path`."""
    if not path:
        return value
    raw = inner = copy.deepcopy(base)
    for step in path[:-1]:
        inner = inner.setdefault(step, {})
    inner[path[-1]] = value
    return raw


def key_of(path):
    return "KINESIS_BRIDGE" + "".join(f'["{step}"]' for step in path)


def config(raw):
    found, problems = read(raw, "/site")
    assert problems == []
    return found


def problems_of(raw):
    found, problems = read(raw, "/site")
    assert (found is None) == bool(problems)
    return problems


def roles(**via):
    """Return settings in which each role goes through another."""
    return {**GOOD, "ROLES": {name: {"ROLE_ARN": ROLE, "VIA": to} for name, to in via.items()}}


WRONG = [
    ("E001", (), None, "must be a dictionary, not NoneType"),
    ("E001", (), ["orders"], "must be a dictionary, not list"),
    ("E001", ("STREAMS",), "orders", "must be a dictionary, not str"),
    ("E001", ("STREAMS",), {}, "names no stream"),
    ("E001", ("ROLES", "other"), ROLE, "must be a dictionary, not str"),
    ("E001", DEFAULT, "orders", "must be a dictionary, not str"),
    ("E001", DEFAULT, None, "must be a dictionary, not NoneType"),
    ("E001", (*DEFAULT, "OPTIONS"), [], "must be a dictionary, not list"),
    ("E001", (*WRITER, "TAGS"), ["site"], "must be a dictionary, not list"),
    ("E001", (*WRITER, "TAGS"), {7: "x"}, "must have text for keys, not 7"),
    ("E002", ("STREAM",), "orders", "is not known here; there are SOURCE, SCHEMAS"),
    ("E002", (*WRITER, "EXTERNALID"), "x", "is not known here; there are ROLE_ARN"),
    ("E002", (*WRITER, "external_id"), SECRET, "is not known here; there are ROLE_ARN"),
    ("E002", (*DEFAULT, "STREAM_ARN"), STREAM, "is not known here; there are STREAM"),
    ("E003", (*WRITER, "ROLE_ARN"), None, "is missing (KINESIS_ROLE_ARN"),
    ("E003", (*WRITER, "ROLE_ARN"), "", "is missing (KINESIS_ROLE_ARN"),
    ("E003", (*DEFAULT, "STREAM"), None, "is missing (KINESIS_STREAM"),
    ("E003", (*DEFAULT, "STREAM"), "", "is missing (KINESIS_STREAM"),
    ("E004", (*WRITER, "ROLE_ARN"), "EventWriter", "is not an ARN: 'EventWriter'"),
    ("E004", (*WRITER, "ROLE_ARN"), "arn:aws:iam::22222:role/EventWriter", "is not an ARN"),
    ("E004", (*WRITER, "ROLE_ARN"), [], "is not an ARN: []"),
    ("E004", (*DEFAULT, "STREAM"), 7, "must be text, not int"),
    ("E004", (*DEFAULT, "STREAM"), [], "must be text, not list"),
    ("E004", (*DEFAULT, "STREAM"), "two words", "cannot name a stream: 'two words'"),
    ("E004", (*DEFAULT, "STREAM"), "s" * 129, "cannot name a stream"),
    ("E004", (*DEFAULT, "STREAM"), "arn:aws:kinesis:stream/orders", "not the ARN of a Kinesis"),
    ("E004", (*DEFAULT, "STREAM"), ROLE, "not the ARN of a Kinesis or Firehose stream"),
    ("E005", (*WRITER, "ROLE_ARN"), "arn:aws:iam::222222222222:user/eve", "no role but of 'user"),
    ("E005", (*WRITER, "ROLE_ARN"), STREAM, "no role but of 'stream/orders'"),
    (
        "E005",
        (*WRITER, "ROLE_ARN"),
        "arn:aws:sts::222222222222:assumed-role/EventWriter/web",
        "no role but of 'assumed-role",
    ),
    ("E007", (*WRITER, "EXTERNAL_ID"), "x", "must be 2 to 1224 characters"),
    ("E007", (*WRITER, "EXTERNAL_ID"), "", "must be 2 to 1224 characters"),
    ("E007", (*WRITER, "EXTERNAL_ID"), "x" * 1225, "must be 2 to 1224 characters"),
    ("E007", (*WRITER, "EXTERNAL_ID"), SECRET, "must be 2 to 1224 characters"),
    ("E007", (*WRITER, "EXTERNAL_ID"), "line\n", "must be 2 to 1224 characters"),
    ("E007", (*WRITER, "EXTERNAL_ID"), 7351, "must be 2 to 1224 characters"),
    ("E008", (*WRITER, "SESSION_NAME"), "my shop", "no spaces"),
    ("E008", (*WRITER, "SESSION_NAME"), "s" * 65, "must be 2 to 64 characters"),
    ("E008", (*WRITER, "SESSION_NAME"), "bücher", "must be 2 to 64 characters"),
    ("E009", (*WRITER, "DURATION_SECONDS"), 899, "must be 900 to 43200 seconds, not 899"),
    ("E009", (*WRITER, "DURATION_SECONDS"), 43201, "must be 900 to 43200 seconds, not 43201"),
    ("E009", (*WRITER, "DURATION_SECONDS"), "3600", "must be 900 to 43200 seconds, not '3600'"),
    ("E009", (*WRITER, "DURATION_SECONDS"), True, "must be 900 to 43200 seconds, not True"),
    ("E009", (*WRITER, "DURATION_SECONDS"), 3600.0, "must be 900 to 43200 seconds, not 3600.0"),
    ("E010", (*DEFAULT, "ROLE"), "writers", "there are: 'writer', 'hub'"),
    ("E010", (*DEFAULT, "ROLE"), ["writer"], "must be the alias of a role, not list"),
    ("E010", (*DEFAULT, "ROLE"), {}, "must be the alias of a role, not dict"),
    ("E011", (*WRITER, "VIA"), "nobody", "is 'nobody', which KINESIS_BRIDGE[\"ROLES\"] does not"),
    ("E011", (*WRITER, "VIA"), ["hub"], "must be the alias of a role, not list"),
    ("E011", (*WRITER, "VIA"), "writer", "goes in a circle: writer -> writer"),
    ("E012", (*DEFAULT, "OPTIONS", "RETRIES"), 3, "is not known here; there are"),
    ("E012", (*DEFAULT, "OPTIONS", "MAX_RECORD_BYTES"), "1", "must be a whole number, not str"),
    ("E012", (*DEFAULT, "OPTIONS", "MAX_RECORD_BYTES"), True, "must be a whole number, not bool"),
    ("E012", (*DEFAULT, "OPTIONS", "MAX_RECORD_BYTES"), 1023, "must be at least 1024"),
    ("E012", (*DEFAULT, "OPTIONS", "MAX_RECORD_BYTES"), 10485761, "must be at most 10485760"),
    ("E012", (*DEFAULT, "OPTIONS", "READ_TIMEOUT"), float("nan"), "must be at least 0.1"),
    ("E012", (*DEFAULT, "OPTIONS", "POISON"), "ignore", "must be one of 'skip', 'block'"),
    ("E013", (*WRITER, "TAGS", "site"), 7, "must be at most 256 letters"),
    ("E013", (*WRITER, "TAGS", "site"), "x" * 257, "must be at most 256 letters"),
    ("E013", (*WRITER, "TAGS", "site"), "two\nlines", "must be at most 256 letters"),
    ("E013", (*WRITER, "TAGS", "100%"), "x", "must have a key of 1 to 128 letters"),
    ("E013", (*WRITER, "TAGS", ""), "x", "must have a key of 1 to 128 letters"),
    ("E013", (*WRITER, "TAGS", "k" * 129), "x", "must have a key of 1 to 128 letters"),
    ("E013", (*WRITER, "TAGS", "aws:site"), "x", "must not start with aws:"),
    ("E013", (*WRITER, "TAGS"), {str(n): "x" for n in range(51)}, "has more than 50 tags"),
    ("E014", (*WRITER, "SOURCE_IDENTITY"), "s", "must be 2 to 64 characters"),
    ("E014", (*WRITER, "SOURCE_IDENTITY"), "aws:shop", "must be 2 to 64 characters"),
    ("E015", (*WRITER, "SESSION_POLICY"), "{bad", "must be a JSON policy document"),
    ("E015", (*WRITER, "SESSION_POLICY"), "[]", "must be a JSON policy document"),
    ("E015", (*WRITER, "SESSION_POLICY"), {"Version": "2012-10-17"}, "JSON policy document"),
    ("E015", (*WRITER, "SESSION_POLICY"), {"Statement": [...]}, "JSON policy document"),
    ("E015", (*WRITER, "SESSION_POLICY"), {"Statement": "x" * 2048}, "at most 2048 characters"),
    ("E016", (*WRITER, "REGION"), "Ireland", "is not the name of an AWS region"),
    ("E016", (*DEFAULT, "REGION"), "eu-west-1a", "is not the name of an AWS region"),
    ("E016", (*DEFAULT, "REGION"), "eu-west-\u0661", "is not the name of an AWS region"),
    ("E017", ("SOURCE",), "my shop", "must be a URI reference without spaces"),
    ("E017", ("SOURCE",), "/caffè", "must be a URI reference without spaces"),
    ("E017", ("SOURCE",), "<shop>", "must be a URI reference without spaces"),
    *(
        ("E023", ("SCHEMAS",), base, 'must be an absolute URI that ends in "/"')
        for base in (
            "schemas/",
            "//shop.test/",
            "https://shop.test",
            "https:///",
            "https://a b/",
            7,
        )
    ),
    ("E017", ("SOURCE",), 0, "must be a URI reference without spaces"),
    ("E018", ("LOCAL_AWS",), "maybe", "must be True or False, not 'maybe'"),
    ("E018", ("LOCAL_AWS",), 1, "must be True or False, not 1"),
    ("E018", ("LOCAL_AWS_URL",), "https://127.0.0.1:4566", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://127.0.0.1:4566/aws", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://127.0.0.1:4566?x=1", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://127.0.0.1:65536", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://127.0.0.1:aws", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://127.0.0.1:0", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://:4566", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), "http://[::1", "must be http://host:port"),
    ("E018", ("LOCAL_AWS_URL",), 4566, "must be http://host:port, not 4566"),
    ("E019", (*WRITER, "PROFILE"), "", "must be the name of a profile"),
    ("E019", (*WRITER, "PROFILE"), "shop ", "must be the name of a profile"),
    ("E022", (*WRITER, "PRINCIPAL"), "shop-web", "must be the ARN of the role or user"),
    ("E022", (*WRITER, "PRINCIPAL"), "arn:aws:iam::111111111111:role", "must be the ARN"),
    ("E022", (*WRITER, "PRINCIPAL"), "arn:aws:iam::111111111111:group/x", "must be the ARN"),
    ("E022", (*WRITER, "PRINCIPAL"), 4, "must be the ARN of the role or user"),
    ("E024", ("STRICT",), "maybe", "must be True or False, not 'maybe'"),
    ("E024", ("STRICT",), 1, "must be True or False, not 1"),
    ("E020", (*DEFAULT, "DELIVERY"), "pigeon", "is not known: 'pigeon'; there are"),
    ("E020", (*DEFAULT, "DELIVERY"), ["direct"], "is not known: ['direct']; there are"),
    ("E020", (*DEFAULT, "DELIVERY"), "no.such.Delivery", "cannot be imported: 'no.such.Delivery'"),
    ("E020", (*DEFAULT, "DELIVERY"), ".Delivery", "cannot be imported: '.Delivery'"),
    ("E020", (*DEFAULT, "DELIVERY"), "..Delivery", "cannot be imported: '..Delivery'"),
    ("E020", (*DEFAULT, "DELIVERY"), "os.path.join", "names no delivery: 'os.path.join'"),
    ("E020", (*DEFAULT, "DELIVERY"), "django.views.View", "names no delivery"),
    ("E020", (*DEFAULT, "DELIVERY"), f"{__name__}.Duck", "names no delivery"),
    ("E020", (*DEFAULT, "DELIVERY"), f"{__name__}.Unfinished", "names no delivery"),
]


def test_a_profile_that_a_chain_would_ignore_is_refused():
    chain = changed((*WRITER, "VIA"), "hub")
    assert problems_of(changed(("ROLES", "hub", "PROFILE"), "site", chain)) == []

    [problem] = problems_of(changed((*WRITER, "PROFILE"), "site", chain))

    assert (problem.id, problem.key) == ("kinesis_bridge.E019", key_of((*WRITER, "PROFILE")))
    assert "no effect with VIA" in problem.reason


def test_what_the_tests_start_from_is_right():
    assert config(GOOD).source == "/shop"


@pytest.mark.parametrize(("number", "path", "value", "reason"), WRONG)
def test_wrong_setting_is_refused_with_key_reason_and_an_example_that_works(
    number, path, value, reason
):
    [problem] = problems_of(changed(path, value))

    assert problem.id == f"kinesis_bridge.{number}"
    assert problem.key == key_of(path)
    assert reason in problem.reason
    assert_example_works(problem.example, path)


def assert_example_works(example, path):
    """Put the example where the problem was; ``"NAME": value`` stands for the whole entry."""
    if not example.startswith('"') or '": ' not in example:
        assert problems_of(changed(path, eval(example, {}))) == []
        return
    [(name, right)] = eval(f"{{{example}}}", {}).items()
    if right is ...:  # a key that is meant; any value
        assert name in {*TOP_KEYS, *ROLE_KEYS, *STREAM_KEYS}
    else:
        assert problems_of(changed((*path[:-1], name), right)) == []


@pytest.mark.parametrize("value", [None, "writer", [ROLE]])
def test_wrong_roles_is_one_problem_and_not_one_for_each_stream_too(value):
    [problem] = problems_of(changed(("ROLES",), value))

    assert problem.id == "kinesis_bridge.E001"
    assert problem.key == key_of(("ROLES",))
    assert problem.reason == f"must be a dictionary, not {type(value).__name__}"
    raw = changed(("ROLES",), eval(problem.example))
    assert problems_of(changed((*DEFAULT, "ROLE"), "default", raw)) == []


def test_stream_arn_of_another_region_than_region_is_refused():
    raw = changed(DEFAULT, {"STREAM": STREAM, "REGION": "us-east-1"})

    [problem] = problems_of(raw)

    assert problem.id == "kinesis_bridge.E006"
    assert problem.key == key_of((*DEFAULT, "REGION"))
    assert "is 'us-east-1', but the stream's ARN is in 'eu-west-1'" in problem.reason
    assert problems_of(changed((*DEFAULT, "REGION"), eval(problem.example), raw)) == []


def test_duration_over_an_hour_is_refused_with_via():
    raw = changed(WRITER, {"ROLE_ARN": ROLE, "VIA": "hub", "DURATION_SECONDS": 3601})

    [problem] = problems_of(raw)

    assert problem.id == "kinesis_bridge.E009"
    assert problem.key == key_of((*WRITER, "DURATION_SECONDS"))
    assert problem.reason == "must be at most 3600 with VIA (role chaining)"
    assert problems_of(changed((*WRITER, "DURATION_SECONDS"), eval(problem.example), raw)) == []


def test_tag_keys_that_differ_only_in_case_are_refused():
    [problem] = problems_of(changed((*WRITER, "TAGS"), {"Site": "a", "site": "b"}))

    assert problem.id == "kinesis_bridge.E013"
    assert problem.key == key_of((*WRITER, "TAGS", "site"))
    assert "is there twice" in problem.reason


def test_missing_role_where_there_are_no_roles_has_none_as_its_example():
    [problem] = problems_of({"STREAMS": {"default": {"STREAM": "orders", "ROLE": "writer"}}})

    assert problem.id == "kinesis_bridge.E010"
    assert "there are: none" in problem.reason
    assert problem.example == "None"


@pytest.mark.parametrize(
    ("via", "loop"),
    [
        ({"writer": "writer"}, {"writer": "writer -> writer"}),
        ({"writer": "b", "b": "writer"}, {"writer": "writer -> b -> writer", "b": "b -> writer"}),
        (
            {"writer": "b", "b": "c", "c": "writer"},
            {"writer": "writer -> b -> c -> writer", "b": "b -> c", "c": "c -> writer"},
        ),
        (
            {"writer": "lead", "lead": "b", "b": "c", "c": "b", "good": None},
            {"b": "b -> c -> b", "c": "c -> b -> c"},
        ),
    ],
    ids=["of one", "of two", "of three", "with two roles leading into it"],
)
def test_via_loop_is_reported_once_by_each_of_its_members(via, loop):
    problems = problems_of(roles(**via))

    assert [problem.key for problem in problems] == [key_of(("ROLES", r, "VIA")) for r in loop]
    for problem, circle in zip(problems, loop.values(), strict=True):
        assert problem.id == "kinesis_bridge.E011"
        assert problem.reason.startswith(f"goes in a circle: {circle}")


def test_role_that_leads_to_a_role_with_a_missing_via_is_not_reported_itself():
    [problem] = problems_of(roles(writer="b", b="nobody"))

    assert problem.key == key_of(("ROLES", "b", "VIA"))


def test_delivery_that_fails_while_it_is_imported_is_refused_with_the_cause(tmp_path, monkeypatch):
    (tmp_path / "broken_delivery.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)

    [problem] = problems_of(changed((*DEFAULT, "DELIVERY"), "broken_delivery.Delivery"))

    assert problem.id == "kinesis_bridge.E020"
    assert "ZeroDivisionError: division by zero" in problem.reason


def test_all_problems_are_found_at_once():
    raw = {
        "COLOUR": "red",
        "LOCAL_AWS": "maybe",
        "ROLES": {"writer": {"EXTERNAL_ID": "x", "VIA": ["hub"]}, "b": None},
        "STREAMS": {},
    }

    assert [problem.id.removeprefix("kinesis_bridge.") for problem in problems_of(raw)] == [
        *("E002", "E003", "E007", "E011", "E001", "E001", "E018")
    ]


def test_keys_that_are_no_text_hide_nothing_of_the_others():
    raw = changed((*WRITER, 7), "x", changed((*WRITER, "REGION"), "Ireland"))

    assert {problem.id for problem in problems_of(raw)} == {
        "kinesis_bridge.E001",
        "kinesis_bridge.E016",
    }


def test_problem_as_text_has_key_reason_example_and_id():
    [problem] = problems_of(changed(("LOCAL_AWS",), "maybe"))

    assert str(problem) == (
        "KINESIS_BRIDGE[\"LOCAL_AWS\"] must be True or False, not 'maybe'. Example: True"
        " (kinesis_bridge.E018)"
    )


@pytest.mark.parametrize("key", ["EXTERNAL_ID", "external_id", "EXTERNALID"])
def test_external_id_is_not_repeated_in_a_problem(key):
    [problem] = problems_of(changed((*WRITER, key), SECRET))

    assert SECRET not in str(problem) + repr(problem)


RIGHT = [
    *(((*WRITER, "DURATION_SECONDS"), seconds) for seconds in (900, 3601, 43200)),
    *(((*WRITER, "EXTERNAL_ID"), text) for text in ("ab", "x" * 1224, "a_+=,.@:/-9", None)),
    *(((*WRITER, "SESSION_NAME"), text) for text in ("ab", "s" * 64, "a_+=,.@-")),
    *(((*WRITER, "SOURCE_IDENTITY"), text) for text in ("ab", "s" * 64)),
    ((*WRITER, "VIA"), "hub"),
    *(((*WRITER, "TAGS"), tags) for tags in (None, {}, {"k" * 128: "x" * 256}, {"Größe": ""})),
    ((*WRITER, "TAGS"), {str(n): "x" for n in range(50)}),
    ((*WRITER, "ROLE_ARN"), "arn:aws-cn:iam::222222222222:role/team/a/EventWriter"),
    *(((*WRITER, "REGION"), region) for region in ("us-gov-west-1", "cn-north-1", None)),
    ((*WRITER, "PROFILE"), "my shop"),
    *(((*DEFAULT, "STREAM"), name) for name in ("s", "s" * 128, "a_.-9", STREAM)),
    *(((*DEFAULT, "ROLE"), alias) for alias in (None, "hub")),
    *(((*DEFAULT, "DELIVERY"), way) for way in ("direct", "memory", "console", None, "")),
    ((*DEFAULT, "DELIVERY"), f"{__name__}.Finished"),
    *(((*DEFAULT, "OPTIONS"), options) for options in (None, {}, {"POISON": "block"})),
    *(((*DEFAULT, "OPTIONS", "MAX_RECORD_BYTES"), size) for size in (1024, 10 * 1024 * 1024)),
    ((*DEFAULT, "OPTIONS", "READ_TIMEOUT"), 5),
    *((("SOURCE",), text) for text in ("urn:shop", "https://shop.test/a?b=%20#c", "", None)),
    *((("SCHEMAS",), text) for text in ("https://shop.test/a/", "urn:shop:/", "", None)),
    *((("LOCAL_AWS",), value) for value in (True, False)),
    *((("STRICT",), value) for value in (True, False)),
    *((("LOCAL_AWS_URL",), url) for url in ("http://localhost", "http://[::1]:65535/", "", None)),
]


@pytest.mark.parametrize(("path", "value"), RIGHT)
def test_right_setting_passes_up_to_its_edges(path, value):
    assert problems_of(changed(path, value)) == []


def test_an_hour_is_right_with_via():
    raw = changed(WRITER, {"ROLE_ARN": ROLE, "VIA": "hub", "DURATION_SECONDS": 3600})

    assert config(raw).role("writer").duration_seconds == 3600


def test_session_policy_is_sent_as_short_as_it_can_be():
    policy = '{ "Statement": [] }'
    edge = {"Statement": "x" * (2048 - len('{"Statement":""}'))}

    assert config(changed((*WRITER, "SESSION_POLICY"), policy)).role("writer").session_policy == (
        '{"Statement":[]}'
    )
    assert len(
        config(changed((*WRITER, "SESSION_POLICY"), edge)).roles["writer"].session_policy
    ) == (2048)


def test_settings_may_be_read_only_mappings():
    raw = MappingProxyType({"STREAMS": MappingProxyType({"default": {"STREAM": "orders"}})})

    assert config(raw).stream("default").name == "orders"
