"""What the documents say is what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.utils.module_loading import import_string
from mkdocs.exceptions import PluginError

from kinesis_bridge.conf.options import STREAM_OPTIONS
from kinesis_bridge.conf.rules import ROLE_KEYS, STREAM_KEYS, TOP_KEYS
from kinesis_bridge.conf.types import DELIVERIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
JAPANESE = (ROOT / "README.ja.md").read_text()
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")
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
def test_every_setting_is_in_the_reference(key):
    assert f"| `{key}` |" in (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert f"`{key}`" in JAPANESE or f'"{key}"' in JAPANESE


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_every_delivery_is_in_the_readme(delivery):
    assert f"| `{delivery}`" in README
    assert f"| `{delivery}`" in JAPANESE


def test_every_command_is_in_the_readme():
    ours = [name for name, app in get_commands().items() if app == "kinesis_bridge"]
    assert len(ours) >= 3
    assert all(f"| `{name}`" in README for name in ours)
    assert all(f"| `{name}`" in JAPANESE for name in ours)


def test_the_japanese_readme_has_the_same_code():
    assert set(FENCED.findall(README)) <= set(FENCED.findall(JAPANESE))


def test_the_japanese_readme_leads_to_all_pages_that_the_english_one_does():
    english, links = (
        {link.split("#")[0] for link in LINK.findall(readme) if ":" not in link}
        for readme in (README, JAPANESE)
    )
    assert len(links) > 15
    assert {page for page in english - links if page.endswith(".md")} == {"README.ja.md"}
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert "(README.ja.md)" in README


def test_every_variable_of_the_environment_has_its_line_in_the_example():
    example = (ROOT / ".env.example").read_text()
    for name in ("STREAM", "ROLE_ARN", "EXTERNAL_ID", "REGION", "SESSION_NAME", "PROFILE",
                 "DELIVERY", "SOURCE", "SCHEMAS", "LOCAL_AWS", "LOCAL_AWS_URL",
                 "STRICT"):  # fmt: skip
        assert f"\nKINESIS_{name}=" in example


def test_the_map_names_every_module_and_what_it_is_for():
    namespace = runpy.run_path(str(ROOT / "docs" / "make_map.py"))
    assert (ROOT / "CONTRIBUTING.md").read_text() == namespace["page"](), "run: make map"
    entries = re.findall(r"^ *- `([\w/]+)`: \S", "\n".join(namespace["_lines"]()), re.MULTILINE)
    modules = [
        path for path in (ROOT / "kinesis_bridge").rglob("*.py") if "migrations" not in path.parts
    ]
    assert len(modules) > 150
    assert sorted(entry.rstrip("/") for entry in entries) == sorted(
        path.parent.name if path.name == "__init__.py" else path.stem for path in modules
    )


def test_the_page_of_errors_is_what_the_table_says():
    made = runpy.run_path(str(ROOT / "docs" / "make_errors.py"))["page"]()
    assert (ROOT / "docs" / "errors.md").read_text() == made, "run: make errors"


@pytest.fixture
def reference(monkeypatch):
    """The functions that make the pages, by name."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["PAGES"]


@pytest.mark.parametrize("name", ["settings", "commands", "events", "signals", "checks"])
def test_the_reference_is_what_the_code_says(name, reference):
    written = (ROOT / "docs" / "reference" / f"{name}.md").read_text()
    assert written == reference[name](), "run: make reference"


def test_every_page_of_the_reference_is_compared(reference):
    assert set(reference) == {one.stem for one in (ROOT / "docs" / "reference").glob("*.md")}


def test_every_id_of_a_check_is_in_the_reference():
    page = (ROOT / "docs" / "reference" / "checks.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "kinesis_bridge").rglob("*.py"))
    ids = set(re.findall(r"kinesis_bridge\.([EW]\d{3})", code)) | set(
        re.findall(r'"(E\d{3})"', code)
    )
    assert len(ids) > 40
    assert [one for one in sorted(ids) if f"`kinesis_bridge.{one}`" not in page] == []


def test_a_link_out_of_the_documents_is_mapped_or_refused():
    hooks = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))
    assert hooks["site_link"]("../README.md#settings", "index.md") == "readme.md#settings"
    assert hooks["site_link"]("docs/outbox.md", "readme.md") == "outbox.md"
    assert hooks["site_link"]("../errors.md", "reference/events.md") == "../errors.md"
    with pytest.raises(PluginError, match=r"pyproject\.toml, which is not in the site"):
        hooks["site_link"]("../pyproject.toml", "index.md")
