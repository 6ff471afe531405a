"""Figures in the sentences of alerts: numbers, shares and times of day."""

from __future__ import annotations

from datetime import UTC, datetime


def number(value: float) -> str:
    """A number in a sentence: about four digits, thousands grouped."""
    if abs(value) >= 1e9 or 0 < abs(value) < 1e-4:
        return f"{value:.3g}"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"


def share(part: float) -> str:
    """A share as a percentage with two or three digits; only 0 is 0 %, only 1 is 100 %."""
    percent = 100 * part
    text = f"{percent:.3g}" if percent < 99.95 or part >= 1 else f"{percent:.6g}"
    return f"{'above 99.9999' if text == '100' and part < 1 else text} %"


def moment(ts: int, near: int) -> str:
    """A time of day in UTC; with its date when `near` (both epoch ms) lies on another day."""
    at, other = (datetime.fromtimestamp(t / 1000, UTC) for t in (ts, near))
    return at.strftime("%H:%M UTC" if at.date() == other.date() else "%Y-%m-%d %H:%M UTC")


def apart(value: float, bound: float) -> tuple[str, str]:
    """Both numbers with three significant digits, or with as many more as make them differ."""
    for digits in range(3, 17):
        texts = f"{value:.{digits}g}", f"{bound:.{digits}g}"
        if texts[0] != texts[1] or value == bound:
            break
    return texts
