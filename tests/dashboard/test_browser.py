"""The page in a real browser: each view in both themes, keys, hostile names, a proxy, a narrow screen, a report."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from starlette.applications import Starlette
from starlette.routing import Mount

from stream_monitor.dashboard.report import write_report
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.events.remarks import Mute, read_remark
from stream_monitor.kafka.follower import FollowedRecord
from tests.dashboard import stories
from tests.dashboard.conftest import DISK, filled, serving
from tests.dashboard.visits import Visit, visiting

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
    "rollouts": ("#/rollouts", "Rollouts"),
    "rollout": ("#/rollouts/fraud/fraud-42", "fraud-42"),
    "dead-letters": ("#/dead-letters", "Dead letters"),
    "health": ("#/health", "Health"),
    "missing": ("#/m/nothing", "Nothing to show"),
}
"""Address and title of each view."""


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


def test_a_mute_ends_by_its_button(visit: Visit, tmp_path: Path) -> None:
    store, sent = filled(tmp_path / "page.sqlite"), list[dict[str, Any]]()

    def take(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json={"key": "k"})

    quiet = Mute(id="q", ts=1, by="bob", model="fraud", from_ts=0, until_ts=2**50, measure="amount", why="<b>sale")
    store.apply([FollowedRecord("remarks", 0, 0, 1, quiet.key().encode(), msgspec.json.encode(quiet))], {})
    with serving(stories.settings(), store) as url:
        visit.page.route("**/api/v1/remarks", take)
        visit.open(f"{url}/#/alerts?model=fraud")
        visit.page.click("button[aria-label='Unmute: amount of fraud'] >> nth=0")
        assert "bob muted measure amount of fraud" in visit.page.inner_text("dialog")
        visit.page.click("dialog button[type=submit]")
        visit.page.wait_for_selector("dialog", state="detached")
        assert visit.page.locator("button >> text='Mute…'").count() > 0  # of the incidents that it does not cover
    store.close()
    (withdrawn,) = sent
    assert withdrawn.pop("withdraw") is True and read_remark(json.dumps(withdrawn).encode()) == quiet


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
