"""A real server in a process of its own, and the system's Chromium to visit it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from config.settings import load
from games.frontier import GAME
from games.frontier.predators import bite
from server.sim import Game
from tests.browser.hand import Hand
from tests.browser.page import WAIT_MS

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
# No sandbox: tests run as root in containers. The rest keeps it from talking to anyone but our server.
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESKTOP = {"width": 1280, "height": 800}
# The side of the tests' worlds.
WORLD_UNITS = 256
# Where a test sends somebody for a walk, wolves shall not decide how it ends.
PEACEFUL = replace(GAME, systems=tuple(system for system in GAME.systems if system is not bite))

Visit = Callable[..., Page]


Serve = Callable[..., Hand]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a world of a game, as small as that of `server_url`."""
    hands: list[Hand] = []

    def start(game: Game, files: Path | None = None, columns: int = 1, rows: int = 1) -> Hand:
        place = {"server.port": 0, "server.data_dir": tmp_path}
        small = {"world.width": WORLD_UNITS, "world.height": WORLD_UNITS, **place}
        divided = {"world.columns": columns, "world.rows": rows}
        hand = Hand(load(overrides={**small, **divided}, environment={}), game, files)
        hands.append(hand)
        return hand.__enter__()

    yield start
    for hand in hands:
        hand.__exit__()


@contextmanager
def running(data: Path, environment: dict[str, str], *options: str) -> Iterator[str]:
    """A frontier in a process of its own, for as long as the block lasts: its address."""
    command = [sys.executable, "-m", "server", "run", "--game", "games.frontier", "--port", "0", "--data", str(data)]
    # Logs go to a file: a pipe that nobody reads would fill, and stop the server.
    log = data / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, "--log-level", "warning", *options],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            found = re.search(r"https?://\S+", process.stdout.readline())
            if not found:
                pytest.fail("the server did not say where it is:\n" + log.read_text())
            yield found.group().rstrip("/")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running frontier, so small that it has one hamlet: all visitors see each other."""
    small = {f"EVERSTEP_WORLD__{side}": str(WORLD_UNITS) for side in ("WIDTH", "HEIGHT")}
    with running(tmp_path_factory.mktemp("data"), small) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}: install it, or name one in CHROMIUM")
    with sync_playwright() as playwright:
        expect.set_options(timeout=WAIT_MS)
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS, timeout=WAIT_MS)
        yield launched
        launched.close()


@pytest.fixture
def trouble() -> Iterator[list[str]]:
    """Everything the pages complained of; a test that leaves any behind fails."""
    heard: list[str] = []
    yield heard
    assert not heard, heard


@pytest.fixture
def visit(browser: Browser, server_url: str, trouble: list[str], serve: Serve) -> Iterator[Visit]:
    """Opens the page as a visitor with a browser profile of their own; all leave before a world of `serve` ends."""
    contexts: list[BrowserContext] = []

    def open_page(
        path: str = "/?play=1&name=Visitor",
        url: str = server_url,
        refused: int | None = None,
        **options: object,
    ) -> Page:
        """`refused`: the HTTP status that the page is to meet. The browser complains of it, whenever it comes to it."""

        def console(message: ConsoleMessage) -> None:
            if (
                message.type in ("error", "warning")
                and f"the server responded with a status of {refused} " not in message.text
            ):
                trouble.append(f"{message.type}: {message.text}")

        context = browser.new_context(**{"viewport": DESKTOP, **options})  # type: ignore[arg-type]  # Playwright's own
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", console)
        page.on("pageerror", lambda error: trouble.append(f"uncaught: {error}"))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            page.evaluate("window.everstep?.client?.leave()")
        context.close()
