"""The admin, and a second one, for the tests of its pages."""

from django.contrib import admin
from django.urls import path

second = admin.AdminSite("second")
urlpatterns = [path("admin/", admin.site.urls), path("second/", second.urls)]
