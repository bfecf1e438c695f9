"""Who makes what first, and how long a policy may be."""

import pytest

from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.iam.limits import size_of
from tests.support.iam import ORDERS, SITE, WRITER, grants, settings

B, C, D = "222222222222", "333333333333", "444444444444"
A = "111111111111"


def arn(account, name):
    return f"arn:aws:iam::{account}:role/{name}"


def chain(*steps):
    """Roles of a chain, the last of them `writer`."""
    names = [*(f"step{number}" for number in range(1, len(steps))), "writer"]
    return {
        name: {"ROLE_ARN": step, **({"VIA": before} if before else {})}
        for name, step, before in zip(names, steps, [None, *names], strict=False)
    }


def order(roles, **asked):
    """The turns, by account and names."""
    made = grants(settings(roles), **asked)
    return [(turn.account, [part.name for part in turn.parts]) for turn in made.turns]


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (chain(arn(B, "R")), [(B, ["R"]), (A, ["shop-web"])]),
        (chain(arn(C, "G"), arn(B, "R")), [(C, ["G"]), (B, ["R"]), (A, ["shop-web"])]),
        (chain(arn(A, "G"), arn(B, "R")), [(A, ["G", "shop-web"]), (B, ["R"])]),
        (
            chain(arn(B, "R1"), arn(C, "R2"), arn(B, "R3")),
            [(B, ["R1"]), (C, ["R2"]), (B, ["R3"]), (A, ["shop-web"])],
        ),
        (
            chain(arn(D, "R1"), arn(B, "R2"), arn(B, "R3"), arn(C, "R4")),
            [(D, ["R1"]), (B, ["R2", "R3"]), (C, ["R4"]), (A, ["shop-web"])],
        ),
    ],
    ids=["two accounts", "three", "way through A", "there and back", "four"],
)
def test_role_is_made_after_those_that_it_trusts(roles, expected):
    assert order(roles) == expected


def test_order_of_the_settings_does_not_matter():
    roles = dict(reversed(chain(arn(C, "G"), arn(B, "R")).items()))

    assert order(roles, unused_roles=True) == [(C, ["G"]), (B, ["R"]), (A, ["shop-web"])]


def test_account_waits_rather_than_having_two_turns():
    roles = {
        "alone": {"ROLE_ARN": arn(B, "Alone")},
        **chain(arn(C, "G"), arn(B, "R")),
    }
    # B's role is the first of all, and could be made at once.
    through = {name: {"STREAM": ORDERS, "ROLE": name} for name in ("alone", "writer")}

    turns = grants(settings(roles, **through)).turns

    assert [turn.account for turn in turns] == [C, B, A]


def test_roles_that_trust_each_other_are_refused():
    roles = {
        "one": {"ROLE_ARN": arn(B, "One"), "VIA": "two"},
        "two": {"ROLE_ARN": arn(C, "Two")},
        "three": {"ROLE_ARN": arn(C, "Two"), "VIA": "four"},
        "writer": {"ROLE_ARN": arn(B, "One"), "VIA": "three"},
        "four": {"ROLE_ARN": arn(B, "One")},
    }

    with pytest.raises(PolicyError) as caught:
        order(roles, unused_roles=True)

    assert f"({arn(B, 'One')} trusts {arn(C, 'Two')} trusts {arn(B, 'One')})" in str(caught.value)


def test_role_that_the_site_runs_as_cannot_trust_itself():
    with pytest.raises(PolicyError, match=r'ROLES\["writer"\] is .*leave it out'):
        grants(principal=WRITER)


def many(count, external="x" * 40):
    """Roles of one ARN, each alias with a statement of its own in the trust policy."""
    return {
        ("writer" if number == 0 else f"alias{number}"): {
            "ROLE_ARN": WRITER,
            "EXTERNAL_ID": f"{external}{number}",
        }
        for number in range(count)
    }


def test_size_is_counted_as_iam_does_without_white_space():
    assert size_of({"Version": "2012-10-17", "Statement": []}) == 39


def test_trust_policy_over_the_usual_quota_is_warned_of():
    few, more = (grants(settings(many(count)), unused_roles=True) for count in (7, 9))

    assert few.warnings == ()
    [warning] = more.warnings
    assert size_of(few.main.trust) <= 2048 < size_of(more.main.trust)
    assert f"Account {B}: the trust policy of role EventWriter has 2," in warning
    assert "takes 2,048" in warning
    assert '"Role trust policy length"' in warning


def test_trust_policy_over_every_quota_is_refused():
    with pytest.raises(PolicyError, match=r"role EventWriter has 9,\d+ .* at most 8,192"):
        grants(settings(many(8, "x" * 1000)), unused_roles=True)


def streams(count):
    return {
        ("default" if number == 0 else f"s{number}"): {
            "STREAM": ORDERS + "x" * 100 + str(number),
            "ROLE": "writer",
        }
        for number in range(count)
    }


def test_policy_of_a_role_over_its_limit_is_refused():
    assert grants(settings(**streams(50))).warnings == ()
    with pytest.raises(PolicyError, match=rf"Account {B}: the policy of role EventWriter .*10,240"):
        grants(settings(**streams(70)))


@pytest.mark.parametrize(
    ("principal", "count", "reason"),
    [
        (f"arn:aws:iam::{A}:user/site", 20, "policy of user site .*2,048.*run as a role"),
        (f"arn:aws:iam::{A}:root", 50, "managed policy .*6,144.*--principal"),
        (SITE, 90, "policy of role shop-web .*10,240"),
    ],
)
def test_policy_of_the_site_over_its_limit_is_refused(principal, count, reason):
    roles = {
        ("writer" if number == 0 else f"role{number}"): {"ROLE_ARN": arn(B, f"R{number}")}
        for number in range(count)
    }

    assert grants(settings(dict(list(roles.items())[:5])), principal, unused_roles=True)
    with pytest.raises(PolicyError, match=reason):
        grants(settings(roles), principal, unused_roles=True)
