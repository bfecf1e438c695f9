"""Rows that are their own proof: a number of their key and a token that no other attempt has."""

from __future__ import annotations

from django.db import models

from kinesis_bridge import publishes


class Key(models.Model):
    """The row whose lock makes the order of a key: whoever writes for the key holds it."""

    name = models.CharField(max_length=64, primary_key=True)
    last = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Row(models.Model):
    """One event to be. Numbers of a key rise by one with each that is committed."""

    key = models.CharField(max_length=64)
    number = models.BigIntegerField(help_text="Negative: meant to be rolled back.")
    token = models.CharField(max_length=32, unique=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.key} {self.number}"


@publishes("chaos.counter", key="key", fields=["key", "number", "token"], on=["created"])
class Counter(Row):
    """Published by its declaration."""

    class Meta:
        # Where a commit is in doubt, the next attempt at its number waits for it or fails.
        constraints = (models.UniqueConstraint(fields=("key", "number"), name="chaos_counter"),)


class Note(Row):
    """Published by hand, in the same transaction."""

    class Meta:
        constraints = (models.UniqueConstraint(fields=("key", "number"), name="chaos_note"),)
