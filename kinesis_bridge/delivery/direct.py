"""``direct``: put on the stream right after the commit, within the request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kinesis_bridge.client import producers
from kinesis_bridge.conf.options import Option
from kinesis_bridge.event import Record, RejectedRecord
from kinesis_bridge.exceptions import KinesisBridgeError
from kinesis_bridge.logfields import stream_fields

from .base import Delivery

if TYPE_CHECKING:
    from kinesis_bridge.event import Event

logger = logging.getLogger("kinesis_bridge.delivery")


class DirectDelivery(Delivery):
    """One round trip to AWS per event, after the commit.

    The transaction is over by then: what AWS refuses for longer than OPTIONS["RETRY_SECONDS"] is
    lost to the stream. ON_ERROR says whether the caller gets the error or the log does.
    """

    options = (
        Option(
            name="ON_ERROR",
            default="raise",
            choices=("raise", "log"),
            help="What a failed delivery does after the commit: raise in the caller, or log.",
        ),
    )

    def deliver(self, event: Event, payload: bytes, using: str) -> None:  # noqa: ARG002
        """Put the record; raise or log what AWS refused."""
        try:
            producer = producers[self.stream.alias]
            answer = producer.send([Record(event.key, payload)])[0]
            if isinstance(answer, RejectedRecord):
                raise producer.failure(answer)
        except KinesisBridgeError as error:
            if self.stream.options["ON_ERROR"] == "raise":
                raise
            logger.exception(
                "Event %s (%s) of stream %s is lost",
                event.id,
                event.type,
                self.stream.alias,
                extra=stream_fields(self.stream, error, event_id=event.id, event_type=event.type),
            )
