"""A game that the page was not made for: the tutorial's own, as its text promises."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from server.cli import load_game
from server.sim import Game, World
from tests.browser.hand import Hand
from tests.browser.page import live, until

# Fixtures of conftest.py: a world to reach into, and a visitor.
Serve = Callable[[Game], Hand]
Visit = Callable[..., Page]


@pytest.fixture
def hares(root: Path, tmp_path: Path) -> Game:
    """The game of docs/tutorial.md, put together as the page says."""
    text = (root / "docs" / "tutorial.md").read_text(encoding="utf-8")
    file = tmp_path / "hares.py"
    file.write_text("\n\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)), encoding="utf-8")
    return load_game(str(file))


def test_the_tutorials_game_shows_and_is_played(hares: Game, serve: Serve, visit: Visit) -> None:
    hand = serve(hares)
    page = visit("/", hand.url)
    expect(page.get_by_role("dialog", name="hares")).to_be_visible()
    page.keyboard.press("Enter")
    live(page)
    for gone in ("#health", "#bag", "#goal", "#clock", "#words"):
        expect(page.locator(gone)).to_be_hidden()
    own = page.locator("#own")
    expect(own).to_contain_text("points0")
    expect(own).to_contain_text("hare")
    until(page, "everstep.scene.drawn > 5")

    x = page.evaluate("everstep.client.me.is.Position.x")
    key, sign = ("d", 1) if x < 128 else ("a", -1)
    page.keyboard.down(key)
    until(page, f"(everstep.client.me.is.Position.x - {x}) * {sign} > 4")
    until(page, f"(everstep.client.me.look.at.x - {x}) * {sign} > 4")
    page.keyboard.up(key)

    def bring_hares(world: World) -> None:
        place = world[hand.column("Position")]
        player, hare = (world.rows_of(kind) for kind in hares.archetypes)
        place.x[hare[:3]], place.y[hare[:3]] = place.x[player[0]], place.y[player[0]]

    hand.change(bring_hares)
    expect(page.get_by_role("log")).to_contain_text("Caught: who you, points")
    expect(own).not_to_contain_text("points0")
    assert page.evaluate("everstep.client.check()")["equal"] is True
