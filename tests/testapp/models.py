"""Models of every kind that capture has to get right."""

import dataclasses
import uuid
from decimal import Decimal

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


@publishes("test.widget", key="owner_id", exclude=["made", "secret"], changed=True, coalesce=True)
class Widget(models.Model):
    """As a gadget; what one transaction does to it is told once."""

    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    name = models.CharField(max_length=50, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    count = models.IntegerField(default=0)
    made = models.DateTimeField(null=True)
    extra = models.JSONField(null=True)
    secret = models.CharField(max_length=50, default="")


@publishes("test.counter", fields=["id", "count"], coalesce=True)
class Counter(models.Model):
    """Told once a transaction, and not from where."""

    count = models.IntegerField(default=0)


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


class Region(models.Model):
    code = models.CharField(max_length=5)


class Buyer(models.Model):
    email = models.CharField(max_length=50)
    region = models.ForeignKey(Region, models.SET_NULL, null=True)


@publishes(
    "test.purchase",
    fields={
        "id": "id",
        "email": "buyer.email",
        "buyer.region.code": "buyer.region.code",
        "gross": models.ExpressionWrapper(
            models.F("net") + models.F("tax"),
            models.DecimalField(max_digits=10, decimal_places=2),
        ),
        "label": "label",
        "double": lambda purchase: purchase.count * 2,
        "marks": "tags",
    },
    select=["buyer"],
    changed=True,
)
class Purchase(models.Model):
    """What is published of it stands mostly elsewhere."""

    buyer = models.ForeignKey(Buyer, models.SET_NULL, null=True)
    net = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    tax = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    count = models.IntegerField(default=0)
    note = models.CharField(max_length=50, default="")
    tags = models.ManyToManyField(Tag)

    @property
    def label(self) -> str:
        return f"{self.count} for {self.buyer.email if self.buyer else 'nobody'}"


@dataclasses.dataclass
class BillData:
    id: int
    buyer: str | None
    total: Decimal


def bill_data(bill) -> BillData:
    return BillData(bill.pk, bill.buyer and bill.buyer.email, bill.total)


@publishes(
    "test.bill",
    payload=bill_data,
    select=["buyer"],
    version=2,
    when=models.Q(draft=False),
    changed=True,
)
class Bill(models.Model):
    """Its data is made by a function, of which the dataclass is the schema."""

    buyer = models.ForeignKey(Buyer, models.CASCADE, null=True)
    total = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    draft = models.BooleanField(default=False)


@publishes(
    "test.slip",
    key="owner_id",
    fields={
        "id": "id",
        "owner_id": "owner",
        "name": "name",
        "price": "price",
        "count": "count",
        "whose": "owner.name",
        "more": models.F("count") + 1,
        "shout": lambda slip: slip.name.upper(),
    },
    changed=True,
)
class Slip(models.Model):
    """As a gadget; its events tell what stands elsewhere, too."""

    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    name = models.CharField(max_length=50, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    count = models.IntegerField(default=0)
