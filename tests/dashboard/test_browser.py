"""The page in a real browser: each view in both themes, keys, hostile names, a proxy, a narrow screen, a report."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from starlette.applications import Starlette
from starlette.routing import Mount

from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.report import write_report
from stream_monitor.dashboard.store import Snapshot, Store, Stored
from stream_monitor.file_replay import replay
from stream_monitor.stages.contract import Output
from tests.dashboard import stories
from tests.dashboard.conftest import DISK, serving

SCREENSHOTS = Path(os.environ.get("STREAM_MONITOR_SCREENSHOTS", "build/screenshots"))
"""CI keeps this folder."""
VIEWS = {
    "fleet": ("#/", "Fleet"),
    "model": ("#/m/fraud?range=all", "fraud"),
    "measure": ("#/m/fraud/x/amount?range=all", "amount"),
    "outcome": ("#/m/fraud/x/error?range=all", "error"),
    "category": ("#/m/fraud/x/country?range=all", "country"),
    "performance": ("#/m/fraud/performance?range=all", "fraud"),
    "labels": ("#/m/fraud/labels?range=all", "fraud"),
    "users": ("#/m/fraud/users?range=all", "fraud"),
    "software": ("#/m/fraud/software?range=all", "fraud"),
    "reduce": ("#/m/fraud/reduce?range=all", "fraud"),
    "alerts": ("#/alerts", "incident"),
    "dead-letters": ("#/dead-letters", "Dead letters"),
    "health": ("#/health", "Health"),
    "missing": ("#/m/nothing", "Nothing to show"),
}
"""Address and title of each view."""


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


@pytest.fixture
def visit(chromium: Any) -> Iterator[Visit]:
    with visiting(chromium) as found:
        yield found
        assert not found.foreign


def address(site: str, view: str) -> str:
    return f"{site}/{VIEWS[view][0]}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_drawn_without_complaints_and_keeps_nobody_out(
    chromium: Any, site: str, view: str, scheme: str
) -> None:
    with visiting(chromium, color_scheme=scheme) as visit:
        visit.open(address(site, view))
        assert VIEWS[view][1] in visit.title()
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        visit.page.screenshot(path=SCREENSHOTS / f"{view}-{scheme}.png", full_page=True)
        text = visit.page.inner_text("main")
        assert not re.search(r"\bundefined\b|\bNaN\b|\[object |\bnull\b(?!_)", text), text
        found = Axe().run(visit.page)
        assert found.violations_count == 0, found.generate_report()
        refused = [c for c in visit.complaints if "404" not in c]  # a view that is not there is asked for once
        assert not refused and not visit.foreign
        if view != "missing":
            assert not visit.complaints


def test_one_finds_a_measure_and_its_alert_by_clicks(visit: Visit, site: str) -> None:
    visit.open(f"{site}/#/")
    visit.page.click("a.name >> text=fraud")
    visit.page.wait_for_selector("table.measures")
    visit.page.click("table.measures a.name >> text=error")
    visit.page.wait_for_selector(".plot .chart")
    visit.page.click(".say a")
    visit.page.wait_for_selector("text=What found it")
    assert "/alerts/" in visit.page.url and not visit.complaints


def test_the_keys_do_what_the_list_says(visit: Visit, site: str) -> None:
    page = visit.page
    visit.open(f"{site}/#/")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.textContent") != first
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.textContent") == first
    page.keyboard.press("Enter")
    page.wait_for_selector("table.measures")
    page.keyboard.press("]")
    page.wait_for_url("**range=7d**")
    page.keyboard.press("[")
    page.wait_for_url("**range=1d**")
    page.keyboard.press("t")
    page.wait_for_url("**tz=local**")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("d")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("u")
    page.wait_for_selector("table.fleet")
    assert not visit.complaints


def test_the_state_is_in_the_address_and_back_goes_back(visit: Visit, site: str) -> None:
    visit.open(f"{site}/#/m/fraud?range=all")
    visit.page.select_option("select[data-focus=segment]", "country=US")
    visit.page.wait_for_selector("h1 >> text=country=US")
    assert "segment=country%3DUS" in visit.page.url
    visit.page.go_back()
    visit.page.wait_for_selector("h1:not(:has-text('country=US'))")
    visit.page.goto(f"{site}/#/m/fraud?range=all&segment=country%3DDE")
    visit.page.wait_for_selector("h1 >> text=country=DE")
    assert not visit.complaints


def test_a_version_is_drawn_against_another(visit: Visit, site: str) -> None:
    visit.open(f"{site}/#/m/ranking?range=all")
    visit.page.select_option("select[data-focus=against]", "version:1")
    visit.page.wait_for_selector("table.measures path.second", state="attached")
    visit.page.click("table.measures a.name >> text=latency_ms")
    visit.page.wait_for_selector(".plot path.second", state="attached")
    assert "against=version%3A1" in visit.page.url and "version 1" in visit.page.inner_text("main .key >> nth=0")
    visit.open(f"{site}/#/m/ranking?range=all&against=version%3Anone")
    assert "Nothing to compare with" in visit.page.inner_text("main")
    assert [c for c in visit.complaints if "404" not in c] == []


def test_the_crosshair_reads_all_charts_at_one_time(visit: Visit, site: str) -> None:
    visit.open(address(site, "measure"))
    box = visit.page.locator(".area-box").first.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    told = visit.page.eval_on_selector_all(".cross.on", "nodes => nodes.map(node => node.dataset.at)")
    assert len(told) >= 3 and len({text[:16] for text in told}) == 1 and "median" in told[0]


def test_names_of_strangers_are_text(visit: Visit, site: str) -> None:
    name = quote(stories.HOSTILE, safe="")
    views = ["#/", f"#/m/{name}?range=all", f"#/m/{name}/x/{name}?range=all", f"#/m/{name}/x/prediction?range=all",
             f"#/m/fraud/x/{name}?range=all", f"#/m/{name}/reduce?range=all", "#/dead-letters"]  # fmt: skip
    for view in views:
        visit.open(f"{site}/{view}")
        assert visit.page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert visit.page.title() not in ("1", "2")
        wide = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{view} is {wide} px too wide"
    assert not visit.complaints


@pytest.mark.parametrize("view", [name for name in VIEWS if name != "missing"])
def test_a_narrow_screen_shows_each_view_without_scrolling_aside(chromium: Any, site: str, view: str) -> None:
    with visiting(chromium, viewport={"width": 390, "height": 844}) as visit:
        visit.open(address(site, view))
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        visit.page.screenshot(path=SCREENSHOTS / f"{view}-narrow.png")


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


def test_an_address_that_is_no_text_is_told_so(visit: Visit, site: str) -> None:
    visit.open(f"{site}/#/m/%E0%A4%A")
    assert visit.title() == "Nothing to show here"
    visit.open(f"{site}/#/alerts")
    assert "incident" in visit.title()


def test_figures_are_saved_and_nothing_is_held_for_it(visit: Visit, site: str, tmp_path: Path) -> None:
    visit.page.add_init_script("window.made = 0; const make = URL.createObjectURL; "
                               "URL.createObjectURL = blob => { window.made += 1; return make(blob); }")  # fmt: skip
    visit.open(address(site, "measure"))
    assert visit.page.evaluate("window.made") == 0
    visit.page.click("details summary")
    with visit.page.expect_download() as saved:
        visit.page.click("text=Download as CSV")
    saved.value.save_as(tmp_path / "saved.csv")
    lines = (tmp_path / "saved.csv").read_text().splitlines()
    assert lines[0].startswith("window_start,time_utc,n,") and len(lines) > 10 and not visit.complaints


def test_the_page_works_behind_a_proxy_that_strips_a_prefix(chromium: Any, store: Store) -> None:
    with serving(stories.settings(), store, lambda app: Starlette(routes=[Mount("/deep/prefix", app)])) as url:
        with visiting(chromium) as visit:
            visit.open(f"{url}/deep/prefix/#/m/fraud?range=all")
            assert "fraud" in visit.title() and not visit.complaints


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


def test_a_report_opens_from_a_file_and_shows_what_the_page_shows(
    chromium: Any, site: str, store: Store, tmp_path: Path
) -> None:
    path, snapshot = tmp_path / "report.html", Snapshot(store.path)
    with snapshot:
        counts = write_report(snapshot, path, "report", span=0)
    snapshot.close()
    assert counts["models"] == 3 and counts["measures"] > 20 and counts["alerts"] > 3
    for view in ("fleet", "model", "measure", "performance"):
        shown = []
        for base in (site + "/", path.as_uri()):
            with visiting(chromium, offline=base.startswith("file")) as visit:
                visit.open(base + VIEWS[view][0])
                shown.append(visit.page.eval_on_selector_all("main svg path", "p => p.map(x => x.getAttribute('d'))"))
                assert not visit.complaints and not visit.foreign
        assert shown[0] == shown[1] and shown[0]
    with visiting(chromium, offline=True) as visit:
        for query in ("state=open", "model=ranking", "severity=critical&model=fraud"):
            titles = []
            for base in (site + "/", path.as_uri()):
                with visiting(chromium) as other:
                    other.open(f"{base}#/alerts?{query}")
                    titles.append(other.title())
            assert titles[0] == titles[1]
        visit.open(f"{path.as_uri()}#/m/fraud?segment=country%3DUS")
        assert visit.title() == "Nothing to show here"  # it holds all segments as one, and says so


def test_a_gap_is_told_as_one(visit: Visit, tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, stories.APP)
    gap = (stories.T0 + 2 * 3_600_000, stories.T0 + 5 * 3_600_000)
    kept = [r for r in stories.records() if r.role != "metrics" or not r.value or not is_within(r.value, gap)]
    store.apply(kept, {})
    with serving(stories.settings(), store) as url:
        visit.open(address(url, "measure"))
        box = visit.page.locator(".area-box").first.bounding_box()
        told = []
        for position in (0.1, 0.44, 0.9):
            visit.page.mouse.move(box["x"] + box["width"] * position, box["y"] + 20)
            told.append(visit.page.locator(".cross.on").first.get_attribute("data-at"))
    store.close()
    assert "median" in told[0] and "no window" in told[1] and "median" in told[2]


def is_within(record: bytes, gap: tuple[int, int]) -> bool:
    return gap[0] <= int(json.loads(record)["window_start"]) < gap[1]


def test_the_page_is_small(site: str, chromium: Any) -> None:
    """What is sent at a first visit: few requests, few bytes."""
    with visiting(chromium) as visit:
        sizes: list[int] = []
        visit.page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
        visit.open(f"{site}/#/")
        assert len(sizes) <= 18 and sum(sizes) <= 45_000


def extreme() -> Iterator[tuple[str, bytes]]:
    """Numbers at the ends of doubles, constants, long and empty texts, and letters of 64 KB."""
    rng, long = random.Random(8), "ä" * 128
    for i in range(1_500):
        features = {
            "huge": rng.choice([1e308, -1e308, 1.0]), "tiny": rng.choice([5e-324, -5e-324, 0.0]),
            "whole": 2**53 - rng.randrange(3), "still": 7, "text": rng.choice([long, "", "\u202eab", "a\nb", " "]),
            long: i, "": i % 7, "list": [1] * (i % 3), "nothing": None,
        }  # fmt: skip
        event = {"id": f"e{i}", "ts": stories.T0 + i * 2_000, "model": "m", "features": features, "prediction": long}
        yield "predictions", json.dumps(event).encode()
    yield "predictions", b'{"id": "' + b"x" * 65_536


def test_extreme_numbers_and_texts_break_nothing(chromium: Any, tmp_path: Path) -> None:
    rules, store, made = (
        stories.settings(segments=[]),
        Store(tmp_path / "page.sqlite", DISK, stories.APP),
        list[Output](),
    )
    replay(rules, extreme(), made.append)
    records = [
        Stored(o.role, 0, i, stories.T0 + i, o.key or b"", o.value)
        for i, o in enumerate(made)
        if o.role in ("metrics", "alerts", "health", "baselines", "dead-letters") and not o.tombstone
    ]
    store.apply(records, {})
    assert store.strange == 0
    names = ("huge", "tiny", "whole", "still", "text", "ä" * 128, "list", "length(text)")
    with serving(rules, store) as url:
        for size in ((1440, 980), (390, 844)):
            with visiting(chromium, viewport={"width": size[0], "height": size[1]}) as visit:
                views = [f"#/m/m/x/{quote(name, safe='')}?range=all" for name in names]
                for view in ["#/", "#/m/m?range=all", "#/m/m/reduce?range=all", "#/alerts", "#/dead-letters", *views]:
                    visit.open(f"{url}/{view}")
                    text = visit.page.inner_text("main")
                    assert not re.search(r"\bundefined\b|\bNaN\b|Infinity|\[object ", text), f"{view}: {text}"
                    assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
                    broken = (
                        "[...document.querySelectorAll('path')].some(p => /NaN|Infinity/.test(p.getAttribute('d')))"
                    )
                    assert not visit.page.evaluate(broken), view
                assert not visit.complaints
    store.close()
