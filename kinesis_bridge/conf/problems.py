"""What is wrong with the settings: noted as they are read, and said in one line each.

One :class:`Problem` per wrong key. Ids are stable: they are the ids of the system checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .options import UNKNOWN
from .types import SETTING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One wrong setting."""

    id: str
    """Stable id of the system check."""
    key: str
    """The key as a person writes it: ``KINESIS_BRIDGE["ROLES"]["x"]["ROLE_ARN"]``."""
    reason: str
    """What is wrong; Text, to be said in other languages."""
    example: str
    """Something right to write there."""

    @property
    def text(self) -> Text:
        """All of it, in one line."""
        return Text(_("{key} {reason}. Example: {example} ({id})"), **vars(self))

    def __str__(self) -> str:
        return str(self.text)


class Refusals:
    """Notes every problem as the settings are read: reading goes on, so that all are told."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def refuse(self, number: str, path: str, reason: str, example: str, **values: object) -> None:
        """Note a problem; `values` are those of the `reason`."""
        self.problems.append(
            Problem(
                id=f"kinesis_bridge.{number}",
                key=f"{SETTING}{path}",
                reason=reason if isinstance(reason, Text) else Text(reason, **values),
                example=example,
            )
        )

    def refused(self, path: str) -> bool:
        """Tell whether the entry there is refused itself: what it lacks follows from that."""
        return any(problem.key == f"{SETTING}{path}" for problem in self.problems)

    def mapping(self, value: object, path: str, example: str) -> Mapping[str, Any]:
        """Return the entries of a dictionary; refuse what is none, and keys that are no text."""
        if not isinstance(value, Mapping):
            given = type(value).__name__
            self.refuse("E001", path, _("must be a dictionary, not {type}"), example, type=given)
            return {}
        for key in value:
            if not isinstance(key, str):
                reason = _("must have text for keys, not {key}")
                self.refuse("E001", path, reason, example, key=repr(key))
        return {key: item for key, item in value.items() if isinstance(key, str)}

    def known(self, value: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
        """Refuse every key that is not among `keys`, with the nearest that is."""
        for key in value:
            if key not in keys:
                self.refuse(
                    "E002",
                    f'{path}["{key}"]',
                    UNKNOWN,
                    f'"{nearest(key, keys)}": ...',
                    names=", ".join(keys),
                )


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the one of `names` that is most like `name`: an example for a typing error."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for an error's example

    spelled = {known.upper(): known for known in names}
    return spelled[get_close_matches(name.upper(), spelled, 1, 0)[0]]
