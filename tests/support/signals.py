"""What signals told, for the tests of who sends them."""

from contextlib import contextmanager


@contextmanager
def heard(signal):
    """What `signal` was sent with while the block runs, a dict for each."""
    told = []

    def receiver(**values):
        told.append(values)

    signal.connect(receiver)
    try:
        yield told
    finally:
        signal.disconnect(receiver)
