"""Players come, walk exactly as their clients predict, speak, die and rise again."""

import numpy as np
import pytest

from games.frontier.avatar import at_most_unit, coarse_angle, name_bytes
from games.frontier.components import Bag, Health, Motion, Name, Pose, Position, State
from games.frontier.constants import (
    AVATAR_SPEED_UNITS_PER_S,
    EDGE_UNITS,
    FULL_HEALTH,
    HAMLET_RADIUS_UNITS,
    NAME_BYTES_MAX,
    RESPAWN_AFTER_S,
    RESPAWN_AT_THE_LATEST_S,
)
from games.frontier.world import hamlets
from tests.games.play import RATE_HZ, Play

STEP = np.float32(AVATAR_SPEED_UNITS_PER_S / RATE_HZ)


def test_a_walk_is_exactly_what_a_client_predicts():
    play = Play()
    (row,) = play.join("Ann")
    play.move([row], (100, 100))
    x, y = np.float32(100), np.float32(100)
    for dx, dy, ticks in ((0.6, 0.8, 5), (-0.3, 0.1, 7), (0.0, 0.0, 3), (1.0, 0.0, 4)):
        play.order(1, "Move", dx, dy)
        for _ in range(ticks):
            play.tick()
            x, y = x + np.float32(dx) * STEP, y + np.float32(dy) * STEP
            assert play.place(row) == (x, y)


def test_nobody_goes_faster_on_the_diagonal():
    play = Play()
    (row,) = play.join("Ann")
    play.move([row], (100, 100))
    play.order(1, "Move", 1.0, 1.0)
    play.tick(10)
    x, y = play.place(row)
    assert np.hypot(x - 100, y - 100) == pytest.approx(10 * STEP, rel=1e-5)


def test_the_newest_move_of_a_tick_counts():
    play = Play()
    (row,) = play.join("Ann")
    play.move([row], (100, 100))
    play.order(1, "Move", 1.0, 0.0)
    play.order(1, "Move", 0.0, -1.0)
    play.tick()
    assert play.place(row) == (100, np.float32(100) - STEP)


@pytest.mark.parametrize("left", [0.0, 512.0])
@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)])
def test_a_walk_ends_at_the_region_s_edge(left, dx, dy):
    play = Play(x=left, size=64)
    (row,) = play.join("Ann")
    play.order(1, "Move", dx, dy)
    play.tick(200)
    x, y = play.place(row)
    far = 64 - EDGE_UNITS
    if dx:
        assert x == left + (far if dx > 0 else 0)
    if dy:
        assert y == (far if dy > 0 else 0)


def test_a_player_whose_connection_broke_stops():
    play = Play()
    (row,) = play.join("Ann")
    play.order(1, "Move", 1.0, 0.0)
    play.tick(3)
    play.presence(1, here=False)
    play.tick()
    before = play.place(row)
    play.tick(5)
    assert play.place(row) == before
    play.presence(1, here=True)
    play.tick()
    assert play.heard("Gathered"), "a client that is back knows nothing of its bag"


def test_who_leaves_is_gone():
    play = Play()
    (row,) = play.join("Ann")
    play.leave(1)
    assert row in play.tick().left
    assert play.world.count == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ann", b"Ann"),
        ("  Ann ", b"Ann"),
        ("", b"Wanderer"),
        ("   ", b"Wanderer"),
        ("é" * 20, "é".encode() * (NAME_BYTES_MAX // 2)),
        ("x" * 23 + "é", b"x" * 23),
        ("a\0b", b"ab"),
    ],
)
def test_names_fit_their_column(name, expected):
    assert name_bytes(name) == expected


def test_newcomers_are_whole_named_and_at_a_hamlet():
    play = Play()
    rows = play.join("Ann", "Bob")
    assert [play.world[Name].text[r] for r in rows] == [b"Ann", b"Bob"]
    home_x, home_y = hamlets(play.world)
    for row in rows:
        x, y = play.place(row)
        assert np.min(np.maximum(abs(home_x - x), abs(home_y - y))) <= HAMLET_RADIUS_UNITS
        assert play.hp(row) == FULL_HEALTH
    assert [sessions for name, _, sessions in play.events if name == "Gathered"] == [(1,), (2,)]


def test_what_is_said_is_heard_where_it_was_said():
    play = Play()
    rows = play.join("Ann", "Bob")
    play.order(2, "Say", "good evening é".encode())
    play.order(1, "Say", b"")
    play.tick()
    assert play.heard("Said") == [{"who": rows[1], "name": "Bob", "text": "good evening é"}]
    assert play.events[0][2] == (), "a place hears it, not a list of sessions"


def kill(play: Play, row: int) -> None:
    play.world[Health].hp[row] = 0
    play.tick()


def test_the_dead_lie_where_they_fell():
    play = Play()
    (row,) = play.join("Ann")
    play.order(1, "Move", 1.0, 0.0)
    play.tick()
    kill(play, row)
    fell = play.place(row)
    play.order(1, "Move", 0.0, 1.0)
    play.tick(5)
    assert play.place(row) == fell
    assert play.get(State, "pose", row) == Pose.DEAD


def test_the_dead_rise_when_they_ask_but_not_at_once():
    play = Play()
    (row,) = play.join("Ann")
    play.move([row], (5, 5))
    kill(play, row)
    play.order(1, "Respawn")
    play.tick()
    assert play.hp(row) == 0
    play.tick(int(RESPAWN_AFTER_S * RATE_HZ))
    play.order(1, "Respawn")
    play.tick()
    assert play.hp(row) == FULL_HEALTH
    assert play.get(Bag, "died_tick", row) == 0
    home_x, home_y = hamlets(play.world)
    x, y = play.place(row)
    assert np.min(np.maximum(abs(home_x - x), abs(home_y - y))) <= HAMLET_RADIUS_UNITS


def test_the_dead_rise_by_themselves_in_the_end():
    play = Play()
    (row,) = play.join("Ann")
    kill(play, row)
    latest = int(RESPAWN_AT_THE_LATEST_S * RATE_HZ)
    play.tick(latest - 1)
    assert play.hp(row) == 0
    play.tick()
    assert play.hp(row) == FULL_HEALTH


def test_the_living_cannot_respawn_away_from_danger():
    play = Play()
    (row,) = play.join("Ann")
    play.move([row], (5, 5))
    play.order(1, "Respawn")
    play.tick()
    assert play.place(row) == (5, 5)


def test_short_intents_are_kept_to_the_bit():
    dx = np.array([0.1, -0.7, 0.0, 1.0, 3.0], np.float32)
    dy = np.array([0.2, 0.7, 0.0, 0.0, 4.0], np.float32)
    x, y = at_most_unit(dx, dy)
    assert x[:4].tobytes() == dx[:4].tobytes()
    assert y[:4].tobytes() == dy[:4].tobytes()
    assert (x[4], y[4]) == (np.float32(0.6), np.float32(0.8))


def test_headings_are_coarse_and_never_negative():
    turn = np.linspace(-7, 7, 1001)
    angle = coarse_angle(np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32), 16)
    assert np.unique(angle).size == 16
    assert angle.min() >= 0
    assert angle.max() < 2 * np.pi
    assert np.abs(np.exp(1j * angle) - np.exp(1j * turn)).max() < 2 * np.sin(np.pi / 32) + 1e-3


def test_intents_are_never_on_the_wire():
    play = Play()
    assert Motion not in play.game.replicated
    assert {n for n, s in Position.columns.items() if s.wire} == {"x", "y"}, "a move costs six bytes"
