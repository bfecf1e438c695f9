"""Credentials of an assumed role that refresh themselves. Imports botocore."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from botocore.credentials import DeferredRefreshableCredentials, ReadOnlyCredentials

from .announce import holding, tell
from .clock import from_now

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime

ADVISORY_SECONDS = 900.0
MANDATORY_SECONDS = 10.0
RETRY_SECONDS = 30.0
SHARED_FAILURE_SECONDS = 1.0


class FrozenCredentials(ReadOnlyCredentials):
    """botocore's tuple of secrets, without showing them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class AssumedRoleCredentials(DeferredRefreshableCredentials):
    """botocore's lazy, stampede-free refresh, with windows that fit the session's real lifetime.

    botocore refreshes 15 minutes before the end, and has every thread wait for it 10 minutes
    before: a session of 900 seconds would be refreshed by every request, and old credentials that
    are good for 10 minutes would not be used while STS is down. Here the first window is a quarter
    of the lifetime and at most botocore's: one thread refreshes, the others go on, and after a
    failure the old credentials serve on for 30 seconds until the next attempt. The second is a
    tenth, at most 10 seconds: time for a request that was signed to arrive. Threads that waited for
    a refresh that failed share its error instead of each trying again.

    `fetch` calls AssumeRole and returns botocore's metadata (``access_key secret_key token``),
    ``seconds`` (how long they last), ``expires_at`` (by AWS's clock) and ``arn``; what it raises
    reaches the caller that needs the credentials. Signals wait until the lock is released.
    """

    def __init__(self, fetch: Callable[[], dict[str, Any]]) -> None:
        super().__init__(self._fetch_scaled, "assume-role")
        self._fetch = fetch
        self._lifetime = 0.0
        self._fetched_at = 0.0
        self._failed_at = float("-inf")
        self._failure: Exception | None = None
        self._dropped = False
        self.assumed_role_arn: str | None = None
        """``arn:aws:sts::<B>:assumed-role/<role>/<session>`` of the last refresh."""
        self.expires_at: datetime | None = None
        """When they end, by AWS's clock."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.assumed_role_arn or 'a role not assumed yet'}>"

    # The stubs know neither fractions of a second nor what botocore keeps to itself.
    _refresh_lock: threading.Lock
    _frozen_credentials: ReadOnlyCredentials | None
    _advisory_refresh_timeout: Any
    _mandatory_refresh_timeout: Any

    def refresh_needed(self, refresh_in: Any = None) -> bool:
        """Tell whether a refresh is due within `refresh_in` seconds of the end."""
        if self._dropped:
            return True
        if not super().refresh_needed(refresh_in):
            return False
        if super().refresh_needed(self._mandatory_refresh_timeout):
            return True
        return time.monotonic() >= self._failed_at + min(RETRY_SECONDS, self._lifetime / 10)

    def _refresh(self) -> None:
        try:
            super()._refresh()  # type: ignore[misc]  # not in the stubs
        finally:
            tell()

    def _protected_refresh(self, is_mandatory: bool) -> None:
        # Runs under botocore's refresh lock; botocore logs each failure, with its traceback.
        shared = time.monotonic() < self._failed_at + SHARED_FAILURE_SECONDS
        if self._failure is None or not shared:
            super()._protected_refresh(is_mandatory)  # type: ignore[misc]  # not in the stubs
        elif is_mandatory:
            # Without the frames of whoever raised it before: they would pile up.
            raise self._failure.with_traceback(None)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return access key, secret and token of one refresh; assume the role where that is due."""
        return FrozenCredentials(*super().get_frozen_credentials())

    def drop(self) -> bool:
        """Have the next use fetch new ones, since AWS called these expired.

        Returns False where they are fresh from STS: new ones would be no better.
        """
        with self._refresh_lock:
            age = time.monotonic() - self._fetched_at
            if self._frozen_credentials is not None and age < min(5.0, self._lifetime / 4):
                return False
            # They stay until then: another thread may be about to sign with them.
            self._dropped = True
            return True

    def _fetch_scaled(self) -> dict[str, Any]:
        # Runs under botocore's refresh lock.
        try:
            with holding():
                metadata = self._fetch()
        except Exception as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise
        self._failure, self._failed_at, self._dropped = None, float("-inf"), False
        self._fetched_at = time.monotonic()
        self._lifetime = metadata.pop("seconds")
        self._advisory_refresh_timeout = min(ADVISORY_SECONDS, self._lifetime / 4)
        self._mandatory_refresh_timeout = min(MANDATORY_SECONDS, self._lifetime / 10)
        self.expires_at = metadata.pop("expires_at")
        self.assumed_role_arn = metadata.pop("arn")
        # botocore compares it with this machine's clock, whatever that says.
        return {**metadata, "expiry_time": from_now(self._lifetime).isoformat()}
