"""The tutorial's game: on the page that was not made for it, and on the page of the client's README."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from server.commands.options import load_game
from server.sim import Game, World
from tests.browser.hand import Hand
from tests.browser.page import live, until

# Fixtures of conftest.py: a world to reach into, and a visitor.
Serve = Callable[..., Hand]
Visit = Callable[..., Page]


@pytest.fixture
def hares(root: Path, tmp_path: Path) -> Game:
    """The game of docs/tutorial.md, put together as the page says."""
    text = (root / "docs" / "tutorial.md").read_text(encoding="utf-8")
    file = tmp_path / "hares.py"
    file.write_text("\n\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)), encoding="utf-8")
    return load_game(str(file))


def keep_apart(world: World, hand: Hand) -> None:
    """The first player to the west, without points; all hares north of there, just too far off to take fright."""
    place = world[hand.column("Position")]
    player, hares = (world.rows_of(kind) for kind in hand.game.archetypes)
    place.x[player[0]], place.y[player[0]] = 64, 128
    place.x[hares], place.y[hares] = 64, 110
    world[hand.column("Score")].points[player[0]] = 0


def bring_hares(world: World, hand: Hand) -> None:
    """Three hares to where the first player is."""
    place = world[hand.column("Position")]
    player, hare = (world.rows_of(kind) for kind in hand.game.archetypes)
    place.x[hare[:3]], place.y[hare[:3]] = place.x[player[0]], place.y[player[0]]


def test_the_tutorials_game_shows_and_is_played(hares: Game, serve: Serve, visit: Visit) -> None:
    hand = serve(hares)
    page = visit("/", hand.url)
    expect(page.get_by_role("dialog", name="hares")).to_be_visible()
    page.keyboard.press("Enter")
    live(page)
    # Where one comes in is chance, and so is who sits there.
    hand.change(lambda world: keep_apart(world, hand))
    for gone in ("#health", "#bag", "#goal", "#clock", "#words"):
        expect(page.locator(gone)).to_be_hidden()
    own = page.locator("#own")
    expect(own).to_contain_text("points0")
    expect(own).to_contain_text("hare")
    until(page, "everstep.scene.drawn > 5")

    page.keyboard.down("d")
    until(page, "everstep.client.me.is.Position.x > 68")
    until(page, "everstep.client.me.look.at.x > 68")
    page.keyboard.up("d")

    hand.change(lambda world: bring_hares(world, hand))
    expect(page.get_by_role("log")).to_contain_text("Caught: who you, points")
    expect(own).not_to_contain_text("points0")
    assert page.evaluate("everstep.client.check()")["equal"] is True


def test_the_readmes_own_page_plays_it(root: Path, tmp_path: Path, hares: Game, serve: Serve, visit: Visit) -> None:
    readme = (root / "clients" / "js" / "README.md").read_text(encoding="utf-8")
    (document,) = re.findall(r"^```html\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    (script,) = (
        code for code in re.findall(r"^```js\n(.*?)^```", readme, re.DOTALL | re.MULTILINE) if "Caught" in code
    )
    files = tmp_path / "files"
    files.mkdir()
    (files / "hares.html").write_text(document, encoding="utf-8")
    # Out of its module, for the test to look at.
    (files / "hares.js").write_text(script + "\nwindow.everstep = { client };\n", encoding="utf-8")
    hand = serve(hares, files)
    page = visit("/files/hares.html", hand.url)
    live(page)
    x = page.evaluate("everstep.client.me.is.Position.x")
    key, sign = ("d", 1) if x < 128 else ("a", -1)
    page.keyboard.down(key)
    until(page, f"(everstep.client.me.is.Position.x - {x}) * {sign} > 4")
    page.keyboard.up(key)

    hand.change(lambda world: bring_hares(world, hand))
    expect(page).to_have_title(re.compile(r"^Ada has \d+$"))
    # Its rule of movement is the server's, to the wire's step and back.
    until(page, "everstep.client.stats().correction < 0.05")
    assert page.evaluate("everstep.client.check()")["equal"] is True
