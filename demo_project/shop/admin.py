"""Edit the shop, and see the events arrive (kinesis_tail --follow)."""

from django.contrib import admin

from .models import Customer, Line, Order


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "email")


class LineInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Line
    extra = 1


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "customer", "status", "total", "placed")
    list_filter = ("status",)
    inlines = (LineInline,)
