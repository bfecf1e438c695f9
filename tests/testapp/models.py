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


@publishes("test.gadget", key="owner_id", exclude=["made", "secret"], changed=True)
class Gadget(models.Model):
    """As a thing; its events tell what was there before."""

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


class Untouched(models.Model):
    """Declared by nobody, in no test."""

    name = models.CharField(max_length=50, default="")


class Plain(models.Model):
    """Not declared, but by tests of declaring."""

    name = models.CharField(max_length=50, default="")


@publishes("test.memo", fields=["id", "text"], when=lambda memo: memo.deleted is None, changed=True)
class Memo(models.Model):
    """Deleted softly: it stays, and nobody is to see it."""

    text = models.CharField(max_length=50, default="")
    note = models.CharField(max_length=50, default="")
    deleted = models.IntegerField(null=True)


class Tag(models.Model):
    name = models.CharField(max_length=50)


@publishes("test.post", fields=["id", "title", "tags", "fans"], changed=True)
class Post(models.Model):
    """Related to many: by a table of Django's, and by one of its own."""

    title = models.CharField(max_length=50, default="")
    tags = models.ManyToManyField(Tag, related_name="posts")
    fans = models.ManyToManyField(Owner, through="Fan")


class Fan(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
    owner = models.ForeignKey(Owner, models.CASCADE)
    since = models.IntegerField(default=0)


@publishes("test.person", fields=["id", "friends"])
class Person(models.Model):
    friends = models.ManyToManyField("self")


class Clash(models.Model):
    """Declared by a test: its field has a name that events use."""

    changed = models.BooleanField(default=False)


class ComplexField(models.Field):
    """A third-party field: the database keeps it, JSON has no form for it."""

    def db_type(self, connection):
        return "varchar(50)"

    def from_db_value(self, value, expression, connection):
        return None if value is None else complex(value)

    def get_prep_value(self, value):
        return None if value is None else str(value)


@publishes("test.sample", key="code", fields="__all__")
class Sample(models.Model):
    """A field of each kind."""

    code = models.CharField(max_length=300, null=True)
    count = models.IntegerField(default=1)
    doubled = models.GeneratedField(
        expression=models.F("count") * 2, output_field=models.IntegerField(), db_persist=True
    )
    weight = models.FloatField(null=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    active = models.BooleanField(default=True)
    when = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    lasts = models.DurationField(null=True)
    token = models.UUIDField(null=True)
    raw = models.BinaryField(null=True)
    doc = models.FileField(blank=True)
    extra = models.JSONField(null=True)
    wave = ComplexField(null=True)


class PlaceProxy(Place):
    class Meta:
        proxy = True


class RestaurantProxy(Restaurant):
    class Meta:
        proxy = True


@publishes("test.branch", fields=["id", "size"])
class Branch(models.Model):
    """Points to a table of multi-table inheritance and to its own."""

    size = models.IntegerField(default=0)
    place = models.ForeignKey(Place, models.CASCADE, null=True)
    parent = models.ForeignKey("self", models.CASCADE, null=True)


@publishes("test.document", fields=["id", "title"])
class Document(models.Model):
    """Has its own save(), and a manager that hides rows."""

    class Visible(models.Manager):
        def get_queryset(self):
            return super().get_queryset().filter(hidden=False)

    title = models.CharField(max_length=50)
    note = models.CharField(max_length=50, default="")
    hidden = models.BooleanField(default=False)

    objects = Visible()

    class Meta:
        base_manager_name = "objects"

    def save(self, *args, **kwargs):
        self.title = self.title.upper()
        super().save(*args, **kwargs)
        self.was_saved = True


@publishes("test.pin", fields=["id", "place"])
class Pin(models.Model):
    """Outlives what it points to."""

    place = models.ForeignKey(Place, models.SET_NULL, null=True)


@publishes("test.note", fields=["id"], on=["created"])
class Note(models.Model):
    """Its deletes are nobody's business: they stay fast."""

    about = models.ForeignKey(Untouched, models.CASCADE, null=True)


@publishes("test.seat", fields=["row", "number"])
class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=5)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)


@publishes("test.gauge", fields=["double"])
class Gauge(models.Model):
    level = models.IntegerField(default=0)
    double = models.GeneratedField(
        expression=models.F("level") * 2, output_field=models.IntegerField(), db_persist=True
    )
