"""The script and the templates of ``kinesis_iam``, run in ministack as they are printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from io import StringIO

import pytest
import yaml
from django.core.management import call_command

from kinesis_bridge import conf
from tests.support.ministack import (
    REGION,
    SECRET,
    fixture_ministack,  # noqa: F401
    fixture_world,  # noqa: F401
    run,
)

# The commands of the script, for a machine without the AWS CLI: `aws SERVICE OPERATION --name=...`.
AWS = f"""#!{sys.executable}
import sys

import boto3

service, operation, *options = sys.argv[1:]
client = boto3.client(service)
name = operation.replace("-", "_")
if name == "get_caller_identity":
    print(client.get_caller_identity()["Account"])
    sys.exit()
model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[name])
members = {{member.lower(): member for member in model.input_shape.members}}
given = {{}}
for option in options:
    key, value = option.removeprefix("--").split("=", 1)
    if key == "region":
        client = boto3.client(service, region_name=value)
        continue
    member = members[key.replace("-", "")]
    whole = model.input_shape.members[member].type_name == "integer"
    given[member] = int(value) if whole else value
getattr(client, name)(**given)
"""


@pytest.fixture
def aws(tmp_path):
    """The folder of an ``aws``: the AWS CLI where there is one."""
    found = shutil.which("aws")
    if found:
        return os.path.dirname(found)  # noqa: PTH120 - a folder for PATH
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "aws").write_text(AWS)
    (folder / "aws").chmod(0o755)
    return str(folder)


def printed(form, *arguments):
    out = StringIO()
    call_command("kinesis_iam", "--format", form, *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_script_run_in_each_account_lets_the_site_write(world, aws):
    world.b.make_stream()
    world.configure(ROLE_ARN=world.role_arn("team/EventWriter"))
    script = printed("cli")

    def in_account(account):
        return subprocess.run(
            ["sh", "-s"],
            input=script,
            env={
                **os.environ,
                "PATH": f"{aws}{os.pathsep}{os.environ['PATH']}",
                "AWS_ACCESS_KEY_ID": account.number,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": REGION,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    for account in (world.b, world.a):
        done = in_account(account)
        assert done.returncode == 0, done.stderr
    assert run("send_kinesis_test", "--no-read-back")["account"] == world.b.number

    elsewhere = in_account(world.c)
    assert elsewhere.returncode == 1
    assert f"Nothing to make in account {world.c}" in elsewhere.stderr


@pytest.mark.parametrize("principal", ["user", "root"])
def test_the_stacks_let_the_site_write(world, principal):
    """Both accounts' stacks; ministack has no ``AWS::IAM::UserPolicy``, so A's is read for it."""
    world.b.make_stream()
    world.configure()
    arn = {"user": world.site, "root": f"arn:aws:iam::{world.a}:root"}[principal]
    text = printed("cloudformation", "--principal", arn)
    for_b, for_a = text.split("---\n")[1:]

    def create(account, template):
        account.cloudformation.create_stack(
            StackName="bridge", TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        account.cloudformation.get_waiter("stack_create_complete").wait(
            StackName="bridge", WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
        )

    create(world.b, for_b)
    assert run("send_kinesis_test")["error"]["code"] == "AccessDenied"
    if principal == "root":
        create(world.a, for_a)
        [policy] = world.a.iam.list_policies(Scope="Local")["Policies"]
        world.a.iam.attach_user_policy(UserName="site", PolicyArn=policy["Arn"])
    else:
        [resource] = yaml.safe_load(for_a)["Resources"].values()
        world.a.put_policy(world.site, resource["Properties"]["PolicyDocument"])
    conf.reset()

    assert run("send_kinesis_test", "--no-read-back")["sent"] == 1
