"""The page in a world of four regions: whoever walks over a border does not see one."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser.conftest import PEACEFUL, WORLD_UNITS
from tests.browser.hand import Hand
from tests.browser.page import live, until

# Fixtures of conftest.py: a world of one's own, and a page for a visitor of its own.
Serve = Callable[..., Hand]
Visit = Callable[..., Page]

# Counts the drawn frames, those at which we are not to be seen, and who fades out though they only crossed.
WATCH = """() => {
    const { client } = everstep;
    window.seen = { frames: 0, missing: 0, own: 0, ghosts: 0 };
    const { ghost } = everstep.scene;
    everstep.scene.ghost = function (entity, nowMs) {
        if (entity.onward) seen.ghosts++;
        return ghost.call(this, entity, nowMs);
    };
    client.on("you", () => seen.own++);
    const look = () => {
        seen.frames++;
        if (!client.me || Number.isNaN(client.place(client.me).x)) seen.missing++;
        requestAnimationFrame(look);
    };
    look();
}"""


def test_a_walk_over_borders_is_no_event(serve: Serve, visit: Visit) -> None:
    page = visit(url=serve(PEACEFUL, columns=2, rows=2).url)
    live(page)
    assert page.evaluate("everstep.client.limits") == {"x": 0, "y": 0, "width": WORLD_UNITS, "height": WORLD_UNITS}
    session = page.evaluate("everstep.client.session")
    page.evaluate(WATCH)
    x = page.evaluate("everstep.client.me.is.Position.x")
    there, back = ("d", "a") if x < WORLD_UNITS / 2 else ("a", "d")
    for key in (there, back, there):
        home = page.evaluate("everstep.client.own.region")
        page.keyboard.down(key)
        until(page, f"everstep.client.own.region !== {home}")
        page.keyboard.up(key)
        assert page.evaluate("everstep.client.check().then((digest) => digest.equal)")
    seen = page.evaluate("seen")
    assert seen["frames"] > 0
    assert (seen["missing"], seen["ghosts"]) == (0, 0)
    assert seen["own"] >= 3
    assert page.evaluate("everstep.client.session") == session
