"""Requests to the page, as a test sends them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from stream_monitor.config.http import HttpSettings
from stream_monitor.config.settings import Settings
from tests.dashboard import stories

TOKEN = "a-token-of-sixteen-letters"


def ask(url: str, headers: Mapping[str, str] = {}, data: bytes | None = None) -> tuple[int, Any, Mapping[str, str]]:
    """(status, body, headers) of a request; redirections are not followed."""
    request = urllib.request.Request(url, data, dict(headers))
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(request) as answer:
            status, body, told = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            status, body, told = error.code, error.read(), error.headers
    is_json = told.get("Content-Type", "").startswith("application/json")
    return status, json.loads(body) if is_json and body else body, told


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def with_token() -> Settings:
    return stories.settings().model_copy(update={"http": HttpSettings(token=SecretStr(TOKEN))})
