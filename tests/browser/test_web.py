"""The demo client in a real Chromium against the real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

from playwright.sync_api import Page, expect

from tests.browser.conftest import PEACEFUL
from tests.browser.hand import Hand
from tests.browser.page import live, until

# Fixtures of conftest.py: a world of one's own, and a page for a visitor of its own.
Serve = Callable[..., Hand]
Visit = Callable[..., Page]

SESSION = "everstep.client.session"
PLACE = "({...everstep.client.me.is.Position})"
PHONE = {"width": 390, "height": 844}


def neighbours(visit: Visit) -> tuple[Page, Page]:
    """Two visitors who see each other."""
    one, two = visit("/?play=1&name=One"), visit("/?play=1&name=Two")
    live(one)
    live(two)
    until(two, seen_by(two, one.evaluate("everstep.client.own")))
    return one, two


def seen_by(page: Page, own: dict[str, int]) -> str:
    """JavaScript: where `page` sees the entity `own`."""
    return f"everstep.client.entity({own['region']}, {own['handle']})"


def test_enter_at_the_name_prompt_plays_at_once(visit: Visit) -> None:
    page = visit("/")
    expect(page.get_by_role("dialog", name="Frontier")).to_be_visible()
    name = page.get_by_label("Your name")
    expect(name).to_be_focused()
    chosen = name.input_value()
    assert chosen
    page.keyboard.press("Enter")
    live(page)
    expect(page.locator("#my-name")).to_have_text(chosen)
    assert page.evaluate("everstep.client.me.is.Name.text") == chosen
    expect(page.locator("#goal")).not_to_be_empty()
    expect(page.locator("#state")).to_have_text("online")
    page.keyboard.press("h")
    expect(page.get_by_role("dialog", name="How to live here")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="How to live here")).to_be_hidden()


def test_the_figures_keep_their_place_where_there_is_no_goal(visit: Visit) -> None:
    page = visit("/?play=1&name=One")
    live(page)
    place = page.locator("#side").bounding_box()
    # As before the first view, or for a guest whom the server does not take.
    page.evaluate("document.querySelector('#goal').remove()")
    assert page.locator("#side").bounding_box() == place


def test_two_pages_see_each_other_move(visit: Visit) -> None:
    one, two = neighbours(visit)
    own = one.evaluate("everstep.client.own")
    start = two.evaluate(seen_by(two, own) + ".is.Position.x")
    one.keyboard.down("d" if start < 128 else "a")
    # Seen in the data, and drawn there too.
    until(two, f"Math.abs({seen_by(two, own)}.is.Position.x - {start}) > 4")
    until(two, f"Math.abs({seen_by(two, own)}.look.at.x - {start}) > 4")
    one.keyboard.up("d" if start < 128 else "a")


def test_chat_passes(visit: Visit) -> None:
    one, two = neighbours(visit)
    one.keyboard.press("Enter")
    expect(one.locator("#words")).to_be_focused()
    one.keyboard.type("Over here! <b>&amp;</b>")
    one.keyboard.press("Enter")
    for page in (one, two):
        expect(page.get_by_role("log")).to_contain_text("One: Over here! <b>&amp;</b>")
    # Letters typed into the chat walked nobody anywhere.
    assert one.evaluate("everstep.client.steering.sent") in ("", json.dumps({"dx": 0, "dy": 0}, separators=(",", ":")))


def test_a_killed_connection_resumes(visit: Visit) -> None:
    page = visit()
    live(page)
    session, own = page.evaluate(SESSION), page.evaluate("everstep.client.own")
    # Every notice shown, in order: the gap may be shorter than a look at the page.
    page.evaluate("""() => {
        window.notices = [];
        const text = document.getElementById("link-text");
        const all = {subtree: true, childList: true, characterData: true};
        new MutationObserver(() => window.notices.push(text.textContent)).observe(text, all);
        everstep.client.connection.socket.close();
    }""")
    until(page, "window.notices.some(t => t.startsWith('Reconnecting'))")
    live(page)
    expect(page.locator("#link")).to_be_hidden()
    assert page.evaluate("everstep.client.info.resumed") is True
    assert page.evaluate(SESSION) == session
    assert page.evaluate("everstep.client.own") == own
    assert page.evaluate("everstep.client.check()")["equal"] is True


def test_a_reloaded_page_is_the_same_player(visit: Visit) -> None:
    page = visit()
    live(page)
    session = page.evaluate(SESSION)
    page.reload()
    live(page)
    assert page.evaluate(SESSION) == session


def test_what_is_decoded_in_the_browser_is_what_the_server_has(visit: Visit) -> None:
    page = visit()
    live(page)
    x = page.evaluate(PLACE)["x"]
    page.keyboard.down("d" if x < 128 else "a")
    for _ in range(5):
        verdict = page.evaluate("everstep.client.check()")
        assert verdict["equal"], verdict
    page.keyboard.up("d" if x < 128 else "a")


def test_wood_is_gathered_by_key(serve: Serve, visit: Visit) -> None:
    page = visit(url=serve(PEACEFUL).url)
    live(page)
    # The page's own steering, pointed at the nearest tree in view.
    page.evaluate("""() => {
        const { client, world } = everstep;
        const walk = world.walk.bind(world);
        world.walk = (_, now) => {
            const here = client.me?.is.Position;
            const far = (e) => Math.hypot(e.is.Position.x - here.x, e.is.Position.y - here.y);
            if (!here) return;
            const trees = [...client.entities("tree")].filter((e) => e.is.Stock.amount > 1);
            const tree = trees.sort((a, b) => far(a) - far(b))[0];
            if (!tree) return walk({ dx: Math.sign(128 - here.x), dy: 0 }, now);
            const { x, y } = tree.is.Position;
            const d = far(tree);
            walk(d < 3 ? { dx: 0, dy: 0 } : { dx: (x - here.x) / d, dy: (y - here.y) / d }, now);
        };
    }""")
    until(page, "everstep.world.target?.kind === 'tree'")
    page.keyboard.down("e")
    until(page, "everstep.world.bag.wood >= 2")
    page.keyboard.up("e")
    expect(page.locator("#wood")).not_to_have_text("0")


def test_a_phone_can_play(visit: Visit) -> None:
    page = visit("/", viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    page.get_by_role("button", name="Play").tap()
    live(page)
    for name in ("Shoot", "Strike", "Gather", "Fire", "Chat", "Help"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=1)
    x = page.evaluate(PLACE)["x"]
    way = 1 if x < 128 else -1
    devtools = page.context.new_cdp_session(page)
    touch = {"x": 150, "y": 500}
    devtools.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [touch]})
    moved = {"x": 150 + 60 * way, "y": 500}
    devtools.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
    until(page, f"({x} - everstep.client.me.is.Position.x) * {-way} > 3")
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#stick")).to_be_hidden()


def test_frames_are_drawn(visit: Visit) -> None:
    """Says how fast; asserts only that pictures come and what they show."""
    page = visit()
    live(page)
    until(page, "everstep.stats.fps > 0 && everstep.stats.drawn > 0")
    frames = page.evaluate("""() => new Promise(done => {
        const times = [];
        const tick = (t) => times.push(t) < 120 ? requestAnimationFrame(tick) : done(times);
        requestAnimationFrame(tick);
    })""")
    gaps = sorted(b - a for a, b in pairwise(frames))
    stats = page.evaluate("({...everstep.stats, ...everstep.client.stats()})")
    print(
        f"\nframes: median {gaps[len(gaps) // 2]:.1f} ms, p95 {gaps[int(len(gaps) * 0.95)]:.1f} ms, "
        f"script {stats['frameMs']:.2f} ms, {stats['drawn']} drawn of {stats['entities']} in view"
    )
    # A picture of the meadow has many colours: a blank canvas has one.
    colours = page.evaluate("""() => {
        const screen = document.getElementById("screen");
        const data = screen.getContext("2d").getImageData(0, 0, screen.width, screen.height).data;
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4 * 997) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
        return seen.size;
    }""")
    assert colours > 50
