"""The tutorial's text is a game: its blocks, one after the other, load, play and are served."""

import re
from pathlib import Path

import numpy as np
import pytest

from clients.python.client import connect
from server.app import Everstep
from server.cli import load_game
from server.sim import Game
from tests.games.play import RATE_HZ, Play
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
