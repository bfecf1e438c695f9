"""The admin is the whole of the demo shop's pages; with ``make live`` there is one more."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("live/", include("demo_project.live.urls")),
]
