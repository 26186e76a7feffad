"""Blows reach an arc, arrows fly as the archer saw it, wounds add up, and the dead leave meat."""

import numpy as np
import pytest

from games.frontier.combat import POINTS, SHOT_DAMAGE, STRIKE_DAMAGE
from games.frontier.components import (
    ARCHETYPES,
    AVATAR,
    BEAR,
    DEER,
    MEAT,
    SHEEP,
    WOLF,
    Bag,
    Health,
    Mind,
    Mood,
    Motion,
    Pose,
    Score,
    State,
    Stock,
)
from games.frontier.constants import (
    FULL_HEALTH,
    POINTS_MAX,
    SAFE_AFTER_SPAWN_S,
    SEEN_AGE_TICKS_MAX,
    SHOT_RANGE_UNITS,
    STRIKE_EVERY_S,
    STRIKE_REACH_UNITS,
)
from games.frontier.herds import think_herds
from games.frontier.predators import think_predators
from tests.games.play import RATE_HZ, Play, still_world


def arena() -> Play:
    """Creatures that don't think: they stand, or go as they are set going."""
    play = Play(still_world(without=(think_herds, think_predators)))
    (row,) = play.join("Ann")
    play.move([row], (100, 100))
    return play


def lost(play: Play, rows) -> list[int]:
    return [FULL_HEALTH - play.hp(r) for r in rows]


@pytest.mark.parametrize(
    ("degrees", "units", "hit"),
    [
        (0, 3.0, True),
        (59, 3.0, True),
        (-59, 3.0, True),
        (61, 3.0, False),
        (-61, 3.0, False),
        (180, 1.0, False),
        (0, STRIKE_REACH_UNITS - 0.01, True),
        (0, STRIKE_REACH_UNITS + 0.01, False),
    ],
)
@pytest.mark.parametrize("facing", [0, 90, 225])
def test_a_blow_reaches_an_arc_before_the_striker(degrees, units, hit, facing):
    play = arena()
    a, f = np.radians(facing + degrees), np.radians(facing)
    sheep = play.put(SHEEP, (100 + units * np.cos(a), 100 + units * np.sin(a)))
    play.world[Bag].face_x[0], play.world[Bag].face_y[0] = np.cos(f), np.sin(f)
    play.order(1, "Strike")
    play.tick()
    assert lost(play, sheep) == [50 if hit else 0]


def test_one_blow_hits_all_in_the_arc_but_never_the_striker():
    play = arena()
    rows = play.put(DEER, (102, 100), (103, 101), (103, 99), (98, 100))
    play.order(1, "Strike")
    play.tick()
    assert lost(play, [0, *rows]) == [0, 34, 34, 34, 0]
    assert sorted(e["target"] for e in play.heard("Hit")) == rows[:3].tolist()
    assert play.get(State, "pose", 0) == Pose.ATTACK


def test_walking_turns_the_striker():
    play = arena()
    behind = play.put(SHEEP, (97, 100))
    play.order(1, "Move", -0.01, 0.0)
    play.order(1, "Strike")
    play.tick()
    assert lost(play, behind) == [50]


def test_an_arm_needs_time():
    play = arena()
    bear = play.put(BEAR, (102, 100))
    for _ in range(int(STRIKE_EVERY_S * RATE_HZ)):
        play.order(1, "Strike")
        play.order(1, "Strike")
        play.order(1, "Shoot", 1.0, 0.0, 0)
        play.tick()
    assert lost(play, bear) == [9]
    play.order(1, "Strike")
    play.tick()
    assert lost(play, bear) == [18]


def test_an_arrow_hits_the_first_on_its_line():
    play = arena()
    near, far, beside, behind = play.put(DEER, (110, 100.5), (120, 100), (110, 103), (90, 100))
    play.order(1, "Shoot", 1.0, 0.0, play.machine.tick)
    play.tick()
    assert lost(play, [near, far, beside, behind]) == [40, 0, 0, 0]
    (shot,) = play.heard("Shot")
    assert shot["length"] == pytest.approx(10)
    assert (shot["who"], shot["x"], shot["y"], shot["dx"], shot["dy"]) == (0, 100, 100, 1, 0)


def test_an_arrow_flies_so_far_and_no_farther():
    play = arena()
    beyond = play.put(DEER, (100 + SHOT_RANGE_UNITS + 0.1, 100))
    play.order(1, "Shoot", 1.0, 0.0, 0)
    play.tick()
    assert lost(play, beyond) == [0]
    assert play.heard("Shot")[0]["length"] == SHOT_RANGE_UNITS


def test_an_arrow_without_direction_stays_on_the_string():
    play = arena()
    play.order(1, "Shoot", 0.0, 0.0, 0)
    play.tick()
    assert play.heard("Shot") == []
    assert play.get(Bag, "arm_ready_tick", 0) == 0


@pytest.mark.parametrize(("ago", "hit"), [(10, True), (0, False)])
def test_an_arrow_is_judged_by_the_tick_the_archer_saw(ago, hit):
    play = arena()
    deer = play.put(DEER, (120, 90))
    play.world[Motion].vy[deer] = 10.0
    play.tick(20)
    assert play.place(deer[0])[1] == pytest.approx(100)
    # On the archer's screen the deer is at (120, 100); ten ticks later it is five units on.
    seen = play.machine.tick
    play.tick(9)
    play.order(1, "Shoot", 1.0, 0.0, seen if ago else play.machine.tick)
    play.tick()
    assert play.place(deer[0])[1] == pytest.approx(105)
    assert lost(play, deer) == [40 if hit else 0]


@pytest.mark.parametrize(("ago", "hit"), [(SEEN_AGE_TICKS_MAX, True), (SEEN_AGE_TICKS_MAX + 1, False)])
def test_nobody_shoots_further_into_the_past_than_allowed(ago, hit):
    play = arena()
    deer = play.put(DEER, (120, 100))
    play.tick(3)
    seen = play.machine.tick
    play.move(deer, (120, 110))
    play.tick(ago - 1)
    play.order(1, "Shoot", 1.0, 0.0, seen)
    play.tick()
    assert play.machine.tick - seen == ago
    assert lost(play, deer) == [40 if hit else 0]


@pytest.mark.parametrize("seen", [0, 2**32 - 1])
def test_a_tick_that_cannot_have_been_seen_does_no_harm(seen):
    play = arena()
    deer = play.put(DEER, (110, 100))
    play.tick(3)
    play.order(1, "Shoot", 1.0, 0.0, seen)
    play.tick()
    assert lost(play, deer) == [40]


def test_wounds_of_one_tick_add_up():
    play = arena()
    play.join("Bob", "Cy")
    play.move([1, 2], (104, 100), (102, 98))
    deer = play.put(DEER, (102, 100))
    play.world[Bag].face_x[1] = -1
    play.world[Bag].face_x[2], play.world[Bag].face_y[2] = 0, 1
    for session in (1, 2, 3):
        play.order(session, "Strike")
    play.tick()
    assert play.world.count == 3 + 1, "34 three times is death: three players, and the meat"
    assert not play.world.is_a(deer, DEER).any()
    assert len([e for e in play.heard("Hit") if e["target"] == deer[0]]) == 3


def test_a_kill_leaves_meat_and_raises_the_score():
    play = arena()
    sheep = play.put(SHEEP, (102, 100), Health_hp=10)
    play.order(1, "Strike")
    play.tick()
    assert play.heard("Died") == [{"who": sheep[0], "killer": 0}]
    assert play.get(Score, "points", 0) == 3
    (meat,) = play.world.rows_of(MEAT)
    assert play.place(meat) == (102, 100)
    assert play.get(Stock, "amount", meat) == 3


def test_a_fallen_player_loses_half_the_bag_and_scores_for_the_other():
    play = arena()
    play.join("Bob")
    play.tick(int(SAFE_AFTER_SPAWN_S * RATE_HZ))
    play.move([1], (102, 100))
    play.world[Health].hp[1] = 10
    play.world[Bag].wood[1], play.world[Bag].food[1] = 9, 1
    play.order(1, "Strike")
    play.tick()
    assert play.hp(1) == 0
    assert play.world.is_a(np.array([1]), AVATAR).all()
    assert (play.get(Bag, "wood", 1), play.get(Bag, "food", 1)) == (4, 0)
    assert play.get(Score, "points", 0) == 10
    play.tick(5)
    assert play.heard("Died") == [], "one dies once"


def test_newcomers_are_safe_for_a_moment():
    play = arena()
    play.join("Bob")
    play.move([1], (102, 100))
    play.order(1, "Strike")
    play.tick()
    assert lost(play, [1]) == [0]
    assert play.heard("Hit") == []


def test_scores_stop_at_what_the_wire_can_say():
    play = arena()
    play.world[Score].points[0] = POINTS_MAX - 1
    play.put(SHEEP, (102, 100), Health_hp=1)
    play.order(1, "Strike")
    play.tick()
    assert play.get(Score, "points", 0) == POINTS_MAX


def test_a_wounded_wolf_turns_on_the_archer_and_a_wounded_deer_bolts():
    play = arena()
    wolf = play.put(WOLF, (120, 100))
    play.order(1, "Shoot", 1.0, 0.0, 0)
    play.tick()
    assert play.get(Mind, "mood", wolf[0]) == Mood.CHASE
    assert play.world.resolve(play.world[Mind].prey[wolf]).tolist() == [0]

    play = arena()
    deer = play.put(DEER, (120, 100))
    play.order(1, "Shoot", 1.0, 0.0, 0)
    play.tick()
    assert play.get(Motion, "vx", deer[0]) > 0
    assert play.get(Mind, "alarm", deer[0]) > 0


def test_meat_is_left_out_where_the_region_is_full():
    play = Play(still_world(without=(think_herds, think_predators)), entities_max=2)
    (row,) = play.join("Ann")
    play.move([row], (100, 100))
    play.put(SHEEP, (102, 100), Health_hp=1)
    play.order(1, "Strike")
    play.tick()
    assert play.world.count == 1
    assert play.get(Score, "points", row) == 3


def test_everything_that_bleeds_has_its_damage_and_its_price():
    for archetype in (DEER, SHEEP, WOLF, BEAR, AVATAR):
        i = ARCHETYPES.index(archetype)
        assert STRIKE_DAMAGE[i]
        assert SHOT_DAMAGE[i]
        assert POINTS[i]
