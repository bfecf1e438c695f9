"""Make docs/errors.md out of the findings: ``python docs/make_errors.py > docs/errors.md``."""

from __future__ import annotations

import sys
from string import Formatter
from typing import TYPE_CHECKING

from kinesis_bridge.findings import FINDINGS, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinesis_bridge.findings import Finding, Hop

HEAD = """\
# Every error, its cause and its fix

Made by `python docs/make_errors.py` from the table that the errors, `kinesis_doctor` and
`send_kinesis_test` take their words from. *Words like this* stand for the names of your own
accounts, roles and streams. Where policies are to be compared, the commands print them filled in.

The name is the error's `name` and the doctor's `finding`. The codes are AWS's own, or the names of
boto3's exceptions; AWS's message decides where one code means several things.
"""
TITLES: dict[Hop, str] = {
    "settings": "The settings",
    "network": "Names and routes",
    "credentials": "Account A's own credentials",
    "assume-role": "Assuming the role",
    "stream": "The stream",
    "outbox": "The outbox",
}
EVERYWHERE = "Anywhere on the way"
DOCUMENTS = {
    "identity": "A's identity policy",
    "trust": "the role's trust policy",
    "permission": "the permission policy",
    "resource": "the stream's resource policy",
    "key": "the key's policy",
}


def page() -> str:
    """Return the page: a section for each hop, a part for each finding."""
    sections: dict[str, list[str]] = {title: [] for title in (*TITLES.values(), EVERYWHERE)}
    for finding in (*FINDINGS, UNKNOWN):
        several = len(finding.hops) > 2
        title = EVERYWHERE if several else TITLES[finding.hops[0]]
        sections[title].append("\n".join(_part(finding)))
    parts = ["\n\n".join([f"## {title}", *entries]) for title, entries in sections.items()]
    return "\n\n".join([HEAD.rstrip(), *parts]) + "\n"


def _part(finding: Finding) -> Iterator[str]:
    yield f"### {finding.name}"
    yield ""
    yield f"{_text(finding.cause)}"
    yield ""
    yield f"**Fix** ({_side(finding.side)}): {_text(finding.fix)}"
    notes = []
    if finding.documents:
        notes.append(f"Prints {' and '.join(DOCUMENTS[one] for one in finding.documents)}.")
    if finding.codes:
        notes.append(f"Codes: {', '.join(f'`{code}`' for code in finding.codes)}.")
    if finding.retryable:
        notes.append("Retried by itself; events wait meanwhile.")
    if notes:
        yield ""
        yield " ".join(notes)


def _text(template: str) -> str:
    """Return a text of the table with its names as placeholders."""
    return "".join(
        literal + (f"*{name.replace('_', ' ')}*" if name else "")
        for literal, name, _, _ in Formatter().parse(template)
    )


def _side(side: str) -> str:
    return {"site": "the site", "network": "the network"}.get(side, side)


if __name__ == "__main__":
    sys.stdout.write(page())
