"""The HTML report: one page, plots drawn as inline SVG, nothing to fetch."""

from __future__ import annotations

import html
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.figures import percentile
from bench.processes import Line

_WIDTH: Final = 860
_HEIGHT: Final = 240
_LEFT: Final = 56
_BOTTOM: Final = 34
_COLOURS: Final = ("#2563eb", "#dc2626", "#059669")
# A line of more points than pixels is drawn by the highest of each pixel's points.
_POINTS_MAX: Final = 800

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }}
table {{ border-collapse: collapse }} td {{ padding: .15rem .9rem .15rem 0; border-bottom: 1px solid #e5e7eb }}
td + td {{ text-align: right; font-variant-numeric: tabular-nums }} svg {{ display: block; margin: .3rem 0 1.6rem }}
svg text {{ font-size: 12px; fill: #4b5563 }} h2 {{ font-size: 1.05rem; margin: 1.4rem 0 .2rem }}
p.when {{ color: #6b7280 }}
</style></head><body>
<h1>{title}</h1><p class="when">{when}</p><table>{rows}</table>{plots}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Plot:
    """Series of milliseconds. `distribution`: against their percentile, else in order of arrival."""

    title: str
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    distribution: bool = False


def write(path: Path, title: str, figures: Line, plots: Sequence[Plot]) -> None:
    """Write the page; directories are made."""
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{_number(value)}</td></tr>"
        for key, value in figures.items()
        if not isinstance(value, list | dict)
    )
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}"
    drawn = "".join(f"<h2>{html.escape(plot.title)}</h2>{_svg(plot)}" for plot in plots)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = _PAGE.format(title=html.escape(title), when=html.escape(when), rows=rows, plots=drawn)
    path.write_text(page, encoding="utf-8")


def _svg(plot: Plot) -> str:
    values = {name: list(series) for name, series in plot.series.items() if len(series)}
    if not values:
        return "<p>Nothing was measured.</p>"
    top = _nice(max(max(series) for series in values.values()))
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">']
    for step in range(5):
        y = _y(top * step / 4, top)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{top * step / 4:g}</text>')
    parts.append(f'<text x="4" y="{_y(top, top) - 8:.1f}">ms</text>')
    parts += _ticks(plot, max(len(series) for series in values.values()))
    for series, colour in zip(values.values(), _COLOURS, strict=False):
        points = _percentiles(series) if plot.distribution else _highest(series)
        path = " ".join(f"{_x(share):.1f},{_y(value, top):.1f}" for share, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
    for i, (name, colour) in enumerate(zip(values, _COLOURS, strict=False)):
        parts.append(f'<text x="{_LEFT + 12 + 170 * i}" y="14" style="fill:{colour}">{html.escape(name)}</text>')
    return "".join(parts) + "</svg>"


def _ticks(plot: Plot, longest: int) -> list[str]:
    names = ("p0", "p25", "p50", "p75", "p100") if plot.distribution else [f"{longest * i // 4:,}" for i in range(5)]
    anchors = ("start", "middle", "middle", "middle", "end")
    return [
        f'<text x="{_x(i / 4):.1f}" y="{_HEIGHT - 12}" text-anchor="{anchor}">{name}</text>'
        for i, (name, anchor) in enumerate(zip(names, anchors, strict=True))
    ]


def _percentiles(series: list[float]) -> list[tuple[float, float]]:
    return [(i / 200, percentile(series, i / 2)) for i in range(201)]


def _highest(series: list[float]) -> list[tuple[float, float]]:
    step = max(1, -(-len(series) // _POINTS_MAX))
    last = max(1, len(series) - 1)
    return [(i / last, max(series[i : i + step])) for i in range(0, len(series), step)]


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 8)


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - 28)


def _nice(highest: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten: quarters of it are round numbers."""
    size = 1e-3
    while True:
        for factor in (1, 2, 4, 8):
            if size * factor >= highest:
                return size * factor
        size *= 10


def _number(value: object) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else html.escape(str(value))
