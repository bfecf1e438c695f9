"""The Japanese texts are whole: every marked string, every placeholder, compiled as they stand."""

import ast
import gettext
import re
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages import extract, mofile, pofile
from django.utils.translation import templatize

from kinesis_bridge import exceptions
from kinesis_bridge.snapshot import SnapshotError

PACKAGE = Path(__file__).parents[2] / "kinesis_bridge"
FOLDER = PACKAGE / "locale" / "ja" / "LC_MESSAGES"
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "marked": None,
    "ngettext": (1, 2),
}
MESSAGES = {"Error", "CheckWarning"}
TRANSLATING = ("_", "gettext", "gettext_lazy", "ngettext")
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}|%%")
MARKUP = re.compile(r"\[/?\w+\]|</?\w+>|`[^`]*`|(?<=manage\.py )\w+")
SOURCES = sorted(PACKAGE.rglob("*.py"))
SAID = {
    *(
        one.__name__
        for one in (*vars(exceptions).values(), SnapshotError)
        if isinstance(one, type)
        and issubclass(one, exceptions.KinesisBridgeError)
        and not issubclass(one, exceptions.AwsError)  # made of findings, which are translated
    ),
    "ImproperlyConfigured",
    "type(error)",
}
"""What commands and the page say with `said_by`."""
NOT_SAID = {
    # Raised while the site starts or declares its models: no command of ours is there yet.
    "apps.py",
    "contrib/__init__.py",
    "contrib/emf/options.py",
    "declarations.py",
    "declaring/arguments.py",
    "middleware.py",
    # Raised into code of the site that calls this: no command and no page does.
    "aggregation.py",
    "capture/strict.py",
    "client.py",
    "context.py",
    "delivery/background.py",
    "delivery/buffer.py",
    "delivery/coalesce.py",
    "delivery/outbox.py",
}


@pytest.fixture(scope="module")
def catalog():
    with (FOLDER / "django.po").open("rb") as file:
        return pofile.read_po(file, locale="ja")


def in_python():
    for path in SOURCES:
        with path.open("rb") as file:
            yield from extract.extract("python", file, KEYWORDS)


def in_templates():
    for path in sorted((PACKAGE / "templates").rglob("*.html")):
        code = templatize(path.read_text(), origin=str(path)).encode()
        yield from extract.extract("python", BytesIO(code), KEYWORDS)


def ids(message):
    return message.id if isinstance(message.id, tuple) else (message.id,)


def strings(message):
    return message.string if isinstance(message.string, tuple) else (message.string,)


def test_every_marked_string_has_a_translation_and_nothing_else_has(catalog):
    found = {each for _, each, _, _ in [*in_python(), *in_templates()] if each}
    assert len(found) > 500
    there = {message.id for message in catalog if message.id}
    assert found - there == set(), "run: make messages, and translate them"
    assert there - found == set(), "run: make messages"


def test_nothing_is_missing_or_guessed(catalog):
    assert not catalog.fuzzy
    for message in catalog:
        if message.id:
            assert not message.fuzzy, message.id
            assert all(strings(message)), message.id


def test_placeholders_and_markup_are_those_of_the_english_text(catalog):
    for message in catalog:
        if not message.id:
            continue
        wanted = ids(message)[-1]
        for string in strings(message):
            assert set(PLACEHOLDER.findall(string)) == set(PLACEHOLDER.findall(wanted)), message.id
            assert Counter(MARKUP.findall(string)) == Counter(MARKUP.findall(wanted)), message.id


def test_what_is_committed_is_compiled_of_it(catalog):
    made = BytesIO()
    mofile.write_mo(made, catalog)
    made.seek(0)
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog
    wanted = gettext.GNUTranslations(made)._catalog
    del compiled[""], wanted[""]
    assert compiled == wanted, "run: make messages"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_text_is_marked_within_an_f_string(path):
    """makemessages does not look into them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            for inner in ast.walk(node):
                marked = (
                    isinstance(inner, ast.Call)
                    and getattr(inner.func, "id", "") in TRANSLATING
                    and isinstance(inner.args[0], ast.Constant)
                )
                assert not marked, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_checks_say_is_made_to_be_translated(path):
    """A plain text would be printed in English in the midst of others."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MESSAGES:
            said = [*node.args, *(one.value for one in node.keywords if one.arg == "hint")]
            assert not any(isinstance(one, ast.Constant | ast.JoinedStr) for one in said), (
                f"{path}:{node.lineno}"
            )
        if isinstance(node, ast.ImportFrom) and node.module == "django.core.checks":
            assert not {"Error", "Warning"} & {one.name for one in node.names}, path


def errors_in(path):
    """Yield every making of an error that is said, and whether it is given a Text."""
    tree = ast.parse(path.read_text())
    texts = {
        one.name
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef) and one.returns and ast.unparse(one.returns) == "Text"
    } | {"Text", "text_of", "joined"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SAID:
            made = node.args[0] if node.args else None
            name = made.func if isinstance(made, ast.Call) else None
            yield node.lineno, getattr(name, "attr", getattr(name, "id", "")) in texts


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_errors_say_is_made_to_be_translated(path):
    """Commands and the page would say it in English in the midst of others."""
    if str(path.relative_to(PACKAGE)) not in NOT_SAID:
        assert [line for line, is_text in errors_in(path) if not is_text] == []


def test_errors_are_found_and_none_is_left_out_in_vain():
    found = {str(path.relative_to(PACKAGE)): [*errors_in(path)] for path in SOURCES}
    assert sum(is_text for errors in found.values() for _, is_text in errors) > 80
    in_vain = {name for name in NOT_SAID if all(is_text for _, is_text in found[name])}
    assert in_vain == set()
