"""Settings for the documents of IAM, and what each format says, read back."""

from __future__ import annotations

import json
import re
import subprocess

import hcl2
import yaml

from kinesis_bridge import iam
from kinesis_bridge.conf.rules import read

SITE = "arn:aws:iam::111111111111:role/shop-web"
WRITER = "arn:aws:iam::222222222222:role/team/EventWriter"
GATE = "arn:aws:iam::333333333333:role/Gate"
ORDERS = "arn:aws:kinesis:eu-west-1:222222222222:stream/orders"
AUDIT = "arn:aws:kinesis:eu-west-1:222222222222:stream/audit"
FIREHOSE = "arn:aws:firehose:eu-west-1:222222222222:deliverystream/lake"
KEY = "arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def settings(roles=None, **streams):
    """The settings as an object: by default one role, and the stream `default` through it."""
    roles = roles or {"writer": {"ROLE_ARN": WRITER, "EXTERNAL_ID": "shop-7f3a"}}
    streams = streams or {"default": {"STREAM": ORDERS, "ROLE": "writer"}}
    config, problems = read({"ROLES": roles, "STREAMS": streams}, "/shop")
    assert not problems, problems
    return config


def grants(config=None, principal=SITE, **asked):
    """The documents of every stream of `config`."""
    config = config or settings()
    targets = [
        iam.Target(stream=stream, arn=iam.stream_arn(stream, config.role_of(stream), "eu-west-1"))
        for stream in config.streams.values()
    ]
    return iam.make_grants(config, principal, targets, **asked)


def documents(made):
    """Every policy document of `made`, in the order in which they are made."""
    found = []
    for part in (*made.roles, *made.resources, made.site):
        policies = part.as_dict()
        names = ("trust_policy", "permission_policy", "resource_policy", "identity_policy")
        found += [policies[name] for name in names if name in policies]
    return found


# An account's IAM, as far as the script needs it: what exists stays in files. Notes are of what
# changes something.
FAKE = """\
#!/bin/sh
if [ "$1" = sts ]; then echo {account}; exit; fi
role= policy= query=
for word; do
    case "$word" in
    --role-name=*) role={there}/role-${{word#*=}} ;;
    --policy-name=*) policy={there}/policy-${{word#*=}} ;;
    --policy-arn=*) policy={there}/policy-${{word##*/}} ;;
    --path=*) path=${{word#*=}} ;;
    --query=*) query=${{word#*=}} ;;
    esac
done
fail() {{ echo "An error occurred ($1) when calling $2" >&2; exit 254; }}
case "$2" in
get-role) what=$role ;;
get-policy) what=$policy ;;
*)
    printf '%s\\0' "$@" >> '{notes}'
    printf '\\n\\0' >> '{notes}'
    ;;
esac
case "$2" in
get-*)
    [ ! -e {there}/denied ] || fail AccessDenied "$2"
    [ -e "$what" ] || fail NoSuchEntity "$2"
    if [ "$query" = Role.Arn ]; then cat "$what"; else echo '{{"the": "old one"}}'; fi
    ;;
create-role)
    [ ! -e "$role" ] || fail EntityAlreadyExists "$2"
    echo "arn:aws:iam::{account}:role$path${{role#*role-}}" > "$role"
    ;;
create-policy)
    [ ! -e "$policy" ] || fail EntityAlreadyExists "$2"
    echo v > "$policy"
    ;;
create-policy-version)
    [ "$(wc -l < "$policy")" -lt 5 ] || fail LimitExceeded "$2"
    echo v >> "$policy"
    ;;
update-*) [ -e "$role" ] || fail NoSuchEntity "$2" ;;
esac
"""


def run_script(script, account, tmp_path, *arguments):
    """Run the script with an `aws` that only takes notes; return each command's options.

    Run again, it finds what the run before has made: ``tmp_path / account`` has it.
    """
    there = tmp_path / account
    there.mkdir(exist_ok=True)
    notes = tmp_path / f"notes-{account}"
    notes.write_text("")
    fake = tmp_path / "aws"
    fake.write_text(FAKE.format(account=account, there=there, notes=notes))
    fake.chmod(0o755)
    done = subprocess.run(
        ["sh", "-s", "--", *arguments],
        input=script,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    commands = [command.split("\0")[:-1] for command in notes.read_text().split("\n\0")[:-1]]
    return done, [
        (" ".join(words[:2]), dict(word[2:].partition("=")[::2] for word in words[2:]))
        for words in commands
    ]


def said_by_cli(script, made, tmp_path):
    """The documents that the script gives to `aws`, step by step."""
    found = []
    turns = made.turns
    steps = len({turn.account for turn in turns}) < len(turns)
    for step, turn in enumerate(turns, 1):
        done, commands = run_script(script, turn.account, tmp_path, *([str(step)] if steps else []))
        assert done.returncode == 0, done.stderr
        names = ("assume-role-policy-document", "policy-document", "policy")
        found += [
            json.loads(options[name])
            for _, options in commands
            for name in names
            if name in options
        ]
    return found


def said_by_cloudformation(text):
    found = []
    for template in yaml.safe_load_all(text):
        for resource in template["Resources"].values():
            properties = resource["Properties"]
            names = ("AssumeRolePolicyDocument", "PolicyDocument", "ResourcePolicy")
            found += [properties[name] for name in names if name in properties]
            found += [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
    return found


def said_by_terraform(text):
    """The policy documents of all files: as the provider makes them of its data sources."""
    found = []
    for file in re.split(r"(?m)^(?=# ---- )", text)[1:]:
        for source in hcl2.loads(file)["data"]:
            [(_, labelled)] = source.items()
            [(_, body)] = labelled.items()
            statements = [_statement(block) for block in body["statement"]]
            found.append({"Version": "2012-10-17", "Statement": statements})
    return found


def _statement(block):
    statement = {
        "Sid": _text(block["sid"]),
        "Effect": _text(block["effect"]),
        "Action": _one_or_all(block["actions"]),
    }
    if "resources" in block:
        statement["Resource"] = _one_or_all(block["resources"])
    for principals in block.get("principals", ()):
        statement["Principal"] = {_text(principals["type"]): _one_or_all(principals["identifiers"])}
    for asked in block.get("condition", ()):
        condition = {_text(asked["variable"]): _one_or_all(asked["values"])}
        statement["Condition"] = {_text(asked["test"]): condition}
    return statement


def _one_or_all(values):
    texts = [_text(value) for value in values]
    return texts[0] if len(texts) == 1 else texts


def _text(value):
    return json.loads(re.sub(r"([$%])\1\{", r"\1{", value))
