"""Every public name, one a line: what a site's code, settings, scripts and dashboards hold on to.

``python -m tests.support.public_names > tests/unit/public_names.txt`` writes them down anew.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from dataclasses import fields
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import django
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

PACKAGE = Path(__file__).parents[2] / "kinesis_bridge"
# What a site imports; None: the module's __all__, or without one the classes that it defines.
MODULES = {
    "kinesis_bridge": None,
    "kinesis_bridge.client": ["KinesisClient", "get_client"],
    "kinesis_bridge.conf": ["settings_from_env"],
    "kinesis_bridge.context": ["Context", "as_json", "current", "event_context"],
    "kinesis_bridge.contrib.health": ["Credentials", "DeadLetters", "Outbox", "Relay"],
    "kinesis_bridge.contrib.prometheus": None,
    "kinesis_bridge.delivery.base": ["Delivery"],
    "kinesis_bridge.event": ["PutResult", "RejectedRecord"],
    "kinesis_bridge.exceptions": None,
    "kinesis_bridge.logs": None,
    "kinesis_bridge.middleware": ["EventContextMiddleware"],
    "kinesis_bridge.pytest_plugin": ["kinesis_events"],
    "kinesis_bridge.streams": ["Stream.publish", "Stream.flush"],
    "kinesis_bridge.testing": None,
}
METRIC = r'(?:Counter|Gauge|Histogram|MetricFamily)\(\s*"(\w+)"'
APPS = ["kinesis_bridge.contrib.emf", "kinesis_bridge.contrib.opentelemetry",
        "kinesis_bridge.contrib.prometheus"]  # fmt: skip


def public_names():
    """Return all of them, sorted."""
    found = {
        *_importable(),
        *_signals(),
        *_settings(),
        *_commands(),
        *_answers(),
        *_numbered("check", r"\b([EW]0\d\d)\b", "*.py", prefix="kinesis_bridge."),
        *_numbered("metric", METRIC, "contrib/prometheus/*.py"),
    }
    return sorted(found)


def _importable():
    for name, wanted in MODULES.items():
        module = import_module(name)
        listed = wanted or getattr(module, "__all__", None) or list(_classes(module))
        for one in listed:
            yield f"import {name}.{one}"
            yield from _parts(f"import {name}.{one}", attrgetter(one)(module))
    yield from (f"app {name}" for name in APPS if import_module(f"{name}.apps"))


def _classes(module):
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_":
            yield name


def _parts(path, value):
    """Yield the parameters of what is called, and the attributes of a class."""
    if inspect.isfunction(value) or inspect.isclass(value):
        yield from (f"{path}({parameter})" for parameter in _parameters(value))
    if inspect.isclass(value):
        annotated = set(getattr(value, "__annotations__", ()))
        for name in annotated | set(vars(value)):
            if not name.startswith("_"):
                yield f"{path}.{name}"
                method = vars(value).get(name)
                if inspect.isfunction(method):
                    yield from (f"{path}.{name}({one})" for one in _parameters(method))


def _parameters(value):
    if inspect.isclass(value) and issubclass(value, Exception) and "__init__" not in vars(value):
        return []
    try:
        names = inspect.signature(value).parameters
    except ValueError:  # of a class in C
        return []
    return [name for name in names if name not in {"self", "args", "kwargs"} and name[0] != "_"]


def _signals():
    """Yield each signal with its arguments, by the table that documents them."""
    from kinesis_bridge import signals

    names = []
    for row in re.findall(r"^``\w+``  .*\n(?: .*\n)*", signals.__doc__, re.MULTILINE):
        name, *arguments = re.findall(r"``(\w+)``", row)
        names.append(name)
        yield f"signal {name}"
        yield from (f"signal {name}({argument})" for argument in arguments)
    assert [getattr(signals, name) for name in names] == [*signals.ALL]


def _settings():
    from kinesis_bridge.conf import env, options, rules, types
    from kinesis_bridge.contrib.emf.options import _NAMES
    from kinesis_bridge.logfields import NAMES
    from kinesis_bridge.serializers import get

    yield from (f"setting {key}" for key in rules.TOP_KEYS)
    yield from (f"setting ROLES[x].{key}" for key in rules.ROLE_KEYS)
    yield from (f"setting STREAMS[x].{key}" for key in rules.STREAM_KEYS)
    yield from (f"setting OPTIONS.{option.name}" for option in options.STREAM_OPTIONS)
    for delivery, dotted in types.DELIVERIES.items():
        module, _, name = dotted.rpartition(".")
        yield f"delivery {delivery}"
        for option in getattr(import_module(module), name).options:
            yield f"setting OPTIONS.{option.name} ({delivery})"
    yield from (f"setting KINESIS_BRIDGE_EMF.{key}" for key in _NAMES)
    yield from (f"log field {name}" for name in NAMES)
    yield from (f"serializer {name}" for name in ("cloudevents", "json") if get(name))
    asked = _Environment()
    env.settings_from_env(asked)
    yield from (f"environment {name}" for name in asked.names)


class _Environment:
    """Stands for django-environ's: every variable is set; remembers which were asked for."""

    BOOLEAN_TRUE_STRINGS = ("true",)

    def __init__(self):
        self.names = set()

    def str(self, name, default=""):
        self.names.add(name)
        return "x"


def _commands():
    everywhere = {
        option
        for action in BaseCommand().create_parser("manage.py", "x")._actions
        for option in action.option_strings
    }
    for name, app in get_commands().items():
        if app != "kinesis_bridge":
            continue
        yield f"command {name}"
        for action in load_command_class(app, name).create_parser("manage.py", name)._actions:
            for option in action.option_strings or [action.dest.upper()]:
                if option not in everywhere or option == "--json":
                    yield f"command {name} {option}"
                    for choice in action.choices or ():
                        yield f"command {name} {option} {choice}"


def _answers():
    """Yield the keys of what commands print as JSON, where a class has them."""
    from kinesis_bridge import deadletters, doctor, proof, status, tail
    from kinesis_bridge.contract.coverage import Coverage
    from kinesis_bridge.relay.statistics import Totals

    tables = {
        "send_kinesis_test": proof.Report,
        "kinesis_deadletter list: dead_letters[]": deadletters.Letter,
        "kinesis_doctor: checks[]": doctor.Check,
        "kinesis_events: events[]": Coverage,
        "kinesis_relay": Totals,
        "kinesis_status: databases[]": status.DatabaseStatus,
        "kinesis_status: databases[].relays[]": status.RelayStatus,
        "kinesis_status: databases[].streams[]": status.StreamStatus,
    }
    for command, table in tables.items():
        yield from (f"json {command} {field.name}" for field in fields(table))
    yield "json kinesis_relay seconds"
    given = dict.fromkeys(field.name for field in fields(tail.StoredRecord))
    record = tail.StoredRecord(**given | {"data": b"{}"})
    yield from (f"json kinesis_tail: events[] {key}" for key in tail.as_dict(record))


def _numbered(kind, pattern, files, prefix=""):
    for path in PACKAGE.rglob(files):
        yield from (f"{kind} {prefix}{one}" for one in re.findall(pattern, path.read_text()))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sys.stdout.writelines(f"{name}\n" for name in public_names())
