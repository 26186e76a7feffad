"""How fast the demo page draws: `python -m bench.web_fps --bodies 500`. Needs Chromium and Playwright.

A real server, the system's Chromium without a graphics card, a visitor who walks so that the ground runs under him,
and `--bodies` figures that the page makes up and keeps in sight (`web/crowd.js`), drawn with those of the world.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import orjson
import typer
from playwright.sync_api import Page, sync_playwright

_ROOT: Final = Path(__file__).resolve().parent.parent
_ARGUMENTS: Final = ("--no-sandbox", "--headless=new", "--disable-gpu", "--no-first-run", "--disable-sync")
_CROWDS: Final = ("bodies", "trees", "mixed", "named")
_WARM_UP_S: Final = 4.0

# Gaps between animation frames, and the page's own time within each.
_MEASURE: Final = """(milliseconds) => new Promise((done) => {
    const gaps = [], scripts = [];
    let last = 0, begun = 0, drawn = 0;
    const tick = (now) => {
        if (last) gaps.push(now - last);
        else begun = now;
        last = now;
        if (gaps.length) scripts.push(everstep.stats.lastMs);
        drawn += everstep.stats.drawn;
        if (now - begun < milliseconds) requestAnimationFrame(tick);
        else done({ gaps, scripts, drawn: drawn / (gaps.length + 1) });
    };
    requestAnimationFrame(tick);
})"""


@contextmanager
def _server() -> Iterator[str]:
    """The address of a frontier in a process of its own."""
    with TemporaryDirectory() as data:
        command = [sys.executable, "-m", "server", "run", "--port", "0", "--data", data, "--log-level", "error"]
        with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
            assert process.stdout is not None
            try:
                found = re.search(r"https?://\S+", process.stdout.readline())
                if found is None:
                    raise RuntimeError("the server did not say where it is")
                yield found.group()
            finally:
                process.send_signal(signal.SIGTERM)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _figures(page: Page, seconds: float) -> dict[str, float]:
    measured: dict[str, Any] = page.evaluate(_MEASURE, seconds * 1000)  # Any: what JavaScript gave
    gaps, scripts = sorted(measured["gaps"]), sorted(measured["scripts"])
    return {
        "fps_p50": round(1000 / _at(gaps, 0.5), 1),
        "fps_mean": round(1000 * len(gaps) / sum(gaps), 1),
        "frame_ms_p95": round(_at(gaps, 0.95), 1),
        "frame_ms_p99": round(_at(gaps, 0.99), 1),
        "script_ms_p50": round(_at(scripts, 0.5), 2),
        "script_ms_p95": round(_at(scripts, 0.95), 2),
        "drawn": round(measured["drawn"]),
    }


def main(
    bodies: Annotated[int, typer.Option(min=0, help="Figures that the page makes up.")] = 500,
    crowd: Annotated[str, typer.Option(help=f"Who they are: {', '.join(_CROWDS)}.")] = "mixed",
    seconds: Annotated[float, typer.Option(min=1, help="Seconds to measure.")] = 8.0,
    width: Annotated[int, typer.Option(help="The window's width, CSS pixels.")] = 1280,
    height: Annotated[int, typer.Option(help="The window's height, CSS pixels.")] = 800,
    *,
    night: Annotated[bool, typer.Option(help="In the dark; else by day, whatever the hour.")] = False,
    uncapped: Annotated[bool, typer.Option(help="Draw as fast as it goes, past the screen's 60 Hz.")] = False,
    gpu: Annotated[bool, typer.Option(help="Let Chromium look for a graphics card.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write what was seen at the end to this PNG.")] = None,
) -> None:
    """How fast the demo page draws in this machine's Chromium."""
    if crowd not in _CROWDS:
        raise typer.BadParameter(f"one of {', '.join(_CROWDS)}", param_hint="--crowd")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    arguments = [a for a in _ARGUMENTS if not (gpu and a == "--disable-gpu")]
    if uncapped:
        arguments += ["--disable-frame-rate-limit", "--disable-gpu-vsync"]
    with _server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"{url}?play=1&name=Bench&bodies={bodies}&crowd={crowd}{'&night' if night else ''}")
        page.locator("#state", has_text="online").wait_for()
        page.keyboard.down("d")
        page.wait_for_timeout(_WARM_UP_S * 1000)
        figures = _figures(page, seconds)
        if picture:
            page.screenshot(path=picture)
        browser.close()
    typer.echo(
        orjson.dumps(
            {"bodies": bodies, "crowd": crowd, "night": night, "window": f"{width}x{height}", **figures}
        ).decode()
    )


if __name__ == "__main__":
    typer.run(main)
