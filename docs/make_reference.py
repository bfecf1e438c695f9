"""Make docs/reference/ out of the code: ``python docs/make_reference.py``.

Each page is a function of :data:`PAGES`. What they say is taken from dataclasses and their
docstrings, the parsers of the commands, the rules of the settings and the tables of the checks.
"""

from __future__ import annotations

import argparse
import inspect
import os
import pkgutil
import re
import sys
import textwrap
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from code_says import APP, ROOT, attribute_docs, docstring_table, refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MADE = "Made by `python docs/make_reference.py` from {source}.\n"


# Markdown


def prose(text: str) -> str:
    """Turn the inline markup of a docstring into Markdown on one line."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return " ".join(re.sub(r"``(.+?)``", r"`\1`", text).split())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = (re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in row)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def code(value: object) -> str:
    """Return a value as Python writes it, as code."""
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


# The pages


def settings_page() -> str:
    """Return the page of the settings."""
    from kinesis_bridge.conf.options import STREAM_OPTIONS  # noqa: PLC0415
    from kinesis_bridge.conf.types import (  # noqa: PLC0415
        DELIVERIES,
        BridgeConfig,
        RoleConfig,
        StreamConfig,
    )

    deliveries = {name: _import(path) for name, path in DELIVERIES.items()}
    parts = [
        "# Settings",
        MADE.format(source="`kinesis_bridge.conf` and the deliveries"),
        (
            "`KINESIS_BRIDGE` is a dictionary, or what `settings_from_env(env)` makes of the"
            " environment (an empty variable counts as unset). `manage.py check` says all that is"
            " wrong in it at once: [system checks](checks.md)."
        ),
        "## At the top",
        _keys(BridgeConfig, ""),
        '## `ROLES["<alias>"]`',
        prose(inspect.getdoc(RoleConfig) or ""),
        _keys(RoleConfig, '["ROLES"]["default"]'),
        '## `STREAMS["<alias>"]`',
        prose(inspect.getdoc(StreamConfig) or ""),
        _keys(StreamConfig, '["STREAMS"]["default"]'),
        '## `STREAMS["<alias>"]["DELIVERY"]`',
        table(
            ["name", "class", "does"],
            (
                (f"`{name}`", f"`{found.__module__}.{found.__qualname__}`", _summary(found))
                for name, found in deliveries.items()
            ),
        ),
        '## `STREAMS["<alias>"]["OPTIONS"]`',
        "A name that is not listed for the stream's delivery is refused.",
        _options("every stream", STREAM_OPTIONS),
        *(
            _options(f"`{name}`", found.options)
            for name, found in deliveries.items()
            if found.options
        ),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _keys(config: type, path: str) -> str:
    from kinesis_bridge.conf.rules import ROLE_KEYS, STREAM_KEYS, TOP_KEYS  # noqa: PLC0415
    from kinesis_bridge.conf.values import TEXTS  # noqa: PLC0415

    known = {*TOP_KEYS, *ROLE_KEYS, *STREAM_KEYS}
    docs, environment = attribute_docs(config), _environment()
    rows = []
    for field in fields(config):
        key = field.name.upper()
        if key not in known:
            continue
        example = f" Example: `{TEXTS[key].example}`." if key in TEXTS else ""
        variable = environment.get(f'{path}["{key}"]', [])
        rows.append(
            (
                f"`{key}`",
                ", ".join(f"`{name}`" for name in variable),
                _default(field) if path else _default_at_the_top(field.name),
                prose(docs[field.name]) + example,
            )
        )
    return table(["key", "environment", "default", "meaning"], rows)


def _default(field: Any) -> str:
    if field.default is not MISSING:
        return "none" if field.default is None else code(field.default)
    return "required" if field.default_factory is MISSING else "`{}`"


def _default_at_the_top(name: str) -> str:
    """Return what the shortest settings leave there: some defaults depend on the project."""
    from kinesis_bridge.conf.rules import read  # noqa: PLC0415

    if name == "streams":
        return "required"
    config, _ = read({"STREAMS": {"default": {"STREAM": "orders"}}}, "/PROJECT")
    value = getattr(config, name)
    return "`{}`" if name == "roles" else code(value).replace("PROJECT", "<project package>")


def _environment() -> dict[str, list[str]]:
    """Return the variables that fill each key, by asking ``settings_from_env`` itself."""
    from kinesis_bridge.conf import settings_from_env  # noqa: PLC0415

    class Asked:
        BOOLEAN_TRUE_STRINGS = ()

        @staticmethod
        def str(name: str, default: str) -> str:  # noqa: ARG004
            return f"<{name}>"

    found: dict[str, list[str]] = {}

    def walk(value: object, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f'{path}["{key}"]')
        elif isinstance(value, str) and value.startswith("<"):
            found.setdefault(path, []).append(value.strip("<>"))

    walk(settings_from_env(Asked()), "")  # type: ignore[arg-type]
    return found


def _options(whose: str, options: Iterable[Any]) -> str:
    rows = (
        (f"`{option.name}`", code(option.default), _bounds(option), prose(option.help))
        for option in options
    )
    return f"Of {whose}:\n\n" + table(["option", "default", "may be", "meaning"], rows)


def _bounds(option: Any) -> str:
    if option.choices:
        return ", ".join(code(choice) for choice in option.choices)
    if option.minimum is None and option.maximum is None:
        return ""
    low = "" if option.minimum is None else f"{option.minimum:,}"
    return f"{low} to {option.maximum:,}" if option.maximum is not None else f"from {low} on"


def commands_page() -> str:
    """Return the page of the commands."""
    import kinesis_bridge.management.commands as package  # noqa: PLC0415

    parts = [
        "# Commands",
        MADE.format(source="the commands' own parsers"),
        (
            "`python manage.py COMMAND --help` prints the same. Django's own options"
            " (`--settings`, `--verbosity`, ...) are left out. Exit 0: done. Exit 1: failed, with"
            " the cause, whose it is, and the fix."
        ),
    ]
    for found in pkgutil.iter_modules(package.__path__):
        parser = command(found.name).create_parser("manage.py", found.name)
        parts += _command(found.name, parser)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def command(name: str) -> Any:
    """Return a command of the package."""
    from django.core.management import load_command_class  # noqa: PLC0415

    return load_command_class(APP, name)


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    from django.core.management.base import BaseCommand  # noqa: PLC0415

    djangos = {one.dest for one in BaseCommand().create_parser("", "")._actions}  # noqa: SLF001
    own = [one for one in parser._actions if one.dest not in djangos]  # noqa: SLF001
    yield f"## {name}"
    yield parser.description or ""
    yield table(
        ["argument", "default", "meaning"],
        ((_argument(one), _argument_default(one), prose(one.help or "")) for one in own),
    )


def _argument(action: argparse.Action) -> str:
    if action.choices is not None:
        value = " ".join(("{" + ",".join(map(str, action.choices)) + "}").split())
    else:
        value = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return f"`{value}{'...' if action.nargs in {'*', '+'} else ''}`"
    name = ", ".join(action.option_strings)
    return f"`{name}`" if action.nargs == 0 else f"`{name} {value}`"


def _argument_default(action: argparse.Action) -> str:
    if action.nargs == 0 or action.default in (None, argparse.SUPPRESS, []):
        return ""
    return f"`{action.default}`"


def events_page() -> str:
    """Return the page of the event's attributes and of the exceptions."""
    from kinesis_bridge import exceptions  # noqa: PLC0415
    from kinesis_bridge.event import Event, PutResult, RejectedRecord  # noqa: PLC0415

    parts = [
        "# Events and exceptions",
        MADE.format(source="`kinesis_bridge.event` and `kinesis_bridge.exceptions`"),
        "What is on the wire, and how each field is written: [the contract](../events.md).",
    ]
    for made in (Event, PutResult, RejectedRecord):
        defaults = {one.name: _default(one) for one in fields(made)} if made is Event else {}
        parts += [
            f"## {made.__name__}",
            *map(prose, (inspect.getdoc(made) or "").split("\n\n")),
            table(
                ["attribute", *(["default"] if defaults else []), "is"],
                (
                    (f"`{name}`", *([_made(defaults[name])] if defaults else []), prose(text))
                    for name, text in attribute_docs(made).items()
                    if not defaults or name in defaults
                ),
            ),
        ]
    tree = (inspect.getdoc(exceptions) or "").split("::\n")[1]
    drawn = [line for line in tree.splitlines() if line.startswith("    ")]
    parts += [
        "## Exceptions",
        "<!-- block: shown the tree of the exceptions -->\n```text\n"
        + textwrap.dedent("\n".join(drawn))
        + "\n```",
        "A wrong setting is Django's `ImproperlyConfigured`.",
        *_exceptions(exceptions),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _made(default: str) -> str:
    return "made" if default == "`{}`" else default


def _exceptions(module: Any) -> Iterator[str]:
    for made in vars(module).values():
        if not (isinstance(made, type) and made.__module__ == module.__name__):
            continue
        yield f"### {made.__name__}"
        yield from map(prose, (inspect.getdoc(made) or "").split("\n\n"))
        attributes = {name: text for name, text in attribute_docs(made).items() if text}
        if attributes:
            yield table(
                ["attribute", "is"],
                ((f"`{name}`", prose(text)) for name, text in attributes.items()),
            )


def signals_page() -> str:
    """Return the page of the signals."""
    from kinesis_bridge import signals  # noqa: PLC0415

    paragraphs = (inspect.getdoc(signals) or "").split("\n\n")
    rows = docstring_table("kinesis_bridge.signals")
    parts = [
        "# Signals",
        MADE.format(source="`kinesis_bridge.signals`"),
        table(["signal", "sent with"], ((prose(name), prose(text)) for name, text in rows)),
        *(prose(text) for text in paragraphs[2:] if not text.startswith("=")),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def checks_page() -> str:
    """Return the page of the system checks."""
    modules = ("checks", "outbox_checks", "deploy_checks", "trigger_checks")
    rows = dict(refusals())
    for module in modules:
        for ids, text in docstring_table(f"kinesis_bridge.{module}"):
            if not re.match(r"[EW]\d+[-,]", ids) and not (ids.startswith("E0") and ids in rows):
                rows[ids] = prose(text)
    parts = [
        "# System checks",
        MADE.format(source="`kinesis_bridge.conf.rules` and the modules of the checks"),
        (
            "`manage.py check` shows all of them at once, each with an example of what is right."
            " The ids are stable and can be silenced with `SILENCED_SYSTEM_CHECKS`."
            " (database): only with `check --database ALIAS`. (deploy): only with `check --deploy`."
        ),
        table(
            ["id", "says"], ((f"`kinesis_bridge.{i}`", text) for i, text in sorted(rows.items()))
        ),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _import(path: str) -> Any:
    from django.utils.module_loading import import_string  # noqa: PLC0415

    return import_string(path)


def _summary(made: type) -> str:
    return prose((inspect.getdoc(made) or "").split("\n\n")[0])


PAGES: dict[str, Callable[[], str]] = {
    "settings": settings_page,
    "commands": commands_page,
    "events": events_page,
    "signals": signals_page,
    "checks": checks_page,
}


def main() -> None:
    """Write the pages."""
    import django  # noqa: PLC0415

    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    django.setup()
    for name, page in PAGES.items():
        (ROOT / "docs" / "reference" / f"{name}.md").write_text(page())


if __name__ == "__main__":
    main()
