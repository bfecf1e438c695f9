"""What the documents say is what the code does."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.utils.module_loading import import_string

from kinesis_bridge.conf.options import STREAM_OPTIONS
from kinesis_bridge.conf.rules import ROLE_KEYS, STREAM_KEYS, TOP_KEYS
from kinesis_bridge.conf.types import DELIVERIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PRODUCER = (ROOT / "docs" / "producer.md").read_text()
OUTBOX = (ROOT / "docs" / "outbox.md").read_text()
OPTIONS = [
    *STREAM_OPTIONS,
    *(option for path in DELIVERIES.values() for option in import_string(path).options),
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_listed_with_its_default(option):
    default = f'"{option.default}"' if isinstance(option.default, str) else repr(option.default)
    assert f"| `{option.name}` | `{default}` |" in PRODUCER + OUTBOX


@pytest.mark.parametrize("key", [*TOP_KEYS, *ROLE_KEYS, *STREAM_KEYS])
def test_every_setting_is_in_the_readme(key):
    assert f"`{key}`" in README or f'"{key}"' in README


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_every_delivery_is_in_the_readme(delivery):
    assert f"| `{delivery}`" in README


def test_every_command_is_in_the_readme():
    ours = [name for name, app in get_commands().items() if app == "kinesis_bridge"]
    assert len(ours) >= 3
    assert all(f"| `{name}`" in README for name in ours)


def test_every_variable_of_the_environment_has_its_line_in_the_example():
    example = (ROOT / ".env.example").read_text()
    for name in ("STREAM", "ROLE_ARN", "EXTERNAL_ID", "REGION", "SESSION_NAME", "PROFILE",
                 "DELIVERY", "SOURCE", "LOCAL_AWS", "LOCAL_AWS_URL"):  # fmt: skip
        assert f"\nKINESIS_{name}=" in example


def test_the_page_of_errors_is_what_the_table_says():
    made = runpy.run_path(str(ROOT / "docs" / "make_errors.py"))["page"]()
    assert (ROOT / "docs" / "errors.md").read_text() == made, "run: make errors"
