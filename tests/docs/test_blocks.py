"""Every code block of the README and the documents is run, or parsed as what it says it is."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import environ
import hcl2
import pytest
import yaml
from django.db import connections, transaction
from django.test import override_settings

from kinesis_bridge.conf import find_problems, settings_from_env
from tests.docs import outputs
from tests.docs.blocks import KINDS, MARKS, PAGES, ROOT, all_blocks, is_run
from tests.docs.commands import parse, same
from tests.support.aws import environment
from tests.support.servers import Unavailable

BLOCKS = all_blocks()
S3_ROLE = "arn:aws:iam::222222222222:role/S3Viewer"
FIREHOSE = "arn:aws:firehose:eu-west-1:222222222222:deliverystream/site-logs"


def of(*kinds, mark=None):
    found = [
        pytest.param(one, id=one.id)
        for one in BLOCKS
        if one.kind in kinds
        and (one.mark == mark if mark else one.mark in {"", "with", "file", "elsewhere"})
    ]
    return pytest.mark.parametrize("block", found)


def run_here():
    return [pytest.param(one, id=one.id) for one in BLOCKS if is_run(one)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What failed, by block: all run in one process, as a site's pages would be read."""
    folder = tmp_path_factory.mktemp("docs")
    variables = environment(
        folder,
        KINESIS_DELIVERY="outbox",
        KINESIS_LOCAL_AWS="True",
        KINESIS_S3_ROLE_ARN=S3_ROLE,
        KINESIS_FIREHOSE_ARN=FIREHOSE,
        PYTHONPATH=str(ROOT),
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.docs.worker"],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("block", run_here())
def test_python_and_our_commands_run(block, results):
    assert results[block.id] == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_fence_is_overlooked(page):
    fences = re.findall(r"^ *`{3,}", page.read_text(), re.MULTILINE)
    path = page.relative_to(ROOT).as_posix()
    assert len(fences) == 2 * sum(block.page == path for block in BLOCKS)


@pytest.mark.parametrize("block", [pytest.param(one, id=one.id) for one in BLOCKS])
def test_every_block_is_of_a_kind_that_is_checked(block):
    assert block.kind in KINDS
    assert block.mark in {"", *MARKS}
    if block.mark:
        assert block.word
    if block.kind == "text":
        assert block.mark in {"shown", "output", "file"}, "say what is shown, or whose output it is"


@of("json")
def test_json_is_json(block):
    json.loads(block.text)


@of("yaml")
def test_yaml_is_yaml(block):
    documents = list(yaml.safe_load_all(block.text))
    assert documents
    for words in commands_in(documents):
        parse(words)


def commands_in(value):
    """The arguments of manage.py that stand anywhere in it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, str) and "manage.py " in value:
        yield value.partition("manage.py ")[2].split()
    elif isinstance(value, list):
        if "manage.py" in value:
            yield value[value.index("manage.py") + 1 :]
        for item in value:
            yield from commands_in(item)


@of("json", "toml", "ini", "dockerfile", "procfile")
def test_commands_in_files_are_ones_that_there_are(block):
    text = re.sub(r'", "', " ", block.text)
    for arguments in re.findall(r'manage\.py ([^"\n]*)', text):
        parse(arguments.replace("$PORT", "8000").split())
    assert text


@of("toml")
def test_toml_is_toml(block):
    assert tomllib.loads(block.text)


@of("ini")
def test_ini_is_what_systemd_and_pgbouncer_read(block):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(block.text)
    assert parser.sections()


@of("hcl")
def test_hcl_is_hcl(block):
    assert hcl2.loads(block.text)


@of("sh")
def test_shell_scripts_are_posix(block):
    done = subprocess.run(
        ["sh", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@of("python", mark="file")
def test_files_of_the_tutorial_are_python(block):
    assert compile(block.text, block.word, "exec")


@of("shell")
def test_environments_make_settings(block, monkeypatch):
    given = dict(line.split("=", 1) for line in block.text.splitlines() if line.strip())
    for name in list(os.environ):
        if name.startswith("KINESIS_"):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with override_settings(KINESIS_BRIDGE=settings_from_env(environ.Env())):
        assert find_problems() == []


@pytest.mark.skipif(shutil.which("node") is None, reason="Node, which alone can tell, is not here")
@of("js")
def test_javascript_is_javascript(block):
    done = subprocess.run(
        ["node", "--check", "--input-type=module", "-"],
        input=block.text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.django_db(databases=["postgres"])
@of("sql")
def test_sql_runs(block):
    with transaction.atomic("postgres"), connections["postgres"].cursor() as cursor:
        cursor.execute("CREATE TABLE shop_order (id bigint, status text)")
        cursor.execute("CREATE ROLE importer")
        for statement in block.text.split(";"):
            if statement.strip() and statement.strip() not in {"BEGIN", "COMMIT"}:
                cursor.execute(statement)
        transaction.set_rollback(True, "postgres")
    assert block.text


@of(*KINDS, mark="output")
def test_output_is_what_is_printed(block, tmp_path):
    try:
        printed = outputs.MADE[block.word](tmp_path)
    except Unavailable as reason:  # PostgreSQL, for some of them
        pytest.skip(str(reason))
    same(block.text, printed)


@of(*KINDS, mark="elsewhere")
def test_what_runs_elsewhere_is_well_formed(block):
    if block.kind != "console":
        return
    done = subprocess.run(
        ["sh", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
