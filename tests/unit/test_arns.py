"""ARNs: the good, the bad, and what they name."""

import pytest

from kinesis_bridge import arns
from kinesis_bridge.arns import Arn

ACCOUNT = "222222222222"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("arn:aws:iam::222222222222:role/R", ("aws", "iam", "", ACCOUNT, "role/R")),
        (
            "arn:aws-cn:kinesis:cn-north-1:222222222222:stream/s",
            ("aws-cn", "kinesis", "cn-north-1", ACCOUNT, "stream/s"),
        ),
        (
            "arn:aws-us-gov:kinesis:us-gov-west-1:222222222222:stream/s",
            ("aws-us-gov", "kinesis", "us-gov-west-1", ACCOUNT, "stream/s"),
        ),
        ("arn:aws:iam::222222222222:role/a/b:c/R", ("aws", "iam", "", ACCOUNT, "role/a/b:c/R")),
    ],
)
def test_arn_is_parsed_into_its_parts(text, parts):
    assert arns.parse(text) == Arn(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "arn:aws:iam::222222222222",
        "arn:aws:iam::222222222222:",
        "arn:aws:iam::22222222222:role/R",
        "arn:aws:iam::2222222222222:role/R",
        "arn:aws:iam:::role/R",
        "arn:aws:iam::٢٢٢٢٢٢٢٢٢٢٢٢:role/R",
        "arn:awsome:iam::222222222222:role/R",
        "arn:gcp:iam::222222222222:role/R",
        "ARN:aws:iam::222222222222:role/R",
        " arn:aws:iam::222222222222:role/R",
        "arn:aws:iam:222222222222:role/R",
    ],
)
def test_text_that_is_no_arn_is_none(text):
    assert arns.parse(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("arn:aws:iam::222222222222:role/EventWriter", "EventWriter"),
        ("arn:aws-cn:iam::222222222222:role/EventWriter", "EventWriter"),
        ("arn:aws-us-gov:iam::222222222222:role/EventWriter", "EventWriter"),
        ("arn:aws:iam::222222222222:role/team/data/EventWriter", "EventWriter"),
        ("arn:aws:iam::222222222222:role/a_+=,.@-9", "a_+=,.@-9"),
        (f"arn:aws:iam::222222222222:role/{'r' * 64}", "r" * 64),
        (f"arn:aws:iam::222222222222:role/{'r' * 65}", None),
        ("arn:aws:iam::222222222222:role/", None),
        ("arn:aws:iam::222222222222:role/team/", None),
        ("arn:aws:iam::222222222222:role//EventWriter", None),
        ("arn:aws:iam::222222222222:role/Event Writer", None),
        ("arn:aws:iam::222222222222:role/EventWriter\n", None),
        ("arn:aws:iam::222222222222:role/Schreiber-ü", None),
        ("arn:aws:iam::222222222222:roles/EventWriter", None),
        ("arn:aws:iam::222222222222:user/EventWriter", None),
        ("arn:aws:iam::222222222222:root", None),
        ("arn:aws:iam:eu-west-1:222222222222:role/EventWriter", None),
        ("arn:aws:sts::222222222222:assumed-role/EventWriter/web", None),
        ("arn:aws:kinesis:eu-west-1:222222222222:role/EventWriter", None),
    ],
)
def test_role_name_is_that_of_a_role_or_none(text, name):
    assert arns.role_name(arns.parse(text)) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("arn:aws:kinesis:eu-west-1:222222222222:stream/orders", "orders"),
        ("arn:aws-cn:kinesis:cn-north-1:222222222222:stream/orders", "orders"),
        ("arn:aws-us-gov:kinesis:us-gov-west-1:222222222222:stream/orders", "orders"),
        ("arn:aws:kinesis:eu-west-1:222222222222:stream/a_.-9", "a_.-9"),
        ("arn:aws:kinesis::222222222222:stream/orders", None),
        ("arn:aws:kinesis:ireland:222222222222:stream/orders", None),
        ("arn:aws:kinesis:eu-west-1:222222222222:stream/", None),
        ("arn:aws:kinesis:eu-west-1:222222222222:stream/a/b", None),
        ("arn:aws:kinesis:eu-west-1:222222222222:stream/orders/consumer/c:1", None),
        ("arn:aws:kinesis:eu-west-1:222222222222:stream/orders\n", None),
        ("arn:aws:firehose:eu-west-1:222222222222:deliverystream/orders", None),
        ("arn:aws:firehose:eu-west-1:222222222222:stream/orders", None),
    ],
)
def test_stream_name_is_that_of_a_kinesis_stream_or_none(text, name):
    assert arns.stream_name(arns.parse(text)) == name


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("orders", True),
        ("s", True),
        ("s" * 128, True),
        ("s" * 129, False),
        ("", False),
        ("a/b", False),
        ("a b", False),
        ("orders\n", False),
        ("bücher", False),
    ],
)
def test_is_stream_name_holds_to_the_characters_of_kinesis(text, can):
    assert arns.is_stream_name(text) is can
