"""The three formats say what the documents say, whatever characters those hold."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kinesis_bridge import iam
from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.iam.terraform import quoted
from tests.support.iam import (
    FIREHOSE,
    GATE,
    KEY,
    ORDERS,
    WRITER,
    documents,
    grants,
    run_script,
    said_by_cli,
    said_by_cloudformation,
    said_by_terraform,
    settings,
)

DEMO_ROLE = "arn:aws:iam::222222222222:role/EventWriter"
ODD = [
    "plain-1",
    "it's",
    'say "hi"',
    "back\\slash\\n",
    "$HOME `id` $(id)",
    "${x}",
    "$${x}",
    "%{if}",
    "#{x} # no comment",
    "!Ref x: - [y]",
    "Ünï ✓",
    "yes",
    "0123",
    "--flag",
]
TEXTS = {
    "default": {"STREAM": ORDERS, "ROLE": "writer", "OPTIONS": {"AGGREGATE": "shard"}},
    "lake": {"STREAM": FIREHOSE, "ROLE": "writer"},
    "direct": {"STREAM": ORDERS.replace("orders", "direct")},
}
CHAIN = {
    "gate": {"ROLE_ARN": GATE, "TAGS": {"site": "shop"}},
    "writer": {"ROLE_ARN": WRITER, "VIA": "gate", "EXTERNAL_ID": "shop-7f3a"},
}
ZIGZAG = {
    "one": {"ROLE_ARN": "arn:aws:iam::222222222222:role/One"},
    "two": {"ROLE_ARN": "arn:aws:iam::333333333333:role/Two", "VIA": "one"},
    "writer": {"ROLE_ARN": WRITER, "VIA": "two"},
}
MADE = {
    "plain": grants(),
    "everything": grants(settings(CHAIN, **TEXTS), kms_key=KEY),
    "user": grants(principal="arn:aws:iam::111111111111:user/team/site"),
    "root": grants(principal="arn:aws:iam::111111111111:root"),
    "one account": grants(principal="arn:aws:iam::222222222222:role/EventWriter-site"),
    "chain in one account": grants(
        settings({**CHAIN, "gate": {"ROLE_ARN": GATE.replace("333333333333", "222222222222")}})
    ),
    "no role": grants(settings(default={"STREAM": ORDERS}), read=True),
    "there and back": grants(settings(ZIGZAG)),
}


def odd(external_id):
    config = settings()
    role = replace(config.roles["writer"], external_id=external_id)
    return grants(replace(config, roles={"writer": role}))


ALL = [
    *(pytest.param(made, id=name) for name, made in MADE.items()),
    *(pytest.param(odd(text), id=ascii(text)) for text in ODD),
]


def in_order(found, made):
    """Both as sorted text: stacks and files group the documents in their own order."""
    return [sorted(json.dumps(each, sort_keys=True) for each in side)
            for side in (found, documents(made))]  # fmt: skip


@pytest.mark.parametrize("made", ALL)
def test_script_gives_the_documents_to_aws(made, tmp_path):
    script = iam.to_cli(made)

    said, meant = in_order(said_by_cli(script, made, tmp_path), made)
    assert said == meant


@pytest.mark.parametrize("name", ["everything", "user", "root", "no role", "there and back"])
def test_script_run_again_gives_the_same_documents(name, tmp_path):
    made = MADE[name]
    script = iam.to_cli(made)
    first = said_by_cli(script, made, tmp_path)

    assert said_by_cli(script, made, tmp_path) == first


@pytest.mark.parametrize("made", ALL)
def test_templates_hold_the_documents(made):
    said, meant = in_order(said_by_cloudformation(iam.to_cloudformation(made)), made)
    assert said == meant


@pytest.mark.parametrize("made", ALL)
def test_terraform_holds_the_documents(made):
    said, meant = in_order(said_by_terraform(iam.to_terraform(made)), made)
    assert said == meant


@pytest.mark.parametrize("made", ALL)
def test_script_is_one_of_the_shell(made):
    subprocess.run(["sh", "-n"], input=iam.to_cli(made), text=True, check=True)


def test_script_makes_each_accounts_part_with_that_accounts_credentials(tmp_path):
    script = iam.to_cli(MADE["plain"])

    _, role = run_script(script, "222222222222", tmp_path)
    _, site = run_script(script, "111111111111", tmp_path)
    other, nothing = run_script(script, "999999999999", tmp_path)

    assert [command for command, _ in role] == ["iam create-role", "iam put-role-policy"]
    assert role[0][1]["path"] == "/team/"
    assert role[0][1]["role-name"] == "EventWriter"
    assert [command for command, _ in site] == ["iam put-role-policy"]
    assert site[0][1]["role-name"] == "shop-web"
    assert (other.returncode, nothing) == (1, [])
    assert "Nothing to make in account 999999999999" in other.stderr
    assert script.index("account 222222222222") < script.index("account 111111111111")


def test_script_changes_a_role_that_exists_and_shows_whom_it_trusted(tmp_path):
    script = iam.to_cli(MADE["plain"])
    run_script(script, "222222222222", tmp_path)

    done, again = run_script(script, "222222222222", tmp_path)

    assert [command for command, _ in again] == [
        "iam update-assume-role-policy",
        "iam update-role",
        "iam put-role-policy",
    ]
    assert again[1][1]["max-session-duration"] == "3600"
    assert '{"the": "old one"}' in done.stderr


def test_script_leaves_a_role_of_another_path_alone(tmp_path):
    run_script(iam.to_cli(MADE["chain in one account"]), "222222222222", tmp_path)
    (tmp_path / "222222222222" / "role-EventWriter").write_text("arn:x:role/other/EventWriter\n")

    done, commands = run_script(iam.to_cli(MADE["plain"]), "222222222222", tmp_path)

    assert (done.returncode, commands) == (1, [])
    assert "exists as arn:x:role/other/EventWriter, and the settings have" in done.stderr
    assert "mend ROLE_ARN" in done.stderr


def test_script_that_may_not_look_makes_nothing(tmp_path):
    (tmp_path / "222222222222").mkdir()
    (tmp_path / "222222222222" / "denied").touch()

    done, commands = run_script(iam.to_cli(MADE["plain"]), "222222222222", tmp_path)

    assert (done.returncode, commands) == (1, [])
    assert "(AccessDenied)" in done.stderr


def test_script_says_which_policy_has_too_many_versions(tmp_path):
    script = iam.to_cli(MADE["root"])
    runs = [run_script(script, "111111111111", tmp_path) for _ in range(6)]

    assert [done.returncode for done, _ in runs] == [0, 0, 0, 0, 0, 1]
    [(command, options)] = runs[1][1]
    assert command == "iam create-policy-version"
    assert options["policy-arn"] == "arn:aws:iam::111111111111:policy/kinesis-bridge"
    assert "set-as-default" in options
    assert "delete-policy-version --policy-arn=arn:aws:iam::111111111111:" in runs[5][0].stderr


def test_account_with_several_turns_has_a_step_a_file_and_a_stack_for_each(tmp_path):
    made = MADE["there and back"]
    script = iam.to_cli(made)

    said = [run_script(script, "222222222222", tmp_path, step) for step in ("1", "3", "2", "")]

    roles = [[options["role-name"] for _, options in commands] for _, commands in said]
    assert roles == [["One", "One"], ["EventWriter", "EventWriter"], [], []]
    assert [done.returncode for done, _ in said] == [0, 0, 1, 1]
    steps = "step 1 in 222222222222, step 2 in 333333333333, step 3 in 222222222222, step 4 in 111"
    assert steps in said[3][0].stderr
    headers = [line for line in iam.to_terraform(made).splitlines() if line.startswith("# ----")]
    assert headers[2] == "# ---- account-222222222222-2.tf ----"
    stacks = iam.to_cloudformation(made).split("---\n")[1:]
    assert "its stack number 2" in stacks[2]
    assert "DependsOn" not in stacks[2]


def test_a_stack_for_each_account():
    b, a = yaml.safe_load_all(iam.to_cloudformation(MADE["plain"]))

    role = b["Resources"]["BridgeRole"]["Properties"]
    assert (role["RoleName"], role["Path"]) == ("EventWriter", "/team/")
    assert role["Description"] == "kinesis_bridge writes to orders"
    assert a["Resources"]["SitePolicy"]["Properties"]["RoleName"] == "shop-web"


def test_roles_of_names_that_look_alike_have_labels_of_their_own():
    roles = {
        "writer": {"ROLE_ARN": "arn:aws:iam::222222222222:role/event-writer"},
        "other": {"ROLE_ARN": "arn:aws:iam::222222222222:role/Event.Writer"},
        "third": {"ROLE_ARN": "arn:aws:iam::222222222222:role/3rd"},
    }
    made = grants(settings(roles), unused_roles=True)

    text = iam.to_terraform(made)

    for label in ("event_writer", "event_writer_2", "bridge_3rd"):
        assert text.count(f'resource "aws_iam_role" "{label}"') == 1
    resources = next(yaml.safe_load_all(iam.to_cloudformation(made)))["Resources"]
    assert list(resources) == ["BridgeRole", "BridgeRole2", "BridgeRole3"]


def test_role_is_made_after_the_role_that_it_trusts():
    near = GATE.replace("333333333333", "222222222222")
    made = grants(settings({**CHAIN, "gate": {"ROLE_ARN": near}}))

    resources = next(yaml.safe_load_all(iam.to_cloudformation(made)))["Resources"]

    assert "DependsOn" not in resources["BridgeRole"]
    assert resources["BridgeRole2"]["DependsOn"] == ["BridgeRole"]
    assert "depends_on           = [aws_iam_role.gate]" in iam.to_terraform(made)


def test_the_documents_of_the_demo_settings_stand_in_the_docs():
    roles = {"default": {"ROLE_ARN": DEMO_ROLE, "EXTERNAL_ID": "demo-shop"}}
    stream = {"STREAM": "orders", "ROLE": "default", "REGION": "eu-west-1"}
    made = grants(settings(roles, default=stream))
    docs = (Path(__file__).parents[2] / "docs" / "iam.md").read_text()

    assert f"```json\n{json.dumps(made.as_dict(), indent=2)}\n```" in docs
    assert f"```sh\n{iam.to_cli(made)}```" in docs
    assert f"```yaml\n{iam.to_cloudformation(made)}```" in docs
    assert f"```hcl\n{iam.to_terraform(made)}```" in docs


def test_what_terraform_cannot_say_is_refused():
    with pytest.raises(PolicyError, match="another --format"):
        quoted("a&{b}")


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
@pytest.mark.parametrize("made", ALL)
def test_terraform_has_nothing_to_format(made):
    run = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-"],
        input=iam.to_terraform(made), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout
