"""The whole frontier: it stays in bounds, populated and deterministic whatever players do."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from games.frontier import GAME
from games.frontier.components import ARCHETYPES, AVATAR, CREATURES, Heading, Health, Motion, Position
from games.frontier.constants import EDGE_UNITS
from games.frontier.world import PLACINGS, target_count
from tests.games.play import Play


def check_sane(play: Play) -> None:
    world = play.world
    x0, y0, x1, y1 = world.bounds
    rows, p = world.rows(Position), world[Position]
    assert np.isfinite(p.x[rows]).all()
    assert np.isfinite(p.y[rows]).all()
    assert p.x[rows].min(initial=x0) >= x0
    assert p.y[rows].min(initial=y0) >= y0
    assert p.x[rows].max(initial=x0) <= x1 - EDGE_UNITS
    assert p.y[rows].max(initial=y0) <= y1 - EDGE_UNITS
    bodies = world.rows(Motion)
    assert np.isfinite(world[Motion].vx[bodies]).all()
    assert np.isfinite(world[Motion].vy[bodies]).all()
    assert np.isfinite(world[Heading].angle[bodies]).all()
    assert (world[Health].hp[bodies] <= 100).all()


def census(play: Play) -> dict[str, int]:
    return {a.name: int(play.world.rows_of(a).size) for a in CREATURES}


def test_there_are_as_many_creatures_after_two_thousand_ticks():
    play = Play(GAME, size=256, x=256)
    before = census(play)
    assert sum(before.values()) == 311
    for _ in range(100):
        play.tick(20)
        check_sane(play)
    after = census(play)
    for kind, n in before.items():
        assert 0.85 * n - 1 <= after[kind] <= n, f"{kind}: {n} became {after[kind]}"


def test_a_full_size_world_has_five_thousand_creatures():
    play = Play(GAME, size=1024)
    assert 4_950 <= sum(census(play).values()) <= 5_050
    assert play.world.count < 10_000


def test_a_region_with_few_rows_is_filled_thinner():
    play = Play(GAME, size=512, entities_max=500)
    assert 300 <= play.world.count <= 400
    play.join("Ann")
    play.tick(50)
    check_sane(play)


units = st.floats(-1, 1, width=32)
ticks = st.integers(0, 2**32 - 1)
orders = st.one_of(
    st.tuples(st.just("Move"), units, units),
    st.tuples(st.just("Shoot"), units, units, ticks),
    st.tuples(st.just("Say"), st.binary(max_size=200)),
    *[st.tuples(st.just(name)) for name in ("Strike", "Harvest", "Respawn", "Build")],
)


@settings(max_examples=25)
@given(
    size=st.sampled_from([16.0, 64.0, 200.5]),
    played=st.lists(st.lists(st.tuples(st.integers(1, 3), orders), max_size=6), min_size=1, max_size=40),
)
def test_no_order_can_do_anything_mad(size, played):
    play = Play(replace(GAME), size=size)
    play.join("Ann", "Bob", "Cy")
    for batch in played:
        for session, (name, *args) in batch:
            play.order(session, name, *args)
        play.tick()
        check_sane(play)
    assert play.world.rows_of(AVATAR).size == 3


def busy(seed: int, ticks: int, *, resume_at: int = -1) -> list[int]:
    """The digests of a world where three players do all there is to do."""
    play = Play(GAME, size=200, seed=3)
    play.join("Ann", "Bob", "Cy")
    rng = np.random.default_rng(seed)
    digests = []
    for tick in range(ticks):
        if tick == resume_at:
            saved = play.machine.capture()
            other = Play(GAME, size=200, seed=3)
            other.machine.adopt(saved)
            other._seq = play._seq
            play = other
        for session in (1, 2, 3):
            dx, dy = rng.uniform(-1, 1, 2)
            if tick % 10 == session:
                play.order(session, "Move", dx, dy)
            play.order(session, ("Strike", "Harvest", "Build", "Respawn")[tick % 4])
            play.order(session, "Shoot", dx, dy, tick)
        play.tick()
        digests.append(play.machine.digest())
    return digests


def test_two_runs_are_one_run():
    assert busy(1, 300) == busy(1, 300)
    assert busy(1, 30) != busy(2, 30)


def test_a_world_restored_goes_on_as_if_nothing_had_been():
    assert busy(1, 120, resume_at=60) == busy(1, 120)


def test_a_world_of_version_1_goes_on_as_it_is():
    play = Play(GAME, size=200, seed=3)
    play.join("Ann")
    play.tick(5)
    old = replace(play.machine.capture(), simulation=1)
    other = Play(GAME, size=200, seed=3)
    other.machine.adopt(other.machine.migrated(old))
    assert other.machine.digest() == play.machine.digest()


def test_every_system_of_the_frontier_has_its_place():
    names = [s.__name__ for s in GAME.systems]
    assert names.index("walk_avatars") < names.index("record") < names.index("shoot") < names.index("fall")
    assert names[-1] == "pose_avatars"
    assert {p.archetype for p in PLACINGS} >= set(CREATURES)
    assert len(ARCHETYPES) == len({a.name for a in ARCHETYPES})
    assert all(target_count(Play(size=1024).world, p) > 0 for p in PLACINGS)
