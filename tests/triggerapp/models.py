"""Models that are declared only within ``tests.support.triggers.declared``."""

import uuid

from django.db import models
from django.db.models.functions import Now

from tests.testapp.models import Owner

DECLARED = {}
"""What is to be declared of each model."""


def declared_later(*arguments, **named):
    def decorate(model):
        DECLARED[model] = (arguments, named)
        return model

    return decorate


class Fields(models.Model):
    """Those of Thing and Gadget."""

    owner = models.ForeignKey(Owner, models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=50, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    count = models.IntegerField(default=0)
    made = models.DateTimeField(null=True)
    extra = models.JSONField(null=True)
    secret = models.CharField(max_length=50, default="")

    class Meta:
        abstract = True


@declared_later(
    "trigger.thing",
    key="owner_id",
    fields=["id", "owner", "name", "price", "count", "made", "extra"],
    capture="triggers",
)
class TriggerThing(Fields):
    pass


@declared_later(
    "trigger.gadget",
    key="owner_id",
    exclude=["made", "secret"],
    changed=True,
    capture="triggers",
)
class TriggerGadget(Fields):
    pass


@declared_later(
    "trigger.memo",
    fields=["id", "text"],
    when=models.Q(deleted=None),
    changed=True,
    capture="triggers",
)
class TriggerMemo(models.Model):
    """Deleted softly."""

    text = models.CharField(max_length=50, default="")
    note = models.CharField(max_length=50, default="")
    deleted = models.IntegerField(null=True)


@declared_later("trigger.place", fields=["id", "name"], capture="triggers")
class TriggerPlace(models.Model):
    """All of it is published: an update needs no look at what was there."""

    name = models.CharField(max_length=50)


@declared_later(
    "trigger.token", key="id", fields="__all__", on=["created", "deleted"], capture="triggers"
)
class TriggerToken(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    stamped = models.DateTimeField(db_default=Now())
    label = models.CharField(max_length=20, default="")


@declared_later("trigger.seat", key="row", fields=["row", "number"], capture="triggers")
class TriggerSeat(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=5)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)


class Sample(models.Model):
    """A field of each kind."""

    key = models.CharField(max_length=300)
    code = models.CharField(max_length=300, null=True)
    text = models.TextField(default="")
    count = models.BigIntegerField(default=1)
    doubled = models.GeneratedField(
        expression=models.F("count") * 2, output_field=models.BigIntegerField(), db_persist=True
    )
    weight = models.FloatField(null=True)
    price = models.DecimalField(max_digits=20, decimal_places=4, null=True)
    active = models.BooleanField(default=True)
    when = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    at = models.TimeField(null=True)
    lasts = models.DurationField(null=True)
    token = models.UUIDField(null=True)
    raw = models.BinaryField(null=True)
    doc = models.FileField(blank=True)
    address = models.GenericIPAddressField(null=True)
    extra = models.JSONField(null=True)

    class Meta:
        abstract = True


@declared_later("trigger.sample", key="key", fields="__all__", changed=True)
class SignalSample(Sample):
    pass


@declared_later("trigger.sample", key="key", fields="__all__", changed=True, capture="triggers")
class TriggerSample(Sample):
    pass


@declared_later(
    "trigger.visit",
    fields={
        "id": "id",
        "owner": "thing.owner.name",
        "thing": "thing.name",
        "thing_id": "thing.id",
        "twice": models.F("days") * 2,
    },
    version=2,
)
class SignalVisit(models.Model):
    thing = models.ForeignKey(TriggerThing, models.CASCADE, null=True, related_name="+")
    days = models.IntegerField(default=1)


@declared_later(
    "trigger.visit",
    fields={
        "id": "id",
        "owner": "thing.owner.name",
        "thing": "thing.name",
        "thing_id": "thing.id",
        "twice": models.F("days") * 2,
    },
    version=2,
    capture="triggers",
)
class TriggerVisit(models.Model):
    thing = models.ForeignKey(TriggerThing, models.CASCADE, null=True, related_name="+")
    days = models.IntegerField(default=1)
