"""Hooks of MkDocs: pages that live outside docs/, and links that GitHub and the site both follow.

A document links as GitHub needs it: by the path of a file of the repository. In the site some of
these files have another place (:data:`PAGES`), or are shown as they are (:data:`FILES`). A link to
anything else outside docs/ is an error: the reader of the site could not follow it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.ja.md": "readme.ja.md",
    "SECURITY.md": "reporting.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Path in the repository -> path of the page in the site."""
FILES = {
    "LICENSE": "files/LICENSE.txt",
    ".env.example": "files/env.example.txt",
    "kinesis_bridge/signals.py": "files/signals.py.txt",
    "kinesis_bridge/serializers.py": "files/serializers.py.txt",
    "kinesis_bridge/delivery/base.py": "files/delivery-base.py.txt",
}
"""Path in the repository -> path of the file in the site."""
_HOMES = {page: path for path, page in PAGES.items()}
_FENCE = re.compile(r"^(`{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(?=[)\s])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not in docs/ to the site."""
    for path, place in {**PAGES, **FILES}.items():
        text = (ROOT / path).read_text()
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links to files of the repository into links of the site; code blocks stay."""
    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(markdown):
        parts += [_mapped(markdown[end : fence.start()], page.file.src_uri), fence[0]]
        end = fence.end()
    return "".join([*parts, _mapped(markdown[end:], page.file.src_uri)])


def _mapped(text: str, page: str) -> str:
    return _LINK.sub(lambda link: link[1] + site_link(link[2], page), text)


def site_link(link: str, page: str) -> str:
    """Return `link`, as written in the file of `page`, as the site's page has to have it."""
    parts = urlsplit(link)
    if parts.scheme or not parts.path:
        return link
    home = _HOMES.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(home), parts.path))
    place = PAGES.get(target) or FILES.get(target)
    if place is None:
        if not target.startswith("docs/"):
            raise PluginError(
                f"{home} links to {link}, which is not in the site: add it to docs/site_hooks.py."
            )
        place = target.removeprefix("docs/")
    place = posixpath.relpath(place, posixpath.dirname(page) or ".")
    return f"{place}#{parts.fragment}" if parts.fragment else place
