"""The live page's URLs."""

from django.urls import path

from . import views
from .ledger import ledger

app_name = "live"
urlpatterns = [
    path("", views.page, name="page"),
    path("events/", views.events, name="events"),
    path("shop/<slug:verb>/", views.act, name="act"),
    path("shop/<slug:verb>/<int:number>/", views.act_on, name="act-on"),
    path("switch/<slug:name>/", views.switch, name="switch"),
]

ledger.listen()  # these pages are what it counts for
