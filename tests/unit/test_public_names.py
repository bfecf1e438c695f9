"""Nothing public goes by accident: ``public_names.txt`` is what a version promised."""

from pathlib import Path

from tests.support.public_names import public_names

PROMISED = Path(__file__).with_name("public_names.txt").read_text().splitlines()
WRITE = "python -m tests.support.public_names > tests/unit/public_names.txt"


def test_every_name_that_was_promised_is_there():
    gone = sorted(set(PROMISED) - set(public_names()))
    assert not gone, (
        f"Public names are gone: {gone}. Sites use them. Let the old name work beside the new one,"
        " with a DeprecationWarning, and say so in CHANGELOG; take it away in the next major"
        f" version, and only then from the list: {WRITE}"
    )


def test_a_new_name_is_promised_knowingly():
    new = sorted(set(public_names()) - set(PROMISED))
    assert not new, (
        f"Public names are new: {new}. If they are meant to be, then they stay: document them, say"
        f" so in CHANGELOG, and add them to the list: {WRITE}. If not, let them begin with _ or"
        " keep them out of __all__."
    )
