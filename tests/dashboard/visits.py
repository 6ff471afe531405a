"""A page of the browser, as a test visits it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Visit:
    """A page of the browser, and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not re.match(r"(http://127\.0\.0\.1:|file://|data:|blob:)", request.url):
            self.foreign.append(request.url)

    def open(self, url: str) -> None:
        """Go to a view, and wait until it is drawn."""
        fragment = "#" + url.partition("#")[2]
        self.page.goto(url)
        self.page.wait_for_selector(f'html[data-ready="{fragment}"]', state="attached")

    def title(self) -> str:
        return str(self.page.inner_text("h1"))


@contextmanager
def visiting(chromium: Any, **options: Any) -> Iterator[Visit]:
    context = chromium.new_context(**{"viewport": {"width": 1440, "height": 980}, "reduced_motion": "reduce"} | options)
    visit = Visit(context.new_page())
    try:
        yield visit
    finally:
        context.close()
