"""The time-travel page: an operator scrubs through a past stretch and sees what was, tick for tick."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ROOT, WORLD_UNITS, running
from tests.browser.page import live, until

Visit = Callable[..., Page]

TOKEN = "an operator's token of thirty-two bytes"
# Ticks that the world has behind it when the first operator comes.
PAST_TICKS = 160
# Position's step on the wire, in games/frontier.
STEP = 1 / 64
# It is rebuilt by a process that gives way to all others.
PATIENCE_MS = 180_000
THERE = "everstep.state.past.digest !== null"
SEEN = """() => Object.fromEntries([...everstep.state.past.entities()].map(
    (e) => [e.handle, [e.kind, e.is.Position.x, e.is.Position.y, e.is.Health?.hp ?? null]]))"""


class World:
    """A frontier that runs, whose past can be asked for."""

    def __init__(self, url: str, data: Path) -> None:
        self.url = url
        self.data = data

    def replayed(self, tick: int, export: Path) -> tuple[str, dict[str, Any]]:
        """The digest of a tick, and its entities by handle, as `everstep replay` tells them."""
        words = ["replay", "--game", "games.frontier", "--data", str(self.data), "--to", str(tick), "--export", export]
        command = [sys.executable, "-m", "server", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        entities = (json.loads(line) for line in export.read_text().splitlines())
        return json.loads(done.stdout)["digest"], {str(e["handle"]): e for e in entities if "Position" in e}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[World]:
    """It has a past in which somebody walked about. All checkpoints are kept, so that all of it can be reached."""
    data = tmp_path_factory.mktemp("past")
    environment = {
        "EVERSTEP_OPERATOR__TOKEN": TOKEN,
        "EVERSTEP_TRAVEL__TIMEOUT_S": "600",
        "EVERSTEP_STORE__CHECKPOINT_EVERY_S": "1",
        "EVERSTEP_STORE__CHECKPOINTS_KEPT": "1000",
        **{f"EVERSTEP_WORLD__{side}": str(WORLD_UNITS) for side in ("WIDTH", "HEIGHT")},
    }
    with running(data, environment, "--bots", "4") as url:
        player = browser.new_page()
        player.goto(f"{url}/?play=1&name=Ada")
        live(player)
        player.keyboard.down("d")
        until(player, f"everstep.client.stats().tick > {PAST_TICKS}")
        player.close()
        yield World(url, data)


def travel(visit: Visit, world: World) -> Page:
    page = visit(f"/travel.html#token={TOKEN}", world.url)
    until(page, THERE, PATIENCE_MS)
    return page


def scrub(page: Page, tick: int) -> dict[str, Any]:
    """Take the slider to a tick; what is seen there, by handle."""
    page.locator("#slider").fill(str(tick))
    until(page, f"everstep.state.past.time === {tick} && !everstep.state.playing")
    seen: dict[str, Any] = page.evaluate(SEEN)
    return seen


def reach(page: Page) -> tuple[int, int]:
    first, last = page.evaluate("[everstep.state.past.begin, everstep.state.past.last]")
    return first, last


def test_positions_at_a_tick_are_those_of_a_replay(visit: Visit, world: World, tmp_path: Path) -> None:
    page = travel(visit, world)
    first, last = reach(page)
    assert last - first > 100
    middle = (first + last) // 2
    # There, back, and there again: by deltas, from keyframes, and over them.
    seen = {tick: scrub(page, tick) for tick in (last, first, middle, middle + 1)}
    assert scrub(page, middle) == seen[middle]
    assert scrub(page, last) == seen[last]
    moved = [h for h in seen[first].keys() & seen[last].keys() if seen[first][h] != seen[last][h]]
    assert len(moved) > 5
    for tick, shown in seen.items():
        digest, entities = world.replayed(tick, tmp_path / "export.jsonl")
        assert shown.keys() == entities.keys()
        for handle, (kind, x, y, hp) in shown.items():
            was = entities[handle]
            assert was["archetype"] == kind
            assert abs(was["Position"]["x"] - x) <= STEP / 2, (tick, handle)
            assert abs(was["Position"]["y"] - y) <= STEP / 2, (tick, handle)
            assert hp is None or abs(was["Health"]["hp"] - hp) <= 0.5
        if tick == last:
            assert page.evaluate("everstep.state.past.digest") == digest
            expect(page.locator("#status")).to_contain_text(digest)


def test_it_plays_steps_and_is_drawn(visit: Visit, world: World) -> None:
    page = travel(visit, world)
    first, last = reach(page)
    scrub(page, first)
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="One tick on").click()
    until(page, f"everstep.state.past.time === {first + 2}")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#when")).to_contain_text(f"tick {first + 1} ")
    page.get_by_label("Speed").select_option("8")
    page.get_by_role("button", name="Play or pause").click()
    until(page, f"everstep.state.past.time === {last} && !everstep.state.playing", PATIENCE_MS)
    players = page.locator("#players button")
    expect(players).not_to_have_count(0)
    # Who is followed stays in the middle.
    handle = int(re.sub(r"\D", "", players.first.locator("small").inner_text()))
    players.first.click()
    at = scrub(page, last)[str(handle)]
    until(page, "everstep.scene.drawn > 0")
    until(page, f"Math.abs(everstep.focus.x - {at[1]}) < 0.01 && Math.abs(everstep.focus.y - {at[2]}) < 0.01")
    # In some ticks nobody asks for anything; in this one somebody does.
    busy = page.evaluate("[...everstep.state.past.inputs].findLast(([, said]) => said.length)[0]")
    scrub(page, busy)
    expect(page.locator("#said li")).not_to_have_count(0)


def test_a_window_holds_less_than_the_whole(visit: Visit, world: World) -> None:
    page = travel(visit, world)
    last = reach(page)[1]
    whole = scrub(page, last)
    page.evaluate("Object.assign(everstep.focus, { x: 0, y: 0 })")
    page.get_by_label("only near the middle").check()
    # The end of it is enough, and there soon.
    page.locator("#from").fill(str(last - 40))
    page.get_by_role("button", name="Rebuild").click()
    until(page, f"{THERE} && everstep.state.past.view.entities.size < {len(whole)}", PATIENCE_MS)
    assert reach(page) == (last - 40, last)
    near = scrub(page, last)
    assert near == {h: e for h, e in whole.items() if e[1] <= 128 and e[2] <= 128}


def test_without_the_token_the_door_stays_shut(visit: Visit, world: World) -> None:
    page = visit("/travel.html", world.url, refused=401)
    door = page.get_by_role("dialog", name="Time travel")
    door.get_by_label("Token").fill("a guess")
    door.get_by_role("button", name="Open").click()
    expect(door.get_by_role("alert")).to_contain_text("this takes the token")
    door.get_by_label("Token").fill(TOKEN)
    door.get_by_role("button", name="Open").click()
    expect(door).to_be_hidden()
    until(page, "everstep.state.past.info !== null", PATIENCE_MS)


def test_where_it_is_off_the_page_says_so(visit: Visit) -> None:
    page = visit(f"/travel.html#token={TOKEN}", refused=403)
    expect(page.get_by_role("alert")).to_contain_text("time travel is off here")
