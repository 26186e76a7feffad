"""What the page knows of the frontier is what the frontier is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from games.frontier import GAME, constants
from games.frontier.commands import Goods
from games.frontier.components import Pose
from games.frontier.constants import DAY_S, DAYLIGHT_FRACTION, FIRE_STONE, FIRE_WOOD, is_night
from server.sim import Tick

RATE_HZ = 20
DAYS = 5


@pytest.fixture(scope="module")
def page(browser: Browser, server_url: str) -> Iterator[Page]:
    """The page before anybody plays: its modules are all that is wanted."""
    opened = browser.new_page()
    opened.goto(server_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def theirs(page: Page) -> dict[str, Any]:
    """All plain values that web/frontier.js exports."""
    found: dict[str, Any] = page.evaluate("import('/frontier.js').then(all => JSON.parse(JSON.stringify(all)))")
    return found


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("GAME", GAME.name),
        ("SPEED_UNITS_PER_S", constants.AVATAR_SPEED_UNITS_PER_S),
        ("EDGE_UNITS", constants.EDGE_UNITS),
        ("DAY_S", DAY_S),
        ("DAYLIGHT_FRACTION", DAYLIGHT_FRACTION),
        ("HARVEST_REACH_UNITS", constants.HARVEST_REACH_UNITS),
        ("SHOT_RANGE_UNITS", constants.SHOT_RANGE_UNITS),
        ("STRIKE_EVERY_MS", constants.STRIKE_EVERY_S * 1000),
        ("SHOOT_EVERY_MS", constants.SHOOT_EVERY_S * 1000),
        ("HARVEST_EVERY_MS", constants.HARVEST_EVERY_S * 1000),
        ("FIRE_COST", {"wood": FIRE_WOOD, "stone": FIRE_STONE}),
        ("FIRE_WARMTH_UNITS", constants.FIRE_WARMTH_UNITS),
        ("FIRE_FOR_EVER", constants.FIRE_FOR_EVER),
        ("FIRE_FUEL", constants.FIRE_FUEL),
        ("FULL_HEALTH", constants.FULL_HEALTH),
        ("Pose", {pose.name: pose.value for pose in Pose}),
    ],
)
def test_a_number_is_the_games(theirs: dict[str, Any], name: str, ours: object) -> None:
    assert theirs[name] == ours


def test_every_kind_has_its_picture(page: Page, theirs: dict[str, Any]) -> None:
    kinds = {archetype.name for archetype in GAME.archetypes}
    assert set(theirs["KINDS"]) == kinds
    assert kinds <= set(page.evaluate("import('/painters.js').then(({ PAINTERS }) => Object.keys(PAINTERS))"))


def test_goods_stand_in_their_order(theirs: dict[str, Any]) -> None:
    assert len(theirs["GOODS"]) == len(Goods)
    assert [name.upper() for name in theirs["GOODS"]][1:] == [good.name for good in Goods if good]


def test_night_falls_at_the_same_tick(page: Page) -> None:
    edges = [round((day + part) * DAY_S * RATE_HZ) for day in range(DAYS) for part in (0, DAYLIGHT_FRACTION)]
    ticks = [tick for edge in edges for tick in range(max(0, edge - 2), edge + 3)]
    nights = page.evaluate(
        "([ticks, hz]) => import('/frontier.js').then(({ daytime }) => ticks.map((tick) => daytime(tick, hz).night))",
        [ticks, RATE_HZ],
    )
    assert nights == [is_night(Tick(tick, 1 / RATE_HZ, 0, {})) for tick in ticks]
    assert True in nights
    assert False in nights


def test_the_help_tells_what_a_fire_costs(root: Path) -> None:
    page = (root / "web" / "index.html").read_text(encoding="utf-8")
    assert f"build a fire ({FIRE_WOOD} wood, {FIRE_STONE} stone)" in page
    assert f"costs {FIRE_WOOD} wood and {FIRE_STONE} stone" in page
