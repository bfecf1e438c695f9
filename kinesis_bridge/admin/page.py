"""What a ModelAdmin needs whose pages are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

from .readonly import ReadOnlyAdmin

if TYPE_CHECKING:
    from django.http import HttpRequest


class PageAdmin(ReadOnlyAdmin):
    """Pages that look as the admin's do, in whichever AdminSite they are."""

    def context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        """Return what the template of any page of the admin needs."""
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
        }

    def url(self, name: str) -> str:
        """Return an address of the page, in this site."""
        return reverse(f"admin:{self.name_of(name)}", current_app=self.admin_site.name)

    def name_of(self, view: str) -> str:
        """Return the name of one of its addresses, without the site's namespace."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{view}"
