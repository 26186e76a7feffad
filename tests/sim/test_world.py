"""The world against a plain model of it: rows, lives, references, bytes."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from server.sim import (
    F32,
    I16,
    Archetype,
    Bytes,
    CapacityError,
    Component,
    DeclarationError,
    SnapshotError,
    Wire,
    World,
    column,
)
from server.sim.world import REST_ROWS
from tests.support.captures import damaged, frozen


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", axis="y"))


class Health(Component):
    points: I16 = column(np.int16, default=100)


class Tag(Component):
    text: Bytes = column("S4", default=b"new")
    past: F32 = column(np.float32, shape=(3,), default=0.5)


COMPONENTS = (Position, Health, Tag)
AVATAR = Archetype("avatar", Position, Health)
STONE = Archetype("stone", Position)
NOTE = Archetype("note", Tag)
ARCHETYPES = (AVATAR, STONE, NOTE)
BOUNDS = (0.0, 0.0, 100.0, 100.0)


def make_world(capacity=40):
    return World(COMPONENTS, ARCHETYPES, capacity, BOUNDS)


class Model(RuleBasedStateMachine):
    """Any order of spawns, despawns, writes and ends of tick, beside a dict of who lives."""

    refs = Bundle("refs")

    @initialize(capacity=st.integers(1, 40))
    def make(self, capacity):
        self.world = make_world(capacity)
        self.capacity = capacity
        # Row -> (archetype, reference); rows freed but not yet cleared.
        self.alive = {}
        self.dying = set()

    @rule(target=refs, archetype=st.sampled_from(ARCHETYPES), n=st.integers(0, 12))
    def spawn(self, archetype, n):
        room = self.capacity - len(self.alive) - len(self.dying)
        if n > room:
            before = self.world.digest()
            with pytest.raises(CapacityError):
                self.world.spawn(archetype, n)
            assert self.world.digest() == before
            return multiple()
        rows = self.world.spawn(archetype, n)
        assert rows.shape == (n,)
        assert rows.dtype == np.int64
        assert len(set(rows.tolist())) == n
        assert not set(rows.tolist()) & (set(self.alive) | self.dying)
        refs = self.world.ref(rows)
        for component in COMPONENTS:
            for name, array in self.world[component].arrays():
                has = component in archetype.components
                default = component.columns[name].default if has else np.zeros((), array.dtype)
                assert (array[rows] == default).all()
        for row, ref in zip(rows.tolist(), refs.tolist(), strict=True):
            self.alive[row] = (archetype, ref)
        return multiple(*refs.tolist())

    @rule(rows=st.lists(st.integers(-1, 39), max_size=6))
    def despawn(self, rows):
        rows = [r for r in rows if r < self.capacity]
        self.world.despawn(np.array(rows, np.int64))
        for row in rows:
            if self.alive.pop(row, None):
                self.dying.add(row)

    @rule(x=st.floats(-100, 100, width=32))
    def write(self, x):
        for component, name in ((Position, "x"), (Health, "points"), (Tag, "past")):
            rows = self.world.rows(component)
            getattr(self.world[component], name)[rows] = int(x)
        self.world.owner[self.world.rows(Position)] = 7

    @rule()
    def end_tick(self):
        self.world.end_tick()
        self.dying.clear()

    @rule()
    def go_on_as_a_copy(self):
        self.end_tick()
        copy = make_world(self.capacity)
        # Whatever the copy was before must not show.
        copy.spawn(AVATAR, self.capacity)
        copy.despawn(np.arange(self.capacity // 2))
        copy.adopt(self.world.capture())
        assert copy.digest() == self.world.digest()
        assert frozen(copy.capture()) == frozen(self.world.capture())
        self.world = copy

    @rule(ref=refs)
    def resolve(self, ref):
        expected = next((row for row, (_, r) in self.alive.items() if r == ref), -1)
        assert self.world.resolve(np.array([ref], np.uint64)).tolist() == [expected]

    @invariant()
    def queries_agree(self):
        if not hasattr(self, "world"):
            return
        world, alive = self.world, self.alive
        assert world.count == len(alive)
        assert np.flatnonzero(world.alive).tolist() == sorted(alive)
        for components in ((), (Position,), (Position, Health), (Tag,), (Tag, Health)):
            want = sorted(r for r, (a, _) in alive.items() if set(components) <= set(a.components))
            assert world.rows(*components).tolist() == want
        for archetypes in ((), (AVATAR,), (STONE, NOTE)):
            assert world.rows_of(*archetypes).tolist() == sorted(r for r, (a, _) in alive.items() if a in archetypes)
        handles = np.arange(-1, self.capacity + 2)
        want = [h if h in alive and Health in alive[h][0].components else -1 for h in handles.tolist()]
        assert world.known(handles, Health).tolist() == want
        rows = np.arange(-1, self.capacity)
        is_avatar = [r in alive and alive[r][0] is AVATAR for r in rows.tolist()]
        assert world.is_a(rows, AVATAR).tolist() == is_avatar

    @invariant()
    def cleared_rows_are_zero(self):
        if not hasattr(self, "world"):
            return
        dead = np.array([r for r in range(self.capacity) if r not in self.alive and r not in self.dying], np.int64)
        for component in COMPONENTS:
            for _, array in self.world[component].arrays():
                assert not array[dead].view(np.uint8).any()
        assert not self.world.owner[dead].any()


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase


def test_a_freed_row_rests_while_fresh_ones_are_left():
    world = make_world(capacity=3 * REST_ROWS)
    first = world.spawn(STONE, REST_ROWS)
    world.despawn(first)
    world.end_tick()
    fresh = world.spawn(STONE, 10)
    assert fresh.min() >= REST_ROWS
    world.despawn(fresh[:4])
    world.end_tick()
    # Four more than must rest are free: the four that rested longest come first.
    assert world.spawn(STONE, 5).tolist() == [0, 1, 2, 3, REST_ROWS + 10]


def test_a_full_world_uses_rows_that_still_rest():
    world = make_world(capacity=3)
    world.spawn(STONE, 3)
    world.despawn(np.array([1]))
    with pytest.raises(CapacityError):
        world.spawn(STONE)
    world.end_tick()
    assert world.spawn(STONE).tolist() == [1]
    assert world.generation[:3].tolist() == [1, 2, 1]


def test_the_digest_sees_every_column_and_every_row():
    def digest(change):
        world = make_world()
        world.spawn(AVATAR, 3)
        world.spawn(NOTE, 2)
        change(world)
        return world.digest()

    def write(component, name, row, value):
        def change(world):
            getattr(world[component], name)[row] = value

        return change

    def own(world):
        world.owner[2] = 9

    def end(world):
        world.despawn(np.array([1]))
        world.end_tick()

    def begin(world):
        world.spawn(STONE)

    changes = [
        write(Position, "x", 0, 0),
        write(Position, "x", 0, 1),
        write(Position, "x", 2, 1),
        write(Position, "y", 0, 1),
        write(Health, "points", 1, 99),
        write(Tag, "text", 4, b"old"),
        write(Tag, "past", (4, 2), 0.25),
        own,
        end,
        begin,
    ]
    assert len({digest(change) for change in changes}) == len(changes)
    assert digest(own) == digest(own)


def test_the_order_of_free_rows_is_state():
    a, b = make_world(), make_world()
    for world, order in ((a, (0, 1)), (b, (1, 0))):
        world.spawn(STONE, 2)
        for row in order:
            world.despawn(np.array([row]))
            world.end_tick()
    assert a.digest() != b.digest()


def test_queries_are_not_for_writing():
    world = make_world()
    world.spawn(AVATAR, 3)
    for rows in (world.rows(Position), world.rows_of(AVATAR)):
        with pytest.raises(ValueError):
            rows[0] = 9


def refused(arrays):
    """Ways in which arrays are no state of this world."""
    yield from damaged(arrays)
    changes = {
        "@world": [[41, 6], [40, 7], [40, 4000]],
        "@archetypes": [[b"avatar", b"stone", b"rock"], [b"avatar", b"stone"]],
        "@archetype": [[9, 0, 0, 255, 0, 0], [0, 255, 0, 255, 0, 0]],
        "@free": [[0], [99], [-1], [3, 3], []],
        "Tag@rows": [[0, 0], [-1], [40], [6]],
    }
    for name, values in changes.items():
        for value in values:
            yield f"{name} {value}", {**arrays, name: np.array(value, arrays[name].dtype)}


def test_a_refused_capture_changes_nothing():
    other = make_world()
    other.spawn(AVATAR, 6)
    other.despawn(np.array([3]))
    other.end_tick()
    world = make_world()
    world.spawn(NOTE, 2)
    before = frozen(world.capture())
    for name, arrays in refused(other.capture()):
        with pytest.raises(SnapshotError):
            world.adopt(arrays)
        assert frozen(world.capture()) == before, name
    world.adopt(other.capture())
    assert world.digest() == other.digest()


def test_what_few_have_is_kept_for_those_few():
    world = make_world()
    world.spawn(AVATAR, 20)
    notes = world.spawn(NOTE, 3)
    world[Tag].past[notes] = np.arange(9).reshape(3, 3)
    arrays = world.capture()
    assert arrays["Tag@rows"].tolist() == notes.tolist()
    assert arrays["Tag.past"].tolist() == world[Tag].past[notes].tolist()
    assert "Position@rows" not in arrays
    copy = make_world()
    copy.spawn(NOTE, 30)
    copy.adopt(arrays)
    assert copy.digest() == world.digest()


def test_a_capture_of_other_components_is_refused():
    other = World((Position, Health), (AVATAR, STONE), 40, BOUNDS)
    other.spawn(AVATAR)
    with pytest.raises(SnapshotError):
        make_world().adopt(other.capture())


def test_an_empty_world_survives():
    world = make_world()
    copy = make_world()
    copy.spawn(AVATAR, 5)
    copy.adopt(world.capture())
    assert copy.digest() == world.digest()
    assert copy.spawn(AVATAR, 2).tolist() == [0, 1]


@pytest.mark.parametrize("archetypes", [(), tuple(Archetype(str(i), Position) for i in range(255))])
def test_a_world_has_1_to_254_archetypes(archetypes):
    with pytest.raises(DeclarationError, match="archetypes"):
        World(COMPONENTS, archetypes, 10, BOUNDS)


def test_an_archetype_of_unlisted_components_is_refused():
    with pytest.raises(DeclarationError, match="does not list"):
        World((Position,), (AVATAR,), 10, BOUNDS)
