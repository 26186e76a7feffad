"""The world against a plain model of it: rows, lives, references, bytes."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

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
from server.sim.world import REST_ROWS, number_of_handle
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


def make_world(capacity=40, region=0):
    return World(COMPONENTS, ARCHETYPES, capacity, BOUNDS, region=region)


class Model(RuleBasedStateMachine):
    """Any order of spawns, despawns, writes and ends of tick, beside a dict of who lives."""

    refs = Bundle("refs")

    @initialize(capacity=st.integers(1, 40))
    def make(self, capacity):
        self.world = make_world(capacity, region=3)
        self.capacity = capacity
        # Row -> (archetype, reference); rows freed but not yet cleared.
        self.alive = {}
        self.dying = set()
        # Row -> number, of the living; and every number there ever was.
        self.ids = {}
        self.numbered = set()
        # Entities on their way: what `extract` gave, and their archetypes.
        self.abroad = []

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
        ids = self.world.id_of(rows).tolist()
        for row, ref, number in zip(rows.tolist(), refs.tolist(), ids, strict=True):
            self.alive[row] = (archetype, ref)
            self.ids[row] = number
        assert not set(ids) & self.numbered
        self.numbered.update(ids)
        return multiple(*refs.tolist())

    @rule(picks=st.lists(st.integers(0, 39), max_size=6, unique=True))
    def send_away(self, picks):
        rows = [row for row in picks if row in self.alive]
        arrays = self.world.extract(np.array(rows, np.int64))
        self.abroad.append((arrays, [self.alive[row][0] for row in rows], [self.ids[row] for row in rows]))
        self.despawn(rows)

    @precondition(lambda self: self.abroad)
    @rule(elsewhere=st.booleans())
    def bring_back(self, elsewhere):
        arrays, archetypes, ids = self.abroad.pop()
        if elsewhere:
            # By way of another region, where they are the same.
            other = make_world(50, region=9)
            rows = other.insert(arrays)
            assert other.id_of(rows).tolist() == ids
            assert other.rows_by_id(np.array(ids, np.uint64)).tolist() == rows.tolist()
            assert dict(zip(*(a.tolist() for a in other.foreign()), strict=True)) == dict(
                zip(rows.tolist(), ids, strict=True)
            )
            again = other.extract(rows)
            assert frozen(again) == frozen(arrays)
            arrays = again
        if len(ids) > self.capacity - len(self.alive) - len(self.dying):
            before = self.world.digest()
            with pytest.raises(CapacityError):
                self.world.insert(arrays)
            assert self.world.digest() == before
            return
        rows = self.world.insert(arrays)
        assert frozen(self.world.extract(rows)) == frozen(arrays)
        for row, archetype, ref, number in zip(
            rows.tolist(), archetypes, self.world.ref(rows).tolist(), ids, strict=True
        ):
            assert row not in self.alive
            self.alive[row] = (archetype, ref)
            self.ids[row] = number

    @rule(rows=st.lists(st.integers(-1, 39), max_size=6))
    def despawn(self, rows):
        rows = [r for r in rows if r < self.capacity]
        self.world.despawn(np.array(rows, np.int64))
        for row in rows:
            if self.alive.pop(row, None):
                self.dying.add(row)
                del self.ids[row]

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
        copy = make_world(self.capacity, region=3)
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
            assert world.mask(*components).size == world.high_water
            assert np.flatnonzero(world.mask(*components)).tolist() == want
        for archetypes in ((), (AVATAR,), (STONE, NOTE)):
            want = sorted(r for r, (a, _) in alive.items() if a in archetypes)
            assert world.rows_of(*archetypes).tolist() == want
            assert np.flatnonzero(world.mask_of(*archetypes)).tolist() == want
        numbers = [0, *sorted(self.numbered)]
        where = {number: row for row, number in self.ids.items()}
        assert world.rows_by_id(np.array(numbers, np.uint64)).tolist() == [where.get(n, -1) for n in numbers]
        assert world.id_of(np.array([-1, *self.ids], np.int64)).tolist() == [0, *self.ids.values()]
        rows = [where.get(n, -1) for n in numbers]
        want = [r if r in alive and Health in alive[r][0].components else -1 for r in rows]
        assert world.known(np.array(numbers, np.uint64), Health).tolist() == want
        handles = np.arange(-1, self.capacity + 2)
        want = [self.ids.get(h, 0) for h in handles.tolist()]
        assert world.who_has(handles).tolist() == want
        by_handle = [number_of_handle(3, h) for h in handles[1:].tolist()]
        assert world.named(np.array(by_handle, np.uint64)).tolist() == want[1:]
        of_others = [number_of_handle(4, h) for h in handles[1:].tolist()]
        mixed = np.array([*numbers, *of_others, by_handle[0]], np.uint64)
        assert world.named(mixed).tolist() == [*numbers, *of_others, want[1]]
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
        "@ids.row": [[3, 4], [5, 4], [4, 4], [-1, 4], [4, 6]],
    }
    for name, values in changes.items():
        for value in values:
            yield f"{name} {value}", {**arrays, name: np.array(value, arrays[name].dtype)}


def test_a_refused_capture_changes_nothing():
    other, elsewhere = make_world(), make_world(region=9)
    other.spawn(AVATAR, 4)
    # Two born elsewhere.
    other.insert(elsewhere.extract(elsewhere.spawn(AVATAR, 2)))
    other.despawn(np.array([3]))
    other.end_tick()
    world = make_world()
    world.spawn(NOTE, 2)
    before = frozen(world.capture())
    for name, arrays in refused(other.capture()):
        if name == "@ids.crossings missing":
            # A capture of before they were counted.
            continue
        with pytest.raises(SnapshotError):
            world.adopt(arrays)
        assert frozen(world.capture()) == before, name
    world.adopt(other.capture())
    assert world.digest() == other.digest()


def test_a_capture_of_before_crossings_were_counted_is_one_of_none():
    world, elsewhere, other = make_world(), make_world(region=9), make_world()
    rows = world.insert(elsewhere.extract(elsewhere.spawn(AVATAR, 2)))
    arrays = world.capture()
    del arrays["@ids.crossings"]
    other.adopt(arrays)
    assert other.crossings(rows).tolist() == [0, 0]
    assert other.digest() == world.digest()


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


# -- over borders ------------------------------------------------------------------------


def travellers():
    """Two avatars and a note, with values of their own, as `extract` gives them."""
    world = make_world(region=9)
    rows = np.array([*world.spawn(AVATAR, 2), *world.spawn(NOTE)])
    world[Position].x[rows[:2]] = [1.5, 2.5]
    world[Health].points[rows[:2]] = [7, 8]
    world[Tag].past[rows[2]] = [1, 2, 3]
    world.owner[rows] = [5, 0, 6]
    return world.extract(rows[[1, 2, 0]])


def test_all_there_is_to_an_entity_goes_with_it_private_columns_too():
    arrays = travellers()
    world = make_world()
    world.spawn(STONE, 3)
    rows = world.insert(arrays)
    assert world.is_a(rows, AVATAR).tolist() == [True, False, True]
    assert world[Position].x[rows].tolist() == [2.5, 0.0, 1.5]
    assert world[Health].points[rows].tolist() == [8, 0, 7]
    assert world[Tag].past[rows[1]].tolist() == [1, 2, 3]
    assert world.owner[rows].tolist() == [0, 6, 5]
    assert (world.id_of(rows) >> np.uint64(48)).tolist() == [9, 9, 9]


def test_who_is_new_is_new_until_the_next_tick():
    world = make_world()
    assert world.new.tolist() == []
    rows = [*world.spawn(STONE, 2).tolist(), *world.insert(travellers()).tolist()]
    world.end_tick()
    assert world.new.tolist() == rows
    world.begin_tick()
    assert world.new.tolist() == []
    world.spawn(STONE)
    world.adopt(world.capture())
    assert world.new.tolist() == []


def test_what_is_no_handle_of_any_region_names_nobody():
    assert number_of_handle(3, 7) == 3 << 48 | 7
    assert [number_of_handle(*who) for who in ((3, 2**20), (2**16, 7), (2**32 - 1, 2**32 - 1), (0, 0))] == [0] * 4


def test_a_reused_row_has_a_number_of_its_own():
    world = World(COMPONENTS, ARCHETYPES, 1, BOUNDS, region=9)
    numbers = []
    for _ in range(3):
        rows = world.spawn(STONE)
        numbers += world.id_of(rows).tolist()
        world.despawn(rows)
        world.end_tick()
    assert len(set(numbers)) == 3
    assert world.rows_by_id(np.array(numbers, np.uint64)).tolist() == [-1, -1, -1]


def test_a_number_is_state():
    worlds = [make_world(region=3), make_world(region=3)]
    worlds[0].spawn(NOTE)
    worlds[1].insert(make_world(region=4).extract(np.zeros(0, np.int64)))
    elsewhere = make_world(region=4)
    elsewhere.spawn(STONE)
    worlds[1].insert(elsewhere.extract(elsewhere.spawn(NOTE)))
    assert worlds[0].digest() != worlds[1].digest()
    # Where nobody came from elsewhere, the region makes no difference to the state.
    assert make_world(region=3).digest() == make_world(region=4).digest()


@pytest.mark.parametrize("name", ["@archetype", "@id", "@owner", "Position.x", "Health.points", "Tag.past"])
def test_travellers_that_are_not_whole_are_refused(name):
    arrays = travellers()
    world = make_world()
    before = world.digest()
    other = np.float64 if arrays[name].dtype != np.float64 else np.int8
    for changed in (None, arrays[name][:-1], arrays[name].astype(other)):
        damaged = {k: v for k, v in arrays.items() if k != name}
        if changed is not None:
            damaged[name] = changed
        with pytest.raises(SnapshotError):
            world.insert(damaged)
    assert world.digest() == before


def test_nobody_is_here_twice():
    arrays = travellers()
    world = make_world()
    world.insert(arrays)
    with pytest.raises(SnapshotError, match="here already"):
        world.insert(arrays)
    with pytest.raises(SnapshotError, match="here already"):
        make_world().insert({**arrays, "@id": arrays["@id"][[0, 0, 1]]})
    with pytest.raises(SnapshotError, match="this game does not have"):
        make_world().insert({**arrays, "@archetype": arrays["@archetype"] + np.uint8(2)})


def test_a_world_without_limits_of_its_own_is_the_whole():
    assert make_world().limits == BOUNDS
    part = World(COMPONENTS, ARCHETYPES, 10, BOUNDS, limits=(-100.0, 0.0, 100.0, 100.0))
    assert (part.bounds, part.limits) == (BOUNDS, (-100.0, 0.0, 100.0, 100.0))


def test_a_world_of_more_rows_than_numbers_hold_is_refused():
    with pytest.raises(DeclarationError, match="1048576 rows"):
        make_world(capacity=(1 << 20) + 1)


@pytest.mark.parametrize("archetypes", [(), tuple(Archetype(str(i), Position) for i in range(255))])
def test_a_world_has_1_to_254_archetypes(archetypes):
    with pytest.raises(DeclarationError, match="archetypes"):
        World(COMPONENTS, archetypes, 10, BOUNDS)


def test_an_archetype_of_unlisted_components_is_refused():
    with pytest.raises(DeclarationError, match="does not list"):
        World((Position,), (AVATAR,), 10, BOUNDS)
