"""What a visitor does in the shop: each is one transaction, and says in words what it did."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal

from django.db import transaction

from demo_project.shop.models import Customer, Order

from .ledger import ledger

NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Linus", "Frances", "Ken")
NEXT = {Order.Status.NEW: Order.Status.PAID, Order.Status.PAID: Order.Status.SHIPPED}
AT_ONCE = 1000


class NoOrder(Exception):
    """The order is not there; somebody deleted it."""


class _RollBack(Exception):
    """Ends a transaction that is not to be committed."""


@contextmanager
def _transaction() -> Iterator[None]:
    with ledger.committing(), transaction.atomic():
        yield


def open_shop() -> None:
    """Have the customers."""
    for name in NAMES:
        with _transaction():
            email = f"{name.lower()}@example.com"
            Customer.objects.get_or_create(email=email, defaults={"name": name})


def place() -> str:
    """Place an order of anyone's."""
    with _transaction():
        order = _order(random.choice(_customers()))  # noqa: S311 - a demo's orders  # nosec B311
        order.save()
    return f"Order {order.pk} of {order.customer.name} is committed: one event."


def edit(number: int) -> str:
    """Move an order on: new, paid, shipped, and new again."""
    with _transaction():
        order = _locked(number)
        order.status = NEXT.get(Order.Status(order.status), Order.Status.NEW)
        order.save(update_fields=["status"])
    return f"Order {number} is {order.status} now: one event."


def delete(number: int) -> str:
    """Delete an order."""
    with _transaction():
        _locked(number).delete()
    return f"Order {number} is deleted: one event."


def place_many() -> str:
    """Place a thousand orders in one statement."""
    began = time.monotonic()
    with _transaction():
        customers = _customers()
        orders = [_order(customers[number % len(customers)]) for number in range(AT_ONCE)]
        Order.objects.bulk_create(orders)
    seconds = time.monotonic() - began
    return f"{AT_ONCE:,} orders are committed in one transaction, in {seconds:.1f} s."


def roll_back() -> str:
    """Place an order, and have its transaction fail."""
    with suppress(_RollBack), _transaction():
        order = _order(_customers()[0])
        order.save()
        raise _RollBack
    # Not by its number, which the next order may get.
    return f"An order of {order.customer.name} was saved and rolled back: no order, and no event."


def _customers() -> list[Customer]:
    return list(Customer.objects.filter(name__in=NAMES).order_by("pk"))


def _order(customer: Customer) -> Order:
    cents = random.randrange(500, 20_000)  # noqa: S311 - a demo's orders  # nosec B311
    return Order(customer=customer, total=Decimal(cents) / 100)


def _locked(number: int) -> Order:
    try:
        return Order.objects.select_for_update().get(pk=number)
    except Order.DoesNotExist:
        raise NoOrder(f"Order {number} is not there any more.") from None
