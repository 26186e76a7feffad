"""Bots play the real game through a client's view: they gather, hunt, fight, flee and rise again."""

import random
from dataclasses import replace

import numpy as np
import pytest

from clients.python.table import TableView
from games.frontier import GAME
from games.frontier.bots import PATIENCE, Brain, worth
from games.frontier.components import BUSH, DEER, ROCK, TREE, WOLF, Bag, Health, Motion, Score
from protocol.codec import encode_keyframe
from protocol.messages import RegionInfo, SessionLimits, Welcome
from server.regions.frame import Frame
from tests.games.play import RATE_HZ, Play

LIMITS = SessionLimits(4096, 30, 60, 30, 60)


def view_of(play: Play) -> TableView:
    """A client's view of the whole region as of the last tick, by way of the bytes of a KEYFRAME."""
    schema, region = play.game.schema, play.machine.region
    frame = Frame.decode(play.machine.keyframe(), schema)
    enters = []
    for a in schema.archetypes:
        rows = frame.entered[frame.archetypes == a.id]
        if not rows.size:
            continue
        records = np.zeros(rows.size, schema.record_dtype(a.id, "u16"))
        records["handle"] = rows
        for c in a.components:
            have, values = frame.changes[c]
            for name in values.dtype.names:
                records[f"{schema.components[c].name}.{name}"] = values[name][np.searchsorted(have, rows)]
        enters.append((a.id, records.tobytes()))
    info = RegionInfo(region.id, region.x, region.y, region.width, region.height, "u16")
    welcome = Welcome(
        session=1,
        resume="",
        resumed=False,
        ack=0,
        tick=frame.tick,
        tick_rate_hz=RATE_HZ,
        name="Ann",
        regions=(info,),
        entity=(region.id, 0),
        limits=LIMITS,
        schema=schema,
    )
    view = TableView(welcome)
    view.receive(encode_keyframe(region.id, frame.tick, enters))
    return view


def think(play: Play, brain: Brain, me: int, seed: int = 1) -> list:
    play.tick()
    return brain.decide(random.Random(seed), view_of(play), me)


def test_a_bot_gathers_what_it_goes_for():
    play = Play()
    (ann,) = play.join("Ann")
    play.move([ann], (128, 128))
    (tree,) = play.put(TREE, (140, 128), Stock_amount=8)
    brain = Brain()
    brain.goal, brain.patience = int(tree), PATIENCE
    assert think(play, brain, ann) == [("Move", [1.0, 0.0])]
    assert think(play, brain, ann) == [], "the same is not sent again"
    play.move([ann], (138, 128))
    assert think(play, brain, ann) == [("Move", [0.0, 0.0]), ("Harvest", [])]
    play.world.despawn(np.array([tree]))
    assert ("Harvest", []) not in think(play, brain, ann)
    assert brain.goal is None


@pytest.mark.parametrize(("hp", "towards"), [(100, True), (30, False)])
def test_a_bot_fights_while_strong_and_runs_while_weak(hp, towards):
    play = Play()
    (ann,) = play.join("Ann")
    play.move([ann], (128, 128))
    play.put(WOLF, (138, 128))
    play.world[Health].hp[ann] = hp
    (name, args), *rest = think(play, Brain(), ann)
    assert (name, args[0] > 0) == ("Move", towards)
    assert [name for name, _ in rest] == (["Shoot"] if towards else [])
    play.move([ann], (135, 128))
    assert (("Strike", []) in think(play, Brain(), ann)) == towards


def test_a_dead_bot_asks_to_rise():
    play = Play()
    (ann,) = play.join("Ann")
    play.world[Health].hp[ann] = 0
    assert think(play, Brain(), ann) == [("Respawn", [])]


def test_a_bot_without_a_body_waits():
    assert think(Play(), Brain(), 5) == []


def test_a_used_up_node_is_not_worth_going_to():
    play = Play()
    full, used, deer = (
        int(play.put(a, (50, 50), **c)[0])
        for a, c in ((ROCK, {"Stock_amount": 1}), (BUSH, {"Stock_amount": 0}), (DEER, {}))
    )
    play.tick()
    view = view_of(play)
    assert [worth(view, h) for h in (full, used, deer, 99)] == [True, False, True, False]


def test_bots_get_on_in_the_world():
    play = Play(replace(GAME), size=200)
    rows = play.join(*"abcdef")
    brains, dice = [Brain() for _ in rows], random.Random(4)
    shapes = {c.__name__: [a.name for a in c.args] for c in GAME.commands}
    sent: set[str] = set()
    for _ in range(150):
        view = view_of(play)
        for session, (brain, row) in enumerate(zip(brains, rows, strict=True), 1):
            for name, args in brain.decide(dice, view, row):
                assert len(args) == len(shapes[name])
                play.order(session, name, *[a.encode() if isinstance(a, str) else a for a in args])
                sent.add(name)
        play.tick(7)
    assert sent >= {"Move", "Harvest", "Strike", "Shoot"}
    assert play.world[Score].points[rows].sum() > 20
    assert play.world[Bag].wood[rows].sum() + play.world[Bag].stone[rows].sum() > 0
    assert np.isfinite(play.world[Motion].vx[rows]).all()
