"""The files of docs/deploy.md, read as those read them who get them."""

import json
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from botocore.session import Session
from botocore.validate import ParamValidator
from cfnlint import api as cfnlint

from kinesis_bridge.relay import STOP_SECONDS
from tests.docs.blocks import ROOT, blocks

BLOCKS = blocks(ROOT / "docs" / "deploy.md")
SPARE_SECONDS = 5
"""What ends after the last batch: connections, threads, Python itself."""


def text_of(kind):
    [found] = [block.text for block in BLOCKS if block.kind == kind]
    return found


def manifests():
    return {one["kind"]: one for one in yaml.safe_load_all(text_of("yaml"))}


def task():
    return json.loads(text_of("json"))


def test_the_relay_has_time_to_end_everywhere():
    [container] = task()["containerDefinitions"]
    given = [
        int(re.search(r"^TimeoutStopSec=(\d+)$", text_of("ini"), re.MULTILINE)[1]),
        manifests()["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        container["stopTimeout"],
    ]
    assert min(given) >= STOP_SECONDS + SPARE_SECONDS
    assert 2 <= container["stopTimeout"] <= 120  # Fargate's; ContainerDefinition, ECS API Reference


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not on this machine"
)
def test_systemd_finds_nothing_in_the_unit(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    unit = tmp_path / "kinesis-relay.service"
    unit.write_text(text_of("ini").replace("/srv/shop", str(tmp_path)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )

    # Of the machine's own units, which are verified with it, nothing is asked.
    assert [line for line in done.stderr.splitlines() if "kinesis-relay" in line] == []


@pytest.mark.parametrize("version", sorted(set(kubernetes_validate.utils.all_versions())))
@pytest.mark.parametrize("kind", manifests())
def test_kubernetes_takes_the_manifests(kind, version):
    kubernetes_validate.validate(manifests()[kind], version, strict=True)


def test_what_the_manifests_name_is_there():
    spec = manifests()["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    [port] = container["ports"]
    command = container["command"]

    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert pod["serviceAccountName"] == manifests()["ServiceAccount"]["metadata"]["name"]
    assert command[command.index("--health-port") + 1] == str(port["containerPort"])
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}


def test_ecs_takes_the_shape_of_the_task_definition():
    operation = Session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    assert not ParamValidator().validate(task(), operation.input_shape).generate_report()


def test_the_values_of_the_task_definition_go_together():
    """Fargate's sizes and what needs what: cfn-lint knows more than the API's model."""
    template = {"Resources": {"Task": {
        "Type": "AWS::ECS::TaskDefinition", "Properties": as_cloudformation(task()),
    }}}  # fmt: skip
    found = cfnlint.lint(json.dumps(template), regions=["eu-west-1"])
    assert [str(match) for match in found] == []


def as_cloudformation(value):
    """The same names with a capital letter, but those of a log driver's options."""
    if isinstance(value, list):
        return [as_cloudformation(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name[0].upper() + name[1:]: inner if name == "options" else as_cloudformation(inner)
        for name, inner in value.items()
    }


def test_the_health_check_asks_the_relay_s_port():
    [container] = task()["containerDefinitions"]
    port = container["command"][container["command"].index("--health-port") + 1]
    assert f"127.0.0.1:{port}/livez" in container["healthCheck"]["command"][-1]


def test_the_procfile_has_a_relay():
    types = dict(line.split(": ", 1) for line in text_of("procfile").splitlines())
    # "The Procfile", Heroku Dev Center: letters and digits; release is run before a release.
    assert all(name.isalnum() for name in types)
    assert types["relay"].startswith("python manage.py kinesis_relay")
