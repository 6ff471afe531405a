"""A line chart as SVG, for results that are kept in the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

PALETTE = ("#d62728", "#ff9896", "#f7b6d2", "#1f77b4", "#6baed6", "#9ecae1")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 60, 30, 200, 45


def lines(series: Mapping[str, Sequence[tuple[float, float]]], across: str, title: str) -> str:
    """Points (x, y) of each series, from zero on both axes, with a legend."""
    points = [point for found in series.values() for point in found]
    right, top = (max(p[i] for p in points) * 1.05 or 1.0 for i in (0, 1))

    def x(value: float) -> float:
        return LEFT + value / right * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18">{escape(title)}</text>',
    ]
    for step in range(6):
        up, along = top * step / 5, right * step / 5
        parts.append(f'<line x1="{LEFT}" y1="{y(up):.1f}" x2="{WIDTH - RIGHT}" y2="{y(up):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(up) + 4:.1f}" text-anchor="end">{up:.0f}</text>')
        parts.append(f'<text x="{x(along):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{along:.0f}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>'
    )
    for at, (name, found) in enumerate(series.items()):
        colour, path = PALETTE[at % len(PALETTE)], " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in found)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<rect x="{WIDTH - RIGHT + 15}" y="{TOP + 20 * at}" width="12" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 33}" y="{TOP + 20 * at + 7}">{escape(name)}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return head + "".join(parts) + "</svg>\n"
