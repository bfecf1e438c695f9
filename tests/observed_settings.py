"""The demo project with what observes it, for processes of the tests."""

from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS as _APPS
from demo_project.settings import env

INSTALLED_APPS = [*_APPS, *env.list("OBSERVED_BY")]
