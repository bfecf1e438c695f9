"""What the doctor found at one hop."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinesis_bridge.exceptions import AwsError


class Found(NamedTuple):
    """What is there, where nothing is wrong."""

    detail: str
    hint: str = ""
    """What could be better, or was not looked at and why."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One hop; the JSON of the command has one for each."""

    name: str
    """The hop: ``settings``, ``sts-endpoint``, ``clock``, ``credentials``, ..."""
    ok: bool
    detail: str
    """What is there, or what is wrong and why."""
    hint: str = ""
    """What to do; may be there where nothing is wrong, too."""
    finding: str | None = None
    """The row of :data:`kinesis_bridge.findings.FINDINGS`; None where nothing is wrong."""
    side: str | None = None
    """Who can mend it: account A, account B, account A or account B, network, site."""
    documents: Mapping[str, object] = field(default_factory=dict)
    """Policy documents to compare or to add, by title."""

    @classmethod
    def passed(cls, name: str, found: Found) -> Check:
        """Return the check of a hop at which nothing is wrong."""
        return cls(name=name, ok=True, detail=found.detail, hint=found.hint)

    @classmethod
    def failed(cls, name: str, error: AwsError) -> Check:
        """Return the check of the hop that `error` explains."""
        return cls(
            name=name,
            ok=False,
            detail=error.message,
            hint=error.hint,
            finding=error.name,
            side=error.side,
            documents=error.documents,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)
