"""``manage.py place_orders``: something to publish."""

import logging
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from demo_project.shop.models import Customer, Line, Order
from kinesis_bridge.conf import get_config
from kinesis_bridge.tail import Reader

logger = logging.getLogger(__name__)
PRODUCTS = (("Tea", Decimal("4.50")), ("Cup", Decimal("7.20")), ("Kettle", Decimal("39.90")))


class Command(BaseCommand):
    help = "Place orders, and with --read-back show their events as account B sees them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=1, help="How many orders.")
        parser.add_argument("--read-back", action="store_true", help="Read the stream afterwards.")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["count"] < 1:
            raise CommandError(f"--count must be at least 1, not {options['count']}")
        for number in range(options["count"]):
            order = place_order(number)
            # To the site's logs, of which the settings make events of another stream.
            logger.info("Order %s placed", order.pk, extra={"total": order.total})
            self.stdout.write(f"Placed order {order.pk}: {order.total} for {order.customer}")
        if options["read_back"]:
            self.show_stream()

    def show_stream(self) -> None:
        stream = get_config().stream("default")
        if stream.delivery == "outbox":
            # On a real site the relay is a process of its own, always running.
            call_command("kinesis_relay", once=True, stdout=self.stdout)
        role = get_config().role_of(stream)
        where = f"account {role.account}" if role else "this account"
        self.stdout.write(f"\nStream {stream.name!r} of {where} now holds:")
        reader = Reader(stream)
        for record in reader.tail("oldest"):
            self.stdout.write(f"  {record.shard_id} {record.data.decode()}")
        reader.close()


def place_order(number: int) -> Order:
    """Save a customer, an order and its lines in one transaction: all events go out, or none."""
    with transaction.atomic():
        customer, _ = Customer.objects.get_or_create(
            email=f"ada{number % 10}@example.com", defaults={"name": f"Ada {number % 10}"}
        )
        order = Order.objects.create(customer=customer)
        for product, price in PRODUCTS[: 1 + number % len(PRODUCTS)]:
            line = Line.objects.create(order=order, product=product, price=price)
            order.total += line.quantity * line.price
        order.status = Order.Status.PAID
        order.save(update_fields=["status", "total"])
    return order
