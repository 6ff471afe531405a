"""The page while records come: what it draws anew, what it leaves, and what it says where nothing comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse

from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.store import Store
from tests.dashboard import stories
from tests.dashboard.conftest import DISK, serving
from tests.dashboard.test_browser import address
from tests.dashboard.visits import Visit, visiting


@contextmanager
def living(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A page of its own, and a function that lets something come that no view but the dead letters shows."""
    store, letters = Store(path, DISK, stories.APP), count(10**6)
    store.apply(stories.records(), {})
    letter = next(r for r in stories.records() if r.role == "dead-letters")
    with serving(stories.settings(), store) as url:
        yield url, lambda: store.apply([letter._replace(offset=next(letters))], {})
    store.close()


def test_what_is_unfolded_stays_so_while_records_come(visit: Visit, tmp_path: Path) -> None:
    with living(tmp_path / "page.sqlite") as (url, more):
        visit.open(address(url, "measure"))
        visit.page.click("details summary")
        with visit.page.expect_response(lambda r: "measures/fraud" in r.url) as answer:
            more()
        assert answer.value.status == 304  # nothing of the view has changed
        visit.page.wait_for_timeout(300)
        assert visit.page.eval_on_selector("details", "node => node.open") and not visit.complaints
        visit.page.evaluate("history.replaceState(null, '', location.hash + '&x=1')")  # the same view is drawn anew
        with visit.page.expect_response(lambda r: "measures/fraud" in r.url):
            more()
        visit.page.wait_for_timeout(300)
        assert visit.page.eval_on_selector("details", "node => node.open") and not visit.complaints


def test_a_choice_that_is_made_while_the_view_is_fetched_is_drawn(visit: Visit, site: str) -> None:
    visit.open(f"{site}/#/m/fraud?range=all")

    def late(route: Any) -> None:
        visit.page.evaluate("document.querySelector('select[data-focus=segment]').focus()")
        visit.page.evaluate("location.hash = '#/m/fraud?range=all&segment=country%3DUS'")
        route.continue_()

    visit.page.route("**/models/fraud?range=1d", late, times=1)
    visit.page.evaluate("location.hash = '#/m/fraud?range=1d'")
    visit.page.wait_for_selector("h1 >> text=country=US")
    assert not visit.complaints


def test_a_server_that_does_not_answer_leaves_what_is_shown(visit: Visit, tmp_path: Path) -> None:
    with living(tmp_path / "page.sqlite") as (url, more):
        visit.open(address(url, "model"))
        visit.page.route("**/api/v1/models/**", lambda route: route.abort())
        with visit.page.expect_event("requestfailed"):
            more()
        visit.page.wait_for_timeout(300)
        assert visit.page.locator("table.measures").count() > 0


def test_an_app_without_events_says_how_to_send_them(chromium: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    with serving(stories.settings(), store) as url, visiting(chromium) as visit:
        visit.open(f"{url}/#/")
        assert visit.title() == "No events yet" and f"{stories.APP}.predictions" in visit.page.inner_text("pre")
        store.apply(stories.records(), {})
        visit.page.wait_for_selector("table.fleet")  # by the stream of changes
        assert not visit.complaints
    store.close()


def test_a_page_to_which_nothing_comes_any_more_says_so(chromium: Any, store: Store) -> None:
    reader = Reader(stories.settings(), store)
    reader.progress.enter("live")
    with serving(stories.settings(), store, reader=reader) as url, visiting(chromium) as visit:
        for age, is_stale in ((10 * stories.MINUTE, False), (40 * stories.MINUTE, True)):
            reader.progress.newest = int(time.time() * 1000) - age
            visit.open(f"{url}/#/m/fraud")
            visit.page.reload()
            visit.page.wait_for_selector(".state.live")
            assert (visit.page.locator(".stale").count() == 1) == is_stale


class Refusal:
    """A proxy before the page that refuses its stream of changes for as long as it is told to."""

    def __init__(self, app: Any) -> None:
        self.app, self.refuses, self.refused, self.streams = app, True, 0, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/api/v1/events":
            await self.app(scope, receive, send)
        elif self.refuses:
            self.refused += 1
            await PlainTextResponse("no", 503)(scope, receive, send)
        else:
            self.streams += 1
            await self.app(scope, receive, send)


def test_a_page_whose_stream_was_refused_asks_by_itself_and_opens_it_again(visit: Visit, tmp_path: Path) -> None:
    store, doors = Store(tmp_path / "page.sqlite", DISK, stories.APP), list[Refusal]()

    def wrap(app: Any) -> Refusal:
        doors.append(Refusal(app))
        return doors[0]

    with serving(stories.settings(), store, wrap) as url:
        visit.open(f"{url}/#/")
        store.apply(stories.records(), {})
        visit.page.wait_for_selector("table.fleet")  # without a stream
        assert doors[0].refused > 0 and doors[0].streams == 0
        with visit.page.expect_response(lambda answer: answer.url.endswith("/events") and answer.status == 200):
            doors[0].refuses = False
    store.close()
