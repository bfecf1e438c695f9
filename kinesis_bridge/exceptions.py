"""The error tree.

::

    KinesisBridgeError
    ├── EventError              this very event can never pass; raised where it is published
    │   ├── SerializationError      its data has no JSON form
    │   ├── SchemaError             its data does not fit the declared schema
    │   ├── PartitionKeyError       its key is empty or longer than 256 characters
    │   ├── RecordTooLarge          key and data exceed the stream's record limit
    │   └── CoalesceError           updates of one row cannot become one event
    ├── AwsError                the way to account B is broken; the event is not at fault
    │   ├── CredentialsError        account A's own credentials: none, or expired
    │   ├── AssumeRoleError         sts:AssumeRole was refused
    │   ├── StreamError             the stream is missing, or refuses this role
    │   ├── ThrottledError          the stream or STS asks to slow down
    │   └── EndpointError           no answer: DNS, TCP, TLS, a timeout, a 5xx
    ├── PartialFailure          put_records: some records acknowledged, some not
    ├── AggregationError        nothing to pack
    │   ├── NotAggregated           the data is no aggregated record
    │   ├── InvalidHashKey          no decimal integer below 2**128
    │   └── ShardMapError           the shards have a hole or overlap
    ├── BufferFull              background delivery has no room, and was told not to wait
    ├── BufferClosed            background delivery was closed
    ├── PolicyError             the policy documents cannot be made as asked
    ├── OutboxError             events could not be written with their transaction
    ├── UncapturedWrite         STRICT is on, and a write of a declared model has no event
    └── EmulatorError           LOCAL_AWS is on and the emulator cannot be used

A wrong setting is Django's ``ImproperlyConfigured``, as Django users expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.utils import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class KinesisBridgeError(Exception):
    """Base of every error this package raises at run time."""


class EventError(KinesisBridgeError, ValueError):
    """This event can never pass, however often it is sent."""


class SerializationError(EventError):
    """The event's data has no JSON form."""


class SchemaError(EventError):
    """The event's data does not fit ``publishes(schema=...)``, or ``payload=`` made none."""


class PartitionKeyError(EventError):
    """The partition key is empty, not text, or longer than 256 characters."""


class RecordTooLarge(EventError):
    """Partition key and data together exceed the stream's record limit."""


class CoalesceError(EventError, DatabaseError):
    """Updates of one row cannot become one event, so their transaction is rolled back.

    A DatabaseError too, as Django expects of what fails in a COMMIT.
    """


class AwsError(KinesisBridgeError):
    """AWS, or the way there, refused. ``str()`` says what happened, why, and what to do.

    In English, as do `message` and `hint`; :func:`kinesis_bridge.words.translated` says these two
    in the language that is active.
    """

    def __init__(
        self,
        message: str,
        *,
        name: str,
        side: str,
        retryable: bool = False,
        code: str = "",
        hint: str = "",
        documents: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{message} Fix: {hint}" if hint else message)
        self.message = message
        """What happened and why."""
        self.name = name
        """The row of :data:`kinesis_bridge.findings.FINDINGS` that explains it."""
        self.side = side
        """Who can mend it: account A, account B, account A or account B, network, site."""
        self.retryable = retryable
        """Whether the same request may pass later with nobody acting."""
        self.code = code
        """AWS's own error code, or the name of boto's exception."""
        self.hint = hint
        """What to do."""
        self.documents = dict(documents or {})
        """Policy documents to compare, by title."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling: task queues and test runners send errors between processes."""
        return _rebuild, (type(self), self.args, self.__dict__)


class CredentialsError(AwsError):
    """Account A's own credentials are missing or expired."""


class AssumeRoleError(AwsError):
    """``sts:AssumeRole`` was refused."""


class StreamError(AwsError):
    """The stream is missing, or refuses this caller."""


class ThrottledError(AwsError):
    """The service asks to slow down."""


class EndpointError(AwsError):
    """No usable answer: DNS, TCP, TLS, a timeout, a 5xx."""


class PartialFailure(KinesisBridgeError):
    """Some records were acknowledged and some were not, after all retries.

    ``results`` has one entry per record given, in order: a
    :class:`~kinesis_bridge.event.PutResult` or a :class:`~kinesis_bridge.event.RejectedRecord`.
    """

    def __init__(self, results: Sequence[Any], message: str) -> None:
        super().__init__(message)
        self.results = list(results)

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling."""
        return _rebuild, (type(self), self.args, self.__dict__)


class AggregationError(KinesisBridgeError, ValueError):
    """Base of the errors of aggregation; itself where there is nothing to pack, or no room ever."""


class NotAggregated(AggregationError):
    """The data is no readable aggregated record; the message says which part is wrong."""


class InvalidHashKey(AggregationError):
    """The hash key is no decimal integer from 0 to 2**128 - 1."""


class ShardMapError(AggregationError):
    """The shards do not cover every hash key exactly once."""


class BufferFull(KinesisBridgeError):
    """The buffer of a background delivery has no room, and the settings say not to wait (longer).

    The event was not taken.
    """


class BufferClosed(KinesisBridgeError):
    """The background delivery was closed: the settings changed, or the process ends.

    The event was not taken.
    """


class OutboxError(KinesisBridgeError, DatabaseError):
    """Events could not be written to the outbox, so their transaction is rolled back.

    A DatabaseError, as Django expects of what fails in a COMMIT.
    """


class UncapturedWrite(KinesisBridgeError):
    """``STRICT`` is on, and a statement writes a declared model's table past its capture.

    An error of the programmer; the statement was not run. See
    :func:`kinesis_bridge.capture.strict.allow_uncaptured`.
    """


class PolicyError(KinesisBridgeError, ValueError):
    """IAM's documents cannot be made of these settings and this principal; the message says why."""


class EmulatorError(KinesisBridgeError):
    """``LOCAL_AWS`` is on and the emulator cannot be used as asked."""


def _rebuild(cls: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
