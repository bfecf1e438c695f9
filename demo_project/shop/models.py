"""Customers, their orders, and the lines of an order: all published."""

from decimal import Decimal

from django.db import models

from kinesis_bridge import publishes


@publishes("shop.customer", key="id", fields=["id", "name", "email"])
class Customer(models.Model):
    """Somebody who orders."""

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)

    def __str__(self) -> str:
        return self.name


# The orders of one customer arrive in the order in which they were saved.
@publishes(
    "shop.order", key="customer_id", fields=["id", "customer_id", "status", "total", "placed"]
)
class Order(models.Model):
    """What a customer ordered."""

    class Status(models.TextChoices):
        NEW = "new"
        PAID = "paid"
        SHIPPED = "shipped"
        CANCELLED = "cancelled"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    total = models.DecimalField(max_digits=10, decimal_places=2, default=Decimal(0))
    placed = models.DateTimeField(auto_now_add=True)
    note = models.TextField(blank=True, help_text="Stays in account A: it is not published.")

    def __str__(self) -> str:
        return f"Order {self.pk}"


@publishes("shop.line", key="order_id", fields=["id", "order_id", "product", "quantity", "price"])
class Line(models.Model):
    """One product of an order."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product = models.CharField(max_length=100)
    quantity = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"
