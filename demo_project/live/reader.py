"""A consumer in account B: reads the stream for ever, and gives each record to the feed."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kinesis_bridge.conf import get_config
from kinesis_bridge.exceptions import AwsError
from kinesis_bridge.tail import Reader, as_dict

logger = logging.getLogger(__name__)
AGAIN_SECONDS = 1.0

Take = Callable[[dict[str, Any]], None]


def read(take: Take) -> None:
    """Start reading in a thread of its own; `take` gets what ``kinesis_tail`` would print."""
    threading.Thread(target=_read, args=(take,), name="live-reader", daemon=True).start()


def _read(take: Take) -> None:
    seen: set[tuple[str, str]] = set()  # where it stands after a failure, from the oldest on
    while True:
        reader = Reader(get_config().stream("default"))
        try:
            for record in reader.tail("oldest", follow=True):
                place = record.shard_id, record.sequence_number
                if place not in seen:
                    seen.add(place)
                    take(as_dict(record))
        except AwsError as error:
            logger.warning("Account B's stream cannot be read: %s", error)
            time.sleep(AGAIN_SECONDS)
        finally:
            reader.close()
