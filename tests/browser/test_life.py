"""Death, rising again and building, as a visitor meets them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from playwright.sync_api import Page, expect

from games.frontier.components import AVATAR, Bag, Health, Name, Position
from games.frontier.constants import FIRE_APART_UNITS, FIRE_STONE, FIRE_WOOD, RESPAWN_AFTER_S
from server.sim import World
from tests.browser.conftest import PEACEFUL
from tests.browser.hand import Hand
from tests.browser.page import live, until

# Fixtures of conftest.py: a world to reach into, and a visitor.
Serve = Callable[..., Hand]
Visit = Callable[..., Page]

RATE_HZ = 20
NEVER_TICK = 2**32 - 1


def row_of(world: World, name: bytes) -> int:
    """The avatar of that name."""
    rows = world.rows_of(AVATAR)
    (row,) = rows[world[Name].text[rows] == name]
    return int(row)


def just_fallen(world: World, tick: int) -> None:
    """One who lies there may rise when they ask, and never does by themselves."""
    row = row_of(world, b"One")
    if world[Bag].died_tick[row]:
        world[Bag].died_tick[row] = tick - RESPAWN_AFTER_S * RATE_HZ


def test_who_is_killed_falls_and_rises_by_the_button(serve: Serve, visit: Visit) -> None:
    hand = serve(PEACEFUL)
    one = visit("/?play=1&name=One", hand.url)
    two = visit("/?play=1&name=Two", hand.url)
    live(one)
    live(two)

    def face_to_face(world: World) -> None:
        victim, killer = row_of(world, b"One"), row_of(world, b"Two")
        world[Position].x[victim] = world[Position].x[killer] + np.float32(2)
        world[Position].y[victim] = world[Position].y[killer]
        world[Bag].face_x[killer], world[Bag].face_y[killer] = 1, 0
        world[Health].hp[victim] = 1
        # Wounds close sooner at the hamlet's fire: not this one, until it is seen.
        world[Health].hurt_tick[victim] = NEVER_TICK
        world[Health].safe_until_tick[victim] = 0
        world[Health].safe_until_tick[killer] = NEVER_TICK

    hand.change(face_to_face)
    hand.hold(just_fallen)
    until(two, "[...everstep.client.entities('avatar')].some(e => e.is.Name.text === 'One' && e.is.Health.hp === 1)")
    two.keyboard.press("Space")

    box = one.get_by_role("alertdialog", name="You fell")
    expect(box).to_be_visible()
    expect(box).to_contain_text("Killed by Two")
    expect(one.get_by_role("meter", name="Health")).to_have_attribute("aria-valuenow", "0")
    for page in (one, two):
        expect(page.get_by_role("log")).to_contain_text("One was killed by Two")

    one.get_by_role("button", name="Rise again").click()
    until(one, "everstep.world.alive")
    expect(box).to_be_hidden()
    # And walks again, from where the server put the avatar.
    x = one.evaluate("everstep.client.me.is.Position.x")
    one.keyboard.down("a")
    until(one, f"everstep.client.me.is.Position.x < {x} - 3")
    one.keyboard.up("a")
    assert one.evaluate("everstep.client.check()")["equal"] is True


def test_a_fire_is_built_by_key(serve: Serve, visit: Visit) -> None:
    hand = serve(PEACEFUL)
    page = visit("/?play=1&name=One", hand.url)
    live(page)
    expect(page.locator("#goal")).to_contain_text("Gather wood")

    def supply(world: World) -> None:
        row = row_of(world, b"One")
        world[Bag].wood[row], world[Bag].stone[row] = FIRE_WOOD + 1, FIRE_STONE
        world[Health].safe_until_tick[row] = NEVER_TICK
        # Away from the hamlet's fire, which would be fed instead.
        world[Position].x[row] += np.float32(8 * FIRE_APART_UNITS)

    hand.change(supply)
    # Who comes back is told what the bag holds.
    page.reload()
    live(page)
    expect(page.locator("#wood")).to_have_text(str(FIRE_WOOD + 1))
    expect(page.locator("#goal")).to_contain_text("Build a fire")
    page.keyboard.press("f")
    expect(page.locator("#wood")).to_have_text("1")
    expect(page.locator("#stone")).to_have_text("0")
    until(
        page,
        """[...everstep.client.entities("campfire")].some(({ is }) => {
            const { x, y } = everstep.client.me.is.Position;
            return Math.hypot(is.Position.x - x, is.Position.y - y) < 4;
        })""",
    )
    expect(page.locator("#goal")).to_contain_text("Hunt")
