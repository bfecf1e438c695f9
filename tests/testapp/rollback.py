"""A transaction, or savepoint, that does not last."""

from contextlib import contextmanager, suppress

from django.db import transaction


class RolledBack(Exception):
    pass


@contextmanager
def rolled_back(using="default"):
    with suppress(RolledBack), transaction.atomic(using=using):
        yield
        raise RolledBack
