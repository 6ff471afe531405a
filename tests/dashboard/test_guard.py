"""Who may read and write: the token, names and origins, and how much of a request is read."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from stream_monitor.dashboard.guard import Guard
from stream_monitor.dashboard.packing import pack_record
from stream_monitor.dashboard.store import Store
from tests.dashboard import stories
from tests.dashboard.api import TOKEN, ask, with_token
from tests.dashboard.conftest import filled, serving


def test_every_answer_has_the_policy_and_no_path_leads_out(site: str) -> None:
    strange = "/nothing", "/static/..%2f..%2fserver.py", "/static/server.py"
    for path in ("/", "/static/app.js", "/api/v1/fleet", *strange):
        status, _, headers = ask(site + path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and "Set-Cookie" not in headers
        assert (status == 200) == (path not in strange)


def test_a_page_on_loopback_answers_for_its_own_names_only(site: str) -> None:
    for host, status in (("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("evil.example", 421)):
        assert ask(f"{site}/api/v1/fleet", {"Host": host})[0] == status


def test_a_token_guards_everything_but_the_login(tmp_path: Path) -> None:
    store = filled(tmp_path / "page.sqlite")
    with serving(with_token(), store) as url:
        assert ask(f"{url}/api/v1/fleet")[0] == 401
        status, _, headers = ask(f"{url}/")
        assert (status, headers["Location"]) == (307, "login")
        assert ask(f"{url}/login")[0] == ask(f"{url}/static/page.css")[0] == ask(f"{url}/healthz")[0] == 200
        assert ask(f"{url}/api/v1/fleet", {"Authorization": "Bearer wrong"})[0] == 401
        assert ask(f"{url}/api/v1/fleet", {"Authorization": f"Bearer {TOKEN}"})[0] == 200
        status, _, headers = ask(f"{url}/login", data=f"token={TOKEN}".encode())
        cookie = headers["Set-Cookie"]
        assert status == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        value = cookie.partition(";")[0]
        assert ask(f"{url}/api/v1/fleet", {"Cookie": value})[0] == 200
        assert ask(f"{url}/api/v1/fleet", {"Cookie": value[:-1] + ("1" if value[-1] == "0" else "0")})[0] == 401
        assert ask(f"{url}/login", data=b"token=wrong")[2]["Location"] == "login?wrong"
        assert b"not the token" in ask(f"{url}/login?wrong")[1] and b"not the token" not in ask(f"{url}/login")[1]
        assert ask(f"{url}/deep/link")[0] == 401  # a relative address would lead from there to itself
    store.close()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, b"{}", 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, b"{}", 403),
        ({"Content-Type": "application/json"}, b"[", 400),
        ({"Content-Type": "application/json"}, b'{"remark": "praise"}', 400),
        ({"Content-Type": "application/json"}, b'{"remark": "mute", "model": "m"}', 400),
        ({"Content-Type": "application/json"}, b'"' + b"x" * 20_000 + b'"', 413),
    ],
)
def test_a_wrong_remark_is_refused(store: Store, headers: dict[str, str], body: bytes, status: int) -> None:
    with serving(stories.settings(), store) as url:
        assert ask(f"{url}/api/v1/remarks", headers, body)[0] == status


@pytest.mark.parametrize(("path", "status"), [("login", 303), ("api/v1/remarks", 413)])
def test_no_more_of_a_request_is_read_than_it_may_send(store: Store, path: str, status: int) -> None:
    """Somebody without the token must not fill the memory: the answer comes before the end of the body."""
    with serving(with_token(), store) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        connection.putrequest("POST", f"/{path}")
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
        connection.send(b"x" * 100_000)
        assert connection.getresponse().status == status
        connection.close()


def test_a_remark_may_come_through_a_proxy_that_names_the_page_anew(store: Store) -> None:
    """A browser says that the request is of the page's own site, whatever name the proxy asks for."""
    headers = {"Content-Type": "application/json", "Origin": "https://page.example", "Sec-Fetch-Site": "same-origin"}
    with serving(stories.settings(), store) as url:
        assert ask(f"{url}/api/v1/remarks", headers, b"[")[0] == 400
        assert ask(f"{url}/api/v1/remarks", headers | {"Sec-Fetch-Site": "same-site"}, b"[")[0] == 403


def test_remarks_are_written_on_loopback_or_with_a_token_and_ten_a_minute(store: Store) -> None:
    open_page = stories.settings(dashboard={"host": "0.0.0.0"}, http={"open": True})
    assert not Guard(open_page).may_write({}) and Guard(with_token()).may_write({"x-forwarded-for": "10.0.0.1"})
    assert Guard(stories.settings()).may_write({})
    assert not Guard(stories.settings()).may_write({"x-forwarded-for": "10.0.0.1"})
    guard = Guard(stories.settings())
    assert [guard.count_write() for _ in range(12)] == [True] * 10 + [False] * 2


def test_events_of_dead_letters_are_shown_to_those_who_may_write(store: Store) -> None:
    letter = b'{"topic":"t","partition":0,"offset":1,"reason":"json","error":"e","length":3,"sha256":"","bytes":"YWJj"}'
    assert pack_record(letter)
    with serving(stories.settings(), store) as url:
        assert ask(f"{url}/api/v1/dead-letters")[1]["latest"][0]["bytes"]
        for query in ("", "?writes=yes"):  # after the answer to somebody who may write, which is kept
            through = ask(f"{url}/api/v1/dead-letters{query}", {"X-Forwarded-For": "10.0.0.1"})[1]
            assert through["latest"][0]["bytes"] is None and not through["with_events"]
    with serving(stories.settings(dashboard={"host": "0.0.0.0"}, http={"open": True}), store) as url:
        assert ask(f"{url}/api/v1/dead-letters")[1]["latest"][0]["bytes"] is None
