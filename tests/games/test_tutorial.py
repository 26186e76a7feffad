"""The tutorial's text is a game: its blocks, one after the other, load, play and are served."""

import re
from pathlib import Path

import numpy as np
import pytest

from clients.python.client import connect
from server.app import Everstep
from server.commands.options import load_game
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.sim import Game, Tick
from tests.games.play import RATE_HZ, Play
from tests.support.country import Country
from tests.tidy.bans import findings

LINES_MAX = 80


@pytest.fixture
def text(root: Path) -> str:
    """The blocks of Python on the page, put together as the page says."""
    page = (root / "docs" / "tutorial.md").read_text(encoding="utf-8")
    return "\n\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))


@pytest.fixture
def game(text: str, tmp_path: Path) -> Game:
    """The game as `everstep run --game hares.py` loads it."""
    file = tmp_path / "hares.py"
    file.write_text(text, encoding="utf-8")
    return load_game(str(file))


def column(play: Play, component: str, name: str):
    kind = next(c for c in play.game.components if c.__name__ == component)
    return getattr(play.world[kind], name)


@pytest.fixture
def of_regions(text: str, root: Path, tmp_path: Path) -> Game:
    """The same game with what its last pages add for several regions."""
    more = of_page(root, "more")
    file = tmp_path / "hares_over_borders.py"
    file.write_text(f"{text}\n\n{more}", encoding="utf-8")
    assert findings(more) == []
    return load_game(str(file))


def of_page(root: Path, kind: str) -> str:
    """A block of the page that is not part of the first game."""
    page = (root / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```python {kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return str(block)


@pytest.fixture
def of_fewer_steps(text: str, root: Path, tmp_path: Path) -> Game:
    """The same game, whose hares that nobody sees have fewer turns."""
    further = of_page(root, "further")
    assert findings(further) == []
    file = tmp_path / "hares_that_nobody_sees.py"
    file.write_text(f"{text}\n\n{further}", encoding="utf-8")
    return load_game(str(file))


def test_the_meadow_that_one_has_goes_on_in_the_next_version(game, of_fewer_steps):
    before, after = Play(game, size=512), Play(of_fewer_steps, size=512)
    before.join("Ann")
    after.machine.adopt(after.machine.migrated(before.machine.capture()))
    assert column(after, "Name", "text")[after.world.rows_of(of_fewer_steps.archetypes[0])].tolist() == [b"Ann"]


def test_hares_that_nobody_sees_go_in_fewer_steps(of_fewer_steps):
    play = Play(of_fewer_steps, size=512)
    (ann,) = play.join("Ann")
    x, y, dx = (column(play, *name) for name in (("Position", "x"), ("Position", "y"), ("Going", "dx")))
    hares = play.world.rows_of(play.game.archetypes[1])
    # On their way, and so spread that none of them flees from Ann.
    x[hares], y[hares], x[ann], y[ann] = 300, 400, 50, 50
    x[hares[:40]], y[hares[:40]] = 100, 80
    assert play.game.far is not None
    assert (
        play.game.far.turns(play.world, play.game.position, 0, 0.05).far[hares].tolist() == [False] * 40 + [True] * 360
    )
    walk_on = next(s for s in play.game.systems if s.__name__ == "walk_on")
    for number in range(8):
        dx[hares] = 1
        turns = play.game.far.turns(play.world, play.game.position, number, 0.05)
        walk_on(play.world, Tick(number, 0.05, 1, {}, turns=turns))
    assert x[hares[:40]] == pytest.approx(100 + 12 * 0.4, abs=0.01)
    assert x[hares[40:]] == pytest.approx(300 + 12 * 0.4, abs=0.01)


def test_all_blocks_of_the_page_go_into_one_file(root, tmp_path):
    page = (root / "docs" / "tutorial.md").read_text(encoding="utf-8")
    file = tmp_path / "hares_to_the_end.py"
    file.write_text(
        "\n\n".join(re.findall(r"^```python.*?\n(.*?)^```", page, re.DOTALL | re.MULTILINE)), encoding="utf-8"
    )
    game = load_game(str(file))
    assert [system.__name__ for system in game.systems][2:] == ["walk_on", "catch", "reach_over", "be_grabbed", "score"]
    assert (game.version, game.far is None, len(game.mail)) == (2, False, 2)


def test_it_is_as_short_as_promised(text):
    assert len([line for line in text.splitlines() if line.strip()]) < LINES_MAX


def test_it_keeps_the_rules_it_teaches(text):
    assert findings(text) == []


def test_hares_flee_and_are_caught(game):
    play = Play(game, size=256)
    (ann,) = play.join("Ann")
    x, y = column(play, "Position", "x"), column(play, "Position", "y")
    hares = play.world.rows_of(game.archetypes[1])
    assert hares.size == 400
    x[hares], y[hares] = 200, 200
    x[ann], y[ann] = 50, 50
    x[hares[0]], y[hares[0]] = 60, 50

    play.tick()
    assert x[hares[0]] > 60, "it bolts"
    assert x[hares[1]] == 200, "the others do not care"

    play.order(1, "Move", 1.0, 0.0)
    for _ in range(int(10 * RATE_HZ)):
        play.tick()
        if play.heard("Caught"):
            break
    assert play.heard("Caught") == [{"who": ann, "points": 1}]
    assert column(play, "Score", "points")[ann] == 1
    assert play.world.rows_of(game.archetypes[1]).size == 400, "another hare elsewhere"


def test_two_who_reach_one_hare_do_not_both_have_it(game):
    play = Play(game, size=256)
    rows = play.join("Ann", "Bob")
    x, y = column(play, "Position", "x"), column(play, "Position", "y")
    hares = play.world.rows_of(game.archetypes[1])
    x[hares], y[hares] = 200, 200
    x[rows], y[rows] = [50, 50], [50, 51]
    x[hares[:2]], y[hares[:2]] = [50, 50.5], 50.5
    play.tick()
    assert column(play, "Score", "points")[rows].sum() == 2


def test_it_replays(game):
    def digests() -> list[int]:
        play = Play(game, size=128)
        play.join("Ann", "Bob")
        rng = np.random.default_rng(1)
        found = []
        for _ in range(200):
            play.order(1, "Move", *rng.uniform(-1, 1, 2))
            play.tick()
            found.append(play.machine.digest())
        return found

    assert digests() == digests()


async def test_it_is_served(game, settings):
    async with Everstep(settings, game) as app, await connect(app.ws_url, name="Ann") as client:
        region, handle = client.entity
        view = client.view[region]
        start = view.value(handle, "Position.x")
        assert view.value(handle, "Name.text") == "Ann"
        client.send("Move", dx=1.0 if start < 512 else -1.0, dy=0.0)
        await client.until(lambda: abs(view.value(handle, "Position.x") - start) > 2)


def test_a_hare_beyond_the_border_is_caught_and_its_catcher_walks_over(of_regions):
    atlas = Atlas.grid(RegionSpec(1, 0.0, 0.0, 512.0, 256.0, 4000, 16.0), columns=2, rows=1)
    country = Country(atlas, lambda n: RegionMachine(of_regions, atlas[n], seed=1, tick_rate_hz=RATE_HZ, atlas=atlas))
    position, points = (next(c for c in of_regions.components if c.__name__ == name) for name in ("Position", "Score"))
    west, east = (m.world for m in country.machines.values())
    for world in (west, east):
        hares = world.rows_of(of_regions.archetypes[1])
        assert hares.size == 400
        world[position].x[hares], world[position].y[hares] = world.bounds[0] + 200, 200
    east[position].x[hares[0]], east[position].y[hares[0]] = 256.5, 50.0
    country.tick(1, ("join", 7, 0, b"", b"Ann"))
    (ann,) = west.rows_of(of_regions.archetypes[0]).tolist()
    west[position].x[ann], west[position].y[ann] = 255.5, 50.0
    number = int(west.id_of(np.array([ann]))[0])
    country.tick(1)
    country.carry()
    country.tick(2)
    assert east.rows_of(of_regions.archetypes[1]).size == 399
    country.carry()
    country.tick(1, ("Move", 7, 1, 1.0, 0.0))
    assert west[points].points[ann] == 1
    for _ in range(20):
        country.round()
    there, row = country.find(number)
    assert there == 2
    assert country.machines[there].world[points].points[row] >= 1
