"""``settings.KINESIS_BRIDGE`` -> frozen objects: read lazily, validated once, reset on change.

:func:`get_config` raises ``ImproperlyConfigured`` with every problem at once; the system checks
show the same problems one by one (:func:`find_problems`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from kinesis_bridge.words import Text, joined
from kinesis_bridge.words import marked as _

from .env import settings_from_env
from .problems import Problem
from .rules import read
from .types import SETTING, BridgeConfig, RoleConfig, StreamConfig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "SETTING",
    "BridgeConfig",
    "Problem",
    "RoleConfig",
    "StreamConfig",
    "default_source",
    "find_problems",
    "get_config",
    "is_strict",
    "on_reset",
    "reset",
    "settings_from_env",
]

_lock = threading.RLock()
_config: BridgeConfig | None = None
_reset_hooks: list[Callable[[], None]] = []


def get_config() -> BridgeConfig:
    """Return the settings; raise ``ImproperlyConfigured`` with every problem found."""
    global _config  # noqa: PLW0603 - the one cached object of this module
    config = _config
    if config is None:
        with _lock:
            if _config is None:
                _config = _load()
            config = _config
    return config


def find_problems() -> list[Problem]:
    """Return what is wrong with the settings as they are now; empty where nothing is."""
    return read(getattr(settings, SETTING, None), default_source())[1]


def _load() -> BridgeConfig:
    config, problems = read(getattr(settings, SETTING, None), default_source())
    if config is None:
        said = _("settings.{setting} cannot be used:\n  {lines}")
        lines = joined("\n  ", (problem.text for problem in problems))
        raise ImproperlyConfigured(Text(said, setting=SETTING, lines=lines))
    return config


def is_strict() -> bool:
    """Tell whether STRICT is on, by the settings as written: startup asks, which reads no others.

    What is wrong in them is for the checks to say.
    """
    written = getattr(settings, SETTING, None)
    return isinstance(written, Mapping) and written.get("STRICT") is True


def default_source() -> str:
    """Return ``/<project package>``: the first part of ROOT_URLCONF or of the settings module."""
    # Not settings.SETTINGS_MODULE: within override_settings that is None.
    module = os.environ.get(ENVIRONMENT_VARIABLE)
    dotted = getattr(settings, "ROOT_URLCONF", None) or module or "django"
    return "/" + str(dotted).split(".", 1)[0]


def on_reset(hook: Callable[[], None], *, last: bool = False) -> None:
    """Have `hook` close what was built from the settings, before they are read again.

    The last registered runs first: what stands higher closes before what it stands on. `last`
    puts `hook` behind all others.
    """
    if last:
        _reset_hooks.insert(0, hook)
    else:
        _reset_hooks.append(hook)


def reset() -> None:
    """Close what runs and forget the settings; the next use reads them anew.

    A hook that raises keeps neither the other hooks nor the forgetting from their work.
    """
    with ExitStack() as stack:  # runs what was put in last first
        stack.callback(_forget)
        for hook in _reset_hooks:
            stack.callback(hook)


def _forget() -> None:
    global _config  # noqa: PLW0603 - the one cached object of this module
    with _lock:
        _config = None


def _after_fork_in_child() -> None:
    # Another thread of the parent may have held it, and does not exist here to release it.
    global _lock  # noqa: PLW0603 - the one lock of this module
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _setting_changed(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        reset()


setting_changed.connect(_setting_changed, dispatch_uid="kinesis_bridge.conf")
