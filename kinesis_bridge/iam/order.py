"""In which order the accounts make their parts: a trust policy may name only what exists; pure.

IAM refuses a trust policy that names a role it cannot find: "Troubleshoot IAM policies" and "AWS
JSON policy elements: Principal", IAM User Guide. What a policy names as its resource need not
exist yet.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from kinesis_bridge.exceptions import PolicyError
from kinesis_bridge.words import Text
from kinesis_bridge.words import marked as _

from .parts import Part, Role, Site

if TYPE_CHECKING:
    from collections.abc import Iterable


class Turn(NamedTuple):
    """What one account makes before it is another's turn."""

    account: str
    parts: list[Part]
    number: int
    """Which of the account's own turns it is, from 1."""


def turns_of(parts: Iterable[Part]) -> list[Turn]:
    """Put `parts` in an order in which they can be made; few turns, else in the order given.

    Where chains go back and forth between accounts, one of them has several turns. Raises
    PolicyError for roles that trust each other in a circle, which no order makes.
    """
    left = list(parts)
    turns: list[Turn] = []
    counted: Counter[str] = Counter()
    while left:
        ready = {account: _ready(account, left) for account in _accounts(left)}
        if not any(ready.values()):
            raise _circle(left)
        # Whoever is done with it goes first: then it has no further turn.
        account = max(ready, key=lambda name: _rank(ready[name], name, left))
        counted[account] += 1
        turns.append(Turn(account, ready[account], counted[account]))
        left = [part for part in left if part not in ready[account]]
    return turns


def _accounts(parts: Iterable[Part]) -> list[str]:
    return list(dict.fromkeys(part.account for part in parts))


def _rank(ready: list[Part], account: str, left: list[Part]) -> int:
    if all(isinstance(part, Site) for part in ready):
        return 1 if ready else 0  # its policy names roles: rather when there are any
    return 3 if len(ready) == sum(part.account == account for part in left) else 2


def _ready(account: str, left: list[Part]) -> list[Part]:
    """Return those of `account` that can be made now, one after the other."""
    missing = {part.arn for part in left if isinstance(part, Role)}
    waiting = [part for part in left if part.account == account]
    ready: list[Part] = []
    while found := [part for part in waiting if not _trusted(part) & missing]:
        ready += found
        waiting = [part for part in waiting if part not in found]
        missing -= {part.arn for part in found if isinstance(part, Role)}
    # As they were given, but for roles that wait for another of their own account.
    return ready


def _trusted(part: Part) -> set[str]:
    return set(part.trusted) if isinstance(part, Role) else set()


def _circle(left: list[Part]) -> PolicyError:
    """Return the error that names the roles of one circle."""
    roles = {part.arn: part for part in left if isinstance(part, Role)}
    way = [next(iter(roles))]
    # Each of them waits for one of the others, or could have been made.
    while (before := next(arn for arn in roles[way[-1]].trusted if arn in roles)) not in way:
        way.append(before)
    circle = way[way.index(before) :]
    if len(circle) == 1:
        role = roles[circle[0]]
        return PolicyError(
            Text(
                _(
                    "{role} is {arn}, and its trust policy would have to name that role itself: the"
                    " site runs as it, or it goes through itself (VIA). A role that the site has"
                    " already needs no assuming: leave it out (ROLE or VIA: None)."
                ),
                role=f'ROLES["{role.config.alias}"]',
                arn=role.arn,
            )
        )
    names: str = circle[0]
    for arn in [*circle[1:], circle[0]]:
        names = Text(_("{role} trusts {trusted}"), role=names, trusted=arn)
    aliases = ", ".join(f'ROLES["{roles[arn].config.alias}"]' for arn in circle)
    return PolicyError(
        Text(
            _(
                "The roles of {aliases} trust each other in a circle ({names}), and IAM makes none"
                " before those that it trusts. Change VIA so that each role is reached from one"
                " side only."
            ),
            aliases=aliases,
            names=names,
        )
    )
