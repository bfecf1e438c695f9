"""What linters of others say of the documents: nothing.

cfn-lint reads the templates, trust and resource policies included; parliament knows which actions
there are and which resources each takes; python-hcl2 reads Terraform in ``test_iam_formats``.
"""

import json
import warnings

import pytest
from cfnlint import api as cfnlint

from kinesis_bridge import iam
from tests.unit.test_iam_formats import MADE


@pytest.fixture(scope="module")
def parliament():
    """parliament, which leaves files open and needs setuptools' own old module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import parliament
        except ModuleNotFoundError as error:
            if error.name != "pkg_resources":
                raise
            pytest.skip("parliament needs pkg_resources: pip install 'setuptools<81'")
    return parliament


@pytest.mark.parametrize("name", MADE)
def test_cfn_lint_finds_nothing(name):
    for template in iam.to_cloudformation(MADE[name]).split("---\n")[1:]:
        assert [str(match) for match in cfnlint.lint(template, regions=["eu-west-1"])] == []


@pytest.mark.parametrize("name", MADE)
def test_parliament_finds_nothing(parliament, name):
    made = MADE[name]
    policies = [made.site.policy, *(role.permission for role in made.roles)]
    for policy in policies:
        found = parliament.analyze_policy_string(json.dumps(policy)).findings
        assert [str(finding) for finding in found] == []


def test_parliament_would_find_an_action_that_there_is_not(parliament):
    policy = json.dumps(MADE["plain"].site.policy).replace("AssumeRole", "AssumeRoll")

    assert parliament.analyze_policy_string(policy).findings
