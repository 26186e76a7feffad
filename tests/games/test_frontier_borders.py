"""The frontier over several regions: who walks, strikes and shoots over a border finds a world that goes on there."""

from dataclasses import replace

import numpy as np
import pytest

from games.frontier import GAME
from games.frontier.borders import arrive, in_our_time
from games.frontier.commands import Goods
from games.frontier.components import (
    BEAR,
    DEER,
    MEAT,
    ROCK,
    TREE,
    WOLF,
    Bag,
    Health,
    Mind,
    Mood,
    Motion,
    Position,
    Score,
    Stock,
)
from games.frontier.creatures import THINK_EVERY_TICKS, breed
from protocol.codec import decode_server
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from tests.games.play import nothing
from tests.support.country import Country

WEST, EAST = 1, 2
# The border is at x = 128.
ATLAS = Atlas.grid(RegionSpec(WEST, 0.0, 0.0, 256.0, 256.0, 4000, 16.0), columns=2, rows=1)
STILL = replace(GAME, setup=nothing, systems=tuple(s for s in GAME.systems if s is not breed))


def frontier(game=STILL, atlas=ATLAS):
    return Country(atlas, lambda n: RegionMachine(game, atlas[n], seed=7, tick_rate_hz=20.0, atlas=atlas))


def put(country, region, archetype, x, y, **columns):
    """An entity of this kind there; its number."""
    world = country.machines[region].world
    rows = world.spawn(archetype)
    world[Position].x[rows], world[Position].y[rows] = x, y
    return int(world.id_of(rows)[0])


def player(country, region, session, x, y):
    """A player's avatar there, unprotected; its number."""
    country.tick(region, ("join", session, 0, b"account", b"Ada"))
    machine = country.machines[region]
    rows = machine.sessions.rows(np.array([session], np.uint64), machine.world)
    machine.world[Position].x[rows], machine.world[Position].y[rows] = x, y
    machine.world[Health].safe_until_tick[rows] = 0
    return int(machine.world.id_of(rows)[0])


def of(country, number, component, column):
    region, row = country.find(number)
    return getattr(country.machines[region].world[component], column)[row].item()


def rounds(country, n=3):
    for _ in range(n):
        country.round()


def events(frames):
    for frame in frames:
        for event in frame.events:
            message = decode_server(event.message)
            yield GAME.events[message.event].__name__, message.args


# -- walking ---------------------------------------------------------------------------


def test_an_avatar_walks_on_into_the_next_region_with_its_bag():
    country = frontier()
    ada = player(country, WEST, 7, 127.0, 100.0)
    _, row = country.find(ada)
    west = country.machines[WEST].world
    west[Bag].wood[row], west[Score].points[row] = 12, 34
    country.tick(WEST, ("Move", 7, 1, 1.0, 0.0))
    rounds(country, 20)
    assert country.find(ada)[0] == EAST
    assert (of(country, ada, Bag, "wood"), of(country, ada, Score, "points")) == (12, 34)
    # 21 ticks at its own speed, as if there were no border.
    assert of(country, ada, Position, "x") == pytest.approx(127.0 + 21 * 0.6, abs=1e-3)
    assert of(country, ada, Motion, "vx") == 1.0, "it goes on without being told again"


def test_creatures_wander_over_and_turn_back_only_at_the_worlds_edge():
    country = frontier()
    for region, x in ((WEST, 120.0), (EAST, 140.0)):
        for n in range(12):
            put(country, region, DEER, x + n % 3, 60.0 + 4 * n)
    # A player runs at the herd from the west, and it flees over the border.
    player(country, WEST, 7, 113.0, 80.0)
    country.tick(WEST, ("Move", 7, 1, 1.0, 0.0))
    crossed = 0
    for _ in range(60):
        crossed += sum(int((f.departed["session"] == 0).sum()) for f in country.round().values())
    assert crossed > 0
    country.settle()
    assert sum(m.world.rows_of(DEER).size for m in country.machines.values()) == 24


def test_a_world_of_several_regions_is_as_densely_peopled_as_one():
    parts = frontier(GAME).machines.values()
    whole = frontier(GAME, Atlas([RegionSpec(WEST, 0.0, 0.0, 256.0, 256.0, 8000)])).machines[WEST]
    for archetype in (TREE, DEER, WOLF):
        there = sum(m.world.rows_of(archetype).size for m in parts)
        assert abs(there - whole.world.rows_of(archetype).size) <= 1


def test_a_frontier_of_four_regions_lives_and_loses_nobody():
    atlas = Atlas.grid(RegionSpec(3, -128.0, 0.0, 256.0, 256.0, 4000, 16.0), columns=2, rows=2)
    lasting = replace(GAME, systems=tuple(s for s in GAME.systems if s is not breed))
    country = frontier(lasting, atlas)
    trees = {n for n, m in country.machines.items() if m.world.rows_of(TREE).size}
    assert trees == {3, 4, 5, 6}
    for session, region in enumerate(country.machines, 1):
        country.tick(region, ("join", session, 0, b"a", b"b"))
        country.tick(region, ("Move", session, 1, 0.7, 0.3))
    before = {n for n, count in country.census().items() if count}
    crossed = 0
    for _ in range(80):
        crossed += sum(f.departed.size for f in country.round().values())
        census = country.census()
        assert all(count == 1 for count in census.values())
    assert crossed > 0
    country.settle()
    assert country.players() == {1: 1, 2: 1, 3: 1, 4: 1}
    # Only who was eaten is gone, and left meat.
    gone = before - set(country.census())
    assert len(gone) <= 20


def test_a_journal_with_mail_in_it_replays_to_the_same_frontier():
    country = frontier(GAME)
    for session, region in enumerate((WEST, EAST, WEST, EAST), 1):
        country.tick(region, ("join", session, 0, b"a", b"b"))
    for n in range(40):
        orders = {f"r{region}": [] for region in (WEST, EAST)}
        for region, machine in country.machines.items():
            for session in machine.sessions.known()["session"].tolist():
                towards = 1.0 if region == WEST else -1.0
                orders[f"r{region}"].append(("Move", session, 2 * n + 1, towards, 0.1))
                orders[f"r{region}"].append(("Shoot", session, 2 * n + 2, towards, 0.0, machine.tick))
        country.round(**orders)
    assert sum(len(f.arrived) for frames in country.frames.values() for f in frames) > 0
    for region, machine in country.machines.items():
        digest = machine.digest()
        country.crash(region)
        assert country.machines[region] is not machine
        assert country.machines[region].digest() == digest


# -- arriving ----------------------------------------------------------------------------


def test_what_was_about_the_other_region_is_forgotten_or_told_in_our_time():
    country = frontier()
    world = country.machines[EAST].world
    rows = world.spawn(WOLF, 2)
    mind, health = world[Mind], world[Health]
    mind.mood[rows], mind.prey[rows] = [Mood.CHASE, Mood.EAT], 99
    mind.until_tick[rows], mind.bite_ready_tick[rows] = 1000, [0, 1005]
    health.hurt_by[rows], health.hurt_tick[rows] = 77, [990, 0]
    arrive(world, None, rows, np.array([-900, 50]))
    assert mind.mood[rows].tolist() == [Mood.ROAM, Mood.EAT]
    assert mind.prey[rows].tolist() == health.hurt_by[rows].tolist() == [0, 0]
    assert mind.until_tick[rows].tolist() == [0, 1050], "who hunts is hungry"
    assert mind.bite_ready_tick[rows].tolist() == [0, 1055]
    assert health.hurt_tick[rows].tolist() == [90, 0]


def test_a_tick_long_before_our_time_is_past_and_not_never():
    then = np.array([0, 5, 4_000_000_000], np.uint32)
    assert in_our_time(then, np.array([-10, -10, -10])).tolist() == [0, 1, 3_999_999_990]


def test_a_wolf_hunts_a_player_over_the_border():
    country = frontier()
    ada = player(country, WEST, 7, 129.0, 100.0)
    wolf = put(country, WEST, WOLF, 118.0, 100.0)
    west = country.machines[WEST].world
    (_, prey), (_, hunter) = country.find(ada), country.find(wolf)
    west[Mind].mood[hunter], west[Mind].until_tick[hunter] = Mood.CHASE, 10_000
    west[Mind].prey[hunter] = west.ref(np.array([prey]))[0]
    rounds(country, 2 * THINK_EVERY_TICKS)
    west[Position].x[prey] = 132.0
    rounds(country)
    assert (country.find(ada)[0], country.find(wolf)[0]) == (EAST, WEST)
    assert of(country, ada, Health, "hp") == 100
    # It comes after her, sees her there, and bites.
    rounds(country, 120)
    assert (country.find(ada)[0], country.find(wolf)[0]) == (EAST, EAST)
    assert of(country, ada, Health, "hp") < 100


def test_a_wolf_whose_prey_got_away_rests_in_the_end():
    country = frontier()
    wolf = put(country, WEST, WOLF, 60.0, 100.0)
    mind, (_, row) = country.machines[WEST].world[Mind], country.find(wolf)
    mind.mood[row], mind.until_tick[row], mind.prey[row] = Mood.CHASE, 40, 99
    rounds(country, 30)
    assert of(country, wolf, Mind, "mood") == Mood.CHASE
    rounds(country, 20)
    assert (of(country, wolf, Mind, "mood"), of(country, wolf, Mind, "prey")) == (Mood.REST, 0)


# -- gathering -----------------------------------------------------------------------------


def test_a_hand_reaches_over_the_border_and_gets_what_is_there():
    country = frontier()
    ada = player(country, WEST, 7, 126.0, 100.0)
    tree = put(country, EAST, TREE, 129.0, 100.0)
    far = put(country, EAST, TREE, 134.0, 100.0)
    stock = country.machines[EAST].world[Stock]
    stock.amount[[country.find(n)[1] for n in (tree, far)]] = [1, 9]
    country.tick(WEST, ("Harvest", 7, 1))
    # No hand is as quick as that, and none takes from an empty tree.
    country.tick(WEST, ("Harvest", 7, 2))
    country.settle()
    assert of(country, ada, Bag, "wood") == 1
    assert (of(country, tree, Stock, "amount"), of(country, far, Stock, "amount")) == (0, 9)
    assert of(country, ada, Score, "points") == 1
    told = [args for name, args in events(country.frames[WEST]) if name == "Gathered"]
    # The first says what she has as she joins.
    assert [args[:3] for args in told] == [(Goods.NOTHING, 0, 0), (Goods.WOOD, 1, 1)]
    rounds(country, 40)
    country.tick(WEST, ("Harvest", 7, 3))
    country.settle()
    assert of(country, ada, Bag, "wood") == 1


def test_who_finds_something_on_her_own_side_takes_that():
    country = frontier()
    ada = player(country, WEST, 7, 126.0, 100.0)
    rock = put(country, WEST, ROCK, 123.0, 100.0)
    tree = put(country, EAST, TREE, 129.0, 100.0)
    for number in (rock, tree):
        there, row = country.find(number)
        country.machines[there].world[Stock].amount[row] = 5
    country.tick(WEST, ("Harvest", 7, 1))
    country.settle()
    assert (of(country, ada, Bag, "stone"), of(country, ada, Bag, "wood")) == (1, 0)
    assert (of(country, rock, Stock, "amount"), of(country, tree, Stock, "amount")) == (4, 5)


# -- fighting ----------------------------------------------------------------------------


def test_an_arrow_hits_over_the_border_and_the_archer_is_rewarded_for_a_kill():
    country = frontier()
    ada = player(country, WEST, 7, 120.0, 100.0)
    deer = put(country, EAST, DEER, 140.0, 100.0)
    country.machines[EAST].world[Health].hp[country.find(deer)[1]] = 40
    before = of(country, ada, Score, "points")
    country.tick(WEST, ("Shoot", 7, 1, 1.0, 0.0, country.machines[WEST].tick))
    country.carry()
    frame = country.tick(EAST)
    assert country.find(deer) is None
    assert [name for name, _ in events([frame])] == ["Hit", "Died"]
    assert country.machines[EAST].world.rows_of(MEAT).size == 1
    country.settle()
    assert of(country, ada, Score, "points") == before + 5


def test_an_arrow_that_hits_somebody_here_flies_no_farther():
    country = frontier()
    player(country, WEST, 7, 110.0, 100.0)
    near, far = put(country, WEST, BEAR, 120.0, 100.0), put(country, EAST, BEAR, 140.0, 100.0)
    country.tick(WEST, ("Shoot", 7, 1, 1.0, 0.0, country.machines[WEST].tick))
    rounds(country)
    assert of(country, near, Health, "hp") == 92
    assert of(country, far, Health, "hp") == 100


def test_a_wounded_herd_animal_runs_from_where_the_arrow_came():
    country = frontier()
    player(country, WEST, 7, 126.0, 100.0)
    deer = put(country, EAST, DEER, 150.0, 100.0)
    country.tick(WEST, ("Shoot", 7, 1, 1.0, 0.0, country.machines[WEST].tick))
    rounds(country, 2)
    assert of(country, deer, Health, "hp") == 60
    assert of(country, deer, Motion, "vx") > 0
    assert of(country, deer, Mind, "alarm") > 0


def test_a_blow_reaches_over_the_border_in_its_arc_and_no_farther():
    country = frontier()
    player(country, WEST, 7, 126.0, 100.0)
    ahead, behind, out_of_reach = (
        put(country, EAST, BEAR, x, y) for x, y in ((129.0, 100.0), (128.5, 104.0), (134.0, 100.0))
    )
    # It faces east.
    country.tick(WEST, ("Move", 7, 1, 1.0, 0.0))
    country.tick(WEST, ("Move", 7, 2, 0.0, 0.0), ("Strike", 7, 3))
    rounds(country, 2)
    assert [of(country, n, Health, "hp") for n in (ahead, behind, out_of_reach)] == [91, 100, 100]


def test_players_cannot_be_hurt_over_a_border_while_they_are_safe():
    country = frontier()
    player(country, WEST, 7, 126.0, 100.0)
    bob = player(country, EAST, 8, 140.0, 100.0)
    east = country.machines[EAST].world
    for hp, until in ((100, 1000), (88, 0)):
        east[Health].safe_until_tick[country.find(bob)[1]] = until
        seq = 1 if until else 2
        country.machines[WEST].world[Bag].arm_ready_tick[:] = 0
        country.tick(WEST, ("Shoot", 7, seq, 1.0, 0.0, country.machines[WEST].tick))
        rounds(country, 2)
        assert of(country, bob, Health, "hp") == hp


def test_an_archer_is_believed_about_another_regions_past():
    """What it saw of the east is as old as what it saw of the west, whatever their clocks say."""
    country = frontier()
    for _ in range(30):
        country.tick(EAST)
    player(country, WEST, 7, 120.0, 100.0)
    bob = player(country, EAST, 8, 140.0, 100.0)
    for _ in range(4):
        country.tick(WEST)
    country.tick(EAST, ("Move", 8, 1, 0.0, 1.0))
    for _ in range(3):
        country.tick(EAST)
    # Three ticks of running lead Bob 1.8 units aside: he is missed where he is, and hit where he was a tick before.
    now = country.machines[WEST].tick
    country.tick(WEST, ("Shoot", 7, 1, 1.0, 0.0, now))
    country.carry()
    country.tick(EAST)
    assert of(country, bob, Health, "hp") == 100
    country.machines[WEST].world[Bag].arm_ready_tick[:] = 0
    country.tick(WEST, ("Shoot", 7, 2, 1.0, 0.0, now - 1))
    country.carry()
    country.tick(EAST)
    assert of(country, bob, Health, "hp") == 88
