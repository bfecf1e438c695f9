"""A relay whose thread ends: it must not live on with a stream unsent."""

import pytest

from kinesis_bridge.conf import get_config
from kinesis_bridge.models import RelayProcess
from kinesis_bridge.relay import Relay


@pytest.mark.django_db(transaction=True)
def test_a_thread_that_ends_by_an_unforeseen_error_stops_the_whole_relay(sqlite_file, fresh):
    relay = Relay(list(get_config().streams.values()), [sqlite_file])
    first, second = relay._workers

    def fail():
        raise RuntimeError("unforeseen")

    first.store.make_lanes = fail
    with pytest.raises(RuntimeError, match="unforeseen"):
        relay.run()
    assert second._stop.is_set()
    assert not RelayProcess.objects.using(sqlite_file).exists()
