"""Observers that are switched on for a test only."""

from contextlib import contextmanager

from kinesis_bridge import signals


@contextmanager
def observing(connect, uid):
    """Within the block the receivers that `connect` connects under `uid` hear the signals."""
    connect()
    try:
        yield
    finally:
        for signal in signals.ALL:
            signal.disconnect(dispatch_uid=uid)
