"""Edit the shop, and see the events arrive (kinesis_tail --follow)."""

from django.contrib import admin

from .models import Customer, Line, Order


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ("name", "email")


class LineInline(admin.TabularInline):
    model = Line
    extra = 1


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("id", "customer", "status", "total", "placed")
    list_filter = ("status",)
    inlines = (LineInline,)
