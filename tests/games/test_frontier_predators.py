"""Wolves hunt, kill, eat and rest; they shun fires and company, and grow bold at night."""

import numpy as np
import pytest

from games.frontier.components import (
    AVATAR,
    BEAR,
    CAMPFIRE,
    DEER,
    MEAT,
    SHEEP,
    WOLF,
    Health,
    Mind,
    Mood,
    Pose,
    Position,
    State,
)
from games.frontier.constants import DAY_S, DAYLIGHT_FRACTION, FIRE_FEAR_UNITS, FIRE_FOR_EVER, SAFE_AFTER_SPAWN_S
from games.frontier.creatures import THINK_EVERY_TICKS
from games.frontier.predators import (
    AVATAR_SIGHT_DAY_UNITS,
    AVATAR_SIGHT_NIGHT_UNITS,
    CHASE_S,
    EAT_S,
    SATED_S,
    lone_players,
    look_for_prey,
)
from server.sim import Tick
from tests.games.play import RATE_HZ, Play


def moods(play: Play, rows, ticks: int) -> list[int]:
    """The moods that rows go through, each named once."""
    seen: list[int] = []
    for _ in range(ticks):
        play.tick()
        for mood in play.world[Mind].mood[rows].tolist():
            if mood not in seen:
                seen.append(mood)
    return seen


def test_a_pack_hunts_a_sheep_down():
    play = Play()
    (sheep,) = play.put(SHEEP, (140, 128))
    wolves = play.put(WOLF, (100, 126), (100, 130), (98, 128))
    seen = moods(play, wolves, 500)
    assert [m for m in seen if m != Mood.ROAM][:3] == [Mood.STALK, Mood.CHASE, Mood.EAT]
    assert not play.world.is_a(np.array([sheep]), SHEEP).any()


def test_a_kill_is_eaten_and_feeds_for_a_while():
    play = Play()
    (wolf,) = play.put(WOLF, (100, 128))
    play.put(SHEEP, (103, 128), Health_hp=1)
    while not play.heard("Died"):
        play.tick()
        assert play.machine.tick < 400
    assert play.world.rows_of(MEAT).size == 1
    play.tick(THINK_EVERY_TICKS)
    assert play.get(Mind, "mood", wolf) == Mood.EAT
    assert play.get(State, "pose", wolf) == Pose.EAT
    play.tick(int(EAT_S * RATE_HZ) + THINK_EVERY_TICKS)
    assert play.get(Mind, "mood", wolf) == Mood.ROAM
    x, y = play.place(wolf)
    play.put(DEER, (x + 5, y))
    play.tick(100)
    assert play.get(Mind, "mood", wolf) == Mood.ROAM, "who has eaten does not hunt"
    play.tick(int(SATED_S * RATE_HZ))
    assert play.get(Mind, "until_tick", wolf) <= play.machine.tick or play.get(Mind, "mood", wolf) != Mood.ROAM


def test_who_runs_out_of_breath_rests():
    play = Play()
    (ann,) = play.join("Ann")
    (wolf,) = play.put(WOLF, (128, 128), Mind_mood=Mood.CHASE, Mind_until_tick=int(CHASE_S * RATE_HZ))
    play.world[Mind].prey[wolf] = play.world.ref(np.array([ann]))[0]
    for _ in range(int(CHASE_S * RATE_HZ) + THINK_EVERY_TICKS):
        x, y = play.place(wolf)
        play.move([ann], (x + 30 if x < 200 else x - 30, y))
        play.tick()
    assert play.get(Mind, "mood", wolf) == Mood.REST
    before = play.place(wolf)
    play.tick(40)
    assert play.place(wolf) == before


def test_a_lone_player_who_does_nothing_is_killed():
    play = Play()
    (ann,) = play.join("Ann")
    play.move([ann], (128, 128))
    play.put(WOLF, (138, 128), (138, 130), (138, 126), (140, 128))
    safe_until = int(SAFE_AFTER_SPAWN_S * RATE_HZ)
    while play.hp(ann):
        play.tick()
        assert play.hp(ann) == 100 or play.machine.tick > safe_until
        assert play.machine.tick < safe_until + 15 * RATE_HZ
    assert play.get(State, "pose", ann) == Pose.DEAD


def test_a_player_by_a_fire_is_left_alone():
    play = Play()
    (ann,) = play.join("Ann")
    play.move([ann], (128, 128))
    play.put(CAMPFIRE, (128, 130), Stock_amount=FIRE_FOR_EVER)
    wolves = play.put(WOLF, (146, 128), (146, 130), (146, 126))
    play.tick(600)
    assert play.hp(ann) == 100
    p = play.world[Position]
    assert np.hypot(p.x[wolves] - 128, p.y[wolves] - 130).min() > FIRE_FEAR_UNITS - 6


def test_three_players_together_are_no_prey():
    play = Play()
    rows = play.join("Ann", "Bob", "Cy", "Dan")
    play.move(rows, (128, 128), (130, 128), (128, 130), (30, 30))
    assert lone_players(play.world).tolist() == [rows[3]]
    play.world[Health].hp[rows[0]] = 0
    assert lone_players(play.world).tolist() == rows[1:], "the dead are neither company nor prey"


@pytest.mark.parametrize(
    ("hour", "sight"), [(0.1, AVATAR_SIGHT_DAY_UNITS[0]), (DAYLIGHT_FRACTION + 0.01, AVATAR_SIGHT_NIGHT_UNITS[0])]
)
def test_wolves_see_players_farther_at_night(hour, sight):
    play = Play()
    (ann,) = play.join("Ann")
    tick = Tick(int(hour * DAY_S * RATE_HZ), 1 / RATE_HZ, 7, {})
    play.move([ann], (50, 50))
    wolves = play.put(WOLF, (50 + sight - 1, 50), (50 + sight + 1, 50))
    hungry, nobody = np.ones(2, np.bool_), np.zeros(2, np.uint64)
    assert look_for_prey(play.world, tick, wolves, hungry, nobody).tolist() == [ann, -1]
    assert look_for_prey(play.world, tick, wolves, ~hungry, nobody).tolist() == [-1, -1]


def test_pack_mates_hunt_the_same():
    play = Play()
    near, far = play.put(SHEEP, (108, 100), (100, 130))
    first, second = play.put(WOLF, (100, 100), (100, 112))
    play.world[Mind].prey[first] = play.world.ref(np.array([far]))[0]
    play.world[Mind].mood[first], play.world[Mind].until_tick[first] = Mood.STALK, 1000
    play.tick(THINK_EVERY_TICKS)
    assert play.world.resolve(play.world[Mind].prey[[first, second]]).tolist() == [far, far]
    assert near != far


def test_a_bear_kills_at_a_blow_and_bites_no_wolf():
    play = Play()
    bear, wolf = play.put(BEAR, (100, 100)), play.put(WOLF, (101, 100), Mind_until_tick=100_000)
    deer = play.put(DEER, (102, 100))
    play.world[Mind].prey[bear] = play.world.ref(deer)
    play.world[Mind].mood[bear], play.world[Mind].until_tick[bear] = Mood.CHASE, 1000
    play.tick(2)
    assert not play.world.is_a(deer, DEER).any()
    assert play.hp(wolf[0]) == 100


def test_nobody_bites_the_dead():
    play = Play()
    (ann,) = play.join("Ann")
    play.move([ann], (128, 128))
    play.put(WOLF, (129, 128), (130, 128))
    for _ in range(int(9 * RATE_HZ)):
        play.tick()
        dead = play.hp(ann) == 0
        assert not (dead and [e for e in play.heard("Hit") if e["target"] == ann] and not play.heard("Died"))
    assert play.world.rows_of(AVATAR).size == 1
