"""The page, its events, and what its buttons do."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from . import control, shop
from .feed import feed
from .supervisor import SWITCHES

POLICY = "default-src 'self'"
SHOP: dict[str, Callable[[], str]] = {
    "place": shop.place,
    "thousand": shop.place_many,
    "roll-back": shop.roll_back,
}
ORDER: dict[str, Callable[[int], str]] = {"edit": shop.edit, "delete": shop.delete}

View = Callable[..., HttpResponseBase]


def live(view: View) -> View:
    """Serve it only where ``make live`` has started this site."""

    @wraps(view)
    def guarded(request: HttpRequest, **given: Any) -> HttpResponseBase:
        if not control.is_live():
            raise Http404("The live page is there where `make live` has started the site.")
        return view(request, **given)

    return guarded


@require_GET
@live
def page(request: HttpRequest) -> HttpResponse:
    answer = render(request, "live/page.html")
    answer["Content-Security-Policy"] = POLICY
    return answer


@require_GET
@live
def events(_: HttpRequest) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(feed.messages(), content_type="text/event-stream")
    answer["Cache-Control"] = "no-store"
    return answer


@require_POST
@live
def act(_: HttpRequest, verb: str) -> JsonResponse:
    """In the shop."""
    if verb not in SHOP:
        raise Http404
    return JsonResponse({"said": SHOP[verb]()})


@require_POST
@live
def act_on(_: HttpRequest, verb: str, number: int) -> JsonResponse:
    """On an order."""
    if verb not in ORDER:
        raise Http404
    try:
        return JsonResponse({"said": ORDER[verb](number)})
    except shop.NoOrder as error:
        return JsonResponse({"said": str(error)}, status=409)


@require_POST
@live
def switch(_: HttpRequest, name: str) -> JsonResponse:
    """Break something, or repair all of it."""
    if name not in SWITCHES:
        raise Http404
    try:
        control.switch(name)
    except control.NoSupervisor as error:
        return JsonResponse({"said": str(error)}, status=502)
    return JsonResponse({})
