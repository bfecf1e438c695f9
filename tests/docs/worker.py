"""Run the blocks of the documents in one process: a site of its own, the emulator within.

``python -m tests.docs.worker`` in an empty folder; prints a JSON object, ``{block: what failed}``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging.config
import sys
import traceback
from typing import Any

import django


def main() -> None:
    """Run every block that is for here, in the order of the pages."""
    django.setup()
    from django.core.management import call_command

    from tests.docs import fixtures
    from tests.docs.blocks import all_blocks, is_run

    call_command("migrate", verbosity=0)
    fixtures.shop()
    call_command("kinesis_relay", once=True, stdout=io.StringIO())
    arrived = _arrived()
    failed: dict[str, str] = {}
    shared: dict[str, dict[str, Any]] = {}
    for block in all_blocks():
        if not is_run(block):
            continue
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                if block.kind == "python":
                    names = shared.setdefault(block.page, fixtures.names(arrived))
                    run_python(block, names)
                else:
                    run_console(block)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed[block.id] = f"{traceback.format_exc(limit=-2)}\n{out.getvalue()[-2000:]}"
        else:
            failed[block.id] = ""
    json.dump(failed, sys.stdout)


def _arrived() -> list[bytes]:
    from kinesis_bridge.conf import get_config
    from kinesis_bridge.tail import Reader

    reader = Reader(get_config().stream("default"))
    try:
        return [record.data for record in reader.tail("oldest") if b"shop.order" in record.data]
    finally:
        reader.close()


# Python


def run_python(block, names) -> None:
    """Execute it, then look at what it made: declarations and settings must be right."""
    from django.test.utils import isolate_apps

    from kinesis_bridge import declarations

    declared = declarations._declarations
    kept = {model: list(found) for model, found in declared.items()}
    if "publishes(" in block.text:
        declared.clear()
        declarations._found.clear()
    try:
        for text in _parts(block):
            with isolate_apps("demo_project.shop", "django.contrib.auth"):
                exec(compile("\n" * block.line + text, block.page, "exec"), names)
                _check_declarations()
            if block.word == "each alone":
                declared.clear()
        _check_settings(names)
    finally:
        declared.clear()
        declared.update(kept)
        declarations._found.clear()


def _parts(block) -> list[str]:
    """Return what is executed: a decorator at the end gets the class that is taken for granted."""
    text = block.text
    if block.word == "each alone":
        parts = text.split("@publishes")
        return [parts[0], *(f"@publishes{part}{ORDER}" for part in parts[1:])]
    try:
        compile(text, block.page, "exec")
    except SyntaxError:
        if text.rstrip().endswith((")", ")]")) or "# " in text.splitlines()[-1]:
            return [text + ORDER]
        raise
    return [text]


ORDER = "class Order(models.Model): pass\n"


def _check_declarations() -> None:
    from kinesis_bridge import checks, trigger_checks

    found = [*checks.check_declarations(), *trigger_checks.check_triggers()]
    errors = [str(one) for one in found if one.level >= 40]
    assert not errors, errors


def _check_settings(names) -> None:
    """Ask of each setting what Django or the package would ask of it."""
    from django.test import override_settings
    from django.utils.module_loading import import_string

    from kinesis_bridge.checks import check_settings

    with override_settings(KINESIS_BRIDGE=names["KINESIS_BRIDGE"]):
        assert not check_settings(), check_settings()
        if "LOGGING" in names:
            logging.config.dictConfig(names["LOGGING"])
            logging.config.dictConfig({"version": 1, "root": {"handlers": []}})
    if "KINESIS_BRIDGE_EMF" in names:
        from kinesis_bridge.contrib.emf.options import read_options

        with override_settings(KINESIS_BRIDGE_EMF=names["KINESIS_BRIDGE_EMF"]):
            read_options()
    for dotted in names.get("MIDDLEWARE", []):
        assert dotted is ... or import_string(dotted)


# Commands


def run_console(block) -> None:
    """Run what is ours, and look at the rest as far as it can be known here."""
    from kinesis_bridge import declarations
    from tests.docs import commands, fixtures
    from tests.docs.blocks import commands as of

    declared = declarations._declarations
    kept = {model: list(found) for model, found in declared.items()}
    if block.mark == "with":
        getattr(fixtures, block.word.replace(" ", "_"))()
    try:
        for command, shown in of(block):
            commands.run(command, shown)
    finally:
        declared.update(kept)
        declarations._found.clear()


if __name__ == "__main__":
    main()
