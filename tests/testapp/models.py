"""Models of every kind that capture has to get right."""

import uuid

from django.db import models
from django.db.models.functions import Now

from kinesis_bridge import publishes


class Owner(models.Model):
    name = models.CharField(max_length=50)


@publishes(
    "test.thing",
    key="owner_id",
    fields=["id", "owner", "name", "price", "count", "made", "extra"],
)
class Thing(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    name = models.CharField(max_length=50, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    count = models.IntegerField(default=0)
    made = models.DateTimeField(null=True)
    extra = models.JSONField(null=True)
    secret = models.CharField(max_length=50, default="")


class ThingProxy(Thing):
    class Meta:
        proxy = True


@publishes("test.place", fields=["id", "name"])
class Place(models.Model):
    name = models.CharField(max_length=50)


class Bar(Place):
    """A child that is not declared: its parent is."""

    beers = models.IntegerField(default=0)


@publishes("test.restaurant", fields=["name", "stars"])
class Restaurant(Place):
    stars = models.IntegerField(default=0)


@publishes("test.token", key="id", fields="__all__", on=["created", "deleted"], stream="audit")
class Token(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    stamped = models.DateTimeField(db_default=Now())
    label = models.CharField(max_length=20, default="")


class Plain(models.Model):
    """Not declared."""

    name = models.CharField(max_length=50, default="")
