"""Frames: a replica that applies them one by one has what the world has, at every tick."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from protocol.schema import Wire
from server.regions.frame import (
    ARRIVED,
    BOUND,
    DEPARTED,
    Frame,
    FrameBuilder,
    FrameEvent,
    Quantiser,
    RegionSpec,
    replicated_digest,
)
from server.shard.errors import BatchError
from server.shard.machine import NOTHING, PROCESSED
from server.sim import F32, Archetype, Component, DeclarationError, column
from tests.support.pasture import GAME, PLAYER, REGION, SHEEP, SKY, STONE, Body, Position, Weather, pasture
from tests.support.replica import PlainReplica

ARCHETYPES = (PLAYER, SHEEP, STONE, SKY)
SCHEMA = GAME.schema
VALUES = {
    "x": (-32.0, -31.995, 0.0, 95.99, 500.0, -500.0, float("nan")),
    "y": (16.0, 17.0, 17.001, 100.0),
    "wool": (0, 3, 255),
    "name": (b"", b"Ada", b"eight by"),
    "heat": (0.0, -0.0, 0.5, float("nan"), float("inf"), 1e-40),
    "moves": (0, 1, 2),
    "rain": (0, 9),
}


class Streamed:
    """A world, the builder of its frames, and a replica that hears every frame from the first."""

    def __init__(self, capacity=12):
        self.world = GAME.world(capacity, REGION.bounds)
        self.builder = FrameBuilder(GAME, self.world)
        self.tick = 0
        self.replica = PlainReplica(SCHEMA)
        self.replica.tick = 0

    def frame(self, *, key=False):
        nobody = np.zeros(0, np.uint32)
        left, (entered, archetypes, changes) = (nobody, self.builder.whole()) if key else self._build()
        self.tick += not key
        digest = self.builder.digest()
        return Frame(
            REGION.id, self.tick, key, left, entered, archetypes, self.world.id_of(entered.astype(int)), changes,
            np.zeros(0, BOUND), [], NOTHING.processed, [], digest,
        )  # fmt: skip

    def _build(self):
        left, entered, archetypes, changes = self.builder.build()
        return left, (entered, archetypes, changes)

    def advance(self):
        """Send the next frame; returns it as it arrived."""
        frame = self.replica.apply(self.frame().encode())
        self.check(self.replica)
        return frame

    def check(self, replica):
        """The replica holds each living entity's quantised state, and nothing else."""
        archetype, records = {}, {}
        for number, kind in enumerate(ARCHETYPES):
            if Position not in kind.components:
                continue
            for row in self.world.rows_of(kind).tolist():
                archetype[row] = number
                for id_, component in enumerate(GAME.replicated):
                    if component in kind.components:
                        parts = [
                            Quantiser(c.wire, c.dtype, REGION.origin)(getattr(self.world[component], n)[[row]])
                            for n, c in component.columns.items()
                            if c.wire
                        ]
                        records[row, id_] = b"".join(part.tobytes() for part in parts)
        assert replica.archetype == archetype
        assert replica.records == records
        assert replica.digest() == self.builder.digest()


class Model(RuleBasedStateMachine):
    """Any lives, moves and ends of tick between frames; the replica never differs."""

    @initialize(capacity=st.integers(3, 12))
    def make(self, capacity):
        self.streamed = Streamed(capacity)
        self.world = self.streamed.world

    @rule(archetype=st.sampled_from(ARCHETYPES), n=st.integers(1, 3))
    def spawn(self, archetype, n):
        free = self.world.capacity - self.world.high_water + self.world._free.size
        self.world.spawn(archetype, min(n, free))

    @rule(rows=st.lists(st.integers(0, 11), max_size=4))
    def despawn(self, rows):
        self.world.despawn(np.array([r for r in rows if r < self.world.capacity], np.int64))

    @rule(archetypes=st.lists(st.sampled_from(ARCHETYPES), min_size=1, max_size=3))
    def reuse_at_once(self, archetypes):
        """A full world gives a row that was freed this very moment to somebody else, between two frames."""
        rows = np.flatnonzero(self.world.alive)[: len(archetypes)]
        self.world.despawn(rows)
        self.world.end_tick()
        for archetype, _ in zip(archetypes, rows, strict=False):
            self.world.spawn(archetype)

    @rule(name=st.sampled_from(sorted(VALUES)), row=st.integers(0, 11), data=st.data())
    def write(self, name, row, data):
        component = next(c for c in (Position, Body, Weather) if name in c.columns)
        # A system may write to rows that died this tick, or that lack the component; nobody must see it.
        getattr(self.world[component], name)[row % self.world.capacity] = data.draw(st.sampled_from(VALUES[name]))

    @rule()
    def frame(self):
        self.world.end_tick()
        self.streamed.advance()
        quiet = self.streamed.advance()
        assert not quiet.left.size
        assert not quiet.entered.size
        assert not quiet.changes

    @rule()
    def a_newcomer_starts_from_a_keyframe(self):
        self.world.end_tick()
        self.streamed.advance()
        newcomer = PlainReplica(SCHEMA)
        newcomer.apply(self.streamed.frame(key=True).encode())
        self.streamed.check(newcomer)

    @rule()
    def the_builder_starts_over(self):
        """As after a restore: what replicas have is what the world is."""
        self.world.end_tick()
        self.streamed.advance()
        self.streamed.builder.reset()
        assert self.streamed.builder.digest() == self.streamed.replica.digest()


Model.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase


def test_only_what_changed_on_the_wire_is_sent():
    streamed = Streamed()
    world = streamed.world
    sheep = world.spawn(SHEEP, 3)
    world[Position].x[sheep] = 8.0
    assert streamed.advance().entered.tolist() == sheep.tolist()
    world[Body].moves[sheep] += 1
    world[Position].x[sheep] += 0.001
    assert not streamed.advance().changes, "neither private columns nor less than half a step"
    world[Position].x[sheep[1]] += 1
    changes = streamed.advance().changes
    assert list(changes) == [0]
    assert changes[0][0].tolist() == [1]
    assert changes[0][1].tolist() == [(round((9.001 + 32) * 64), 0)]


def test_less_than_half_a_step_adds_up():
    streamed = Streamed()
    row = streamed.world.spawn(SHEEP)
    streamed.advance()
    sent = 0
    for _ in range(64):
        streamed.world[Position].x[row] += 1 / 256
        sent += len(streamed.advance().changes)
    assert sent == 16


def test_minus_nought_is_a_change_since_the_digest_sees_it():
    streamed = Streamed()
    row = streamed.world.spawn(SHEEP)
    streamed.world[Body].heat[row] = 0.0
    streamed.advance()
    streamed.world[Body].heat[row] = -0.0
    assert list(streamed.advance().changes) == [1]


def test_nan_is_sent_once():
    streamed = Streamed()
    row = streamed.world.spawn(SHEEP)
    streamed.world[Body].heat[row] = np.nan
    streamed.advance()
    assert not streamed.advance().changes


def test_an_entity_that_lived_between_two_frames_was_never_there():
    streamed = Streamed()
    rows = streamed.world.spawn(SHEEP, 2)
    streamed.world.despawn(rows)
    streamed.world.end_tick()
    frame = streamed.advance()
    assert (frame.left.size, frame.entered.size, frame.changes) == (0, 0, {})


def test_a_row_that_is_reused_left_and_entered():
    streamed = Streamed(capacity=1)
    streamed.world.spawn(STONE)
    streamed.advance()
    streamed.world.despawn(np.array([0]))
    streamed.world.end_tick()
    streamed.world.spawn(STONE)
    frame = streamed.advance()
    assert frame.left.tolist() == frame.entered.tolist() == [0]
    assert list(frame.changes) == [0], "its records come in full, though they are what they were"


def test_places_are_the_numbers_that_positions_have():
    streamed = Streamed()
    x, y = np.array([-32.0, 0.5, 1e9], np.float32), np.array([16.0, 17.25, -1e9], np.float32)
    assert streamed.builder.place(x, y) == ([0, 2080, 65_535], [0, 80, 0])


def test_places_do_not_depend_on_the_order_in_which_a_position_is_declared():
    class Turned(Component):
        y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))
        x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))

    thing = Archetype("thing", Turned)
    game = replace(GAME, position=Turned, archetypes=(thing,), commands=(), events=(), systems=())
    world = game.world(4, REGION.bounds)
    row = world.spawn(thing)
    world[Turned].x[row], world[Turned].y[row] = -31.0, 18.0
    builder = FrameBuilder(game, world)
    sent = builder.whole()[2][0][1]
    assert (
        ([sent["x"][0]], [sent["y"][0]]) == builder.place(world[Turned].x[row], world[Turned].y[row]) == ([64], [128])
    )


def test_a_region_whose_far_corner_the_wire_cannot_reach_is_refused():
    # 65,536 steps of 1/64.
    FrameBuilder(GAME, GAME.world(4, (0.0, 0.0, 1024.0, 1024.0)))
    with pytest.raises(DeclarationError, match="reaches 1024 units"):
        FrameBuilder(GAME, GAME.world(4, (0.0, 0.0, 1024.0, 1025.0)))
    FrameBuilder(GAME, GAME.world(4, (0.0, 0.0, 992.0, 992.0)), margin=16.0)
    with pytest.raises(DeclarationError, match=r"1008 by 992 and a margin of 16:"):
        FrameBuilder(GAME, GAME.world(4, (0.0, 0.0, 1008.0, 992.0)), margin=16.0)


def test_a_margin_lets_places_past_the_border_travel():
    world = GAME.world(8, (100.0, 200.0, 300.0, 400.0))
    rows = world.spawn(STONE, 5)
    xs = world[Position].x[rows] = np.array([84.0, 100.0, 300.0, 316.0, 0.0], np.float32)
    ys = world[Position].y[rows] = np.array([200.0, 184.0, 416.0, 400.0, 0.0], np.float32)
    builder = FrameBuilder(GAME, world, margin=16.0)
    sent = builder.whole()[2][0][1]
    ox, oy = RegionSpec(1, 100.0, 200.0, 200.0, 200.0, 8, 16.0).origin
    assert (sent["x"] / 64 + ox).tolist() == [*xs[:4].tolist(), ox], "what is farther out is shown at the edge"
    assert (sent["y"] / 64 + oy).tolist() == [*ys[:4].tolist(), oy]


@pytest.mark.parametrize(("entities_max", "handle"), [(1, "u16"), (65_536, "u16"), (65_537, "u32")])
def test_a_regions_size_says_how_wide_handles_are(entities_max, handle):
    spec = RegionSpec(1, -5.0, 2.0, 10.0, 20.0, entities_max)
    assert spec.handle == handle
    assert spec.bounds == (-5.0, 2.0, 5.0, 22.0)


def test_the_digest_tells_archetypes_rows_and_records_apart():
    place = SCHEMA.components[0].dtype
    rows, records = np.array([1, 2], np.uint32), np.array([(1, 2), (3, 4)], place)

    def digest(archetypes=(255, 0, 1), rows=rows, records=records):
        return replicated_digest(np.array(archetypes, np.uint8), {0: (rows, records)})

    others = [
        digest((255, 0, 0)),
        digest((0, 0, 1)),
        digest(rows=rows + np.uint32(1)),
        digest(records=records[::-1].copy()),
    ]
    assert len({digest(), *others}) == 5
    assert digest((255, 0, 1, 255, 255)) == digest(), "rows that were never used do not count"


def test_a_replica_that_missed_something_has_another_digest():
    streamed = Streamed()
    streamed.world.spawn(SHEEP, 3)
    streamed.advance()
    before = streamed.builder.digest()
    for change in (lambda: streamed.world[Body].wool.__setitem__(1, 9), lambda: streamed.world.spawn(STONE)):
        change()
        streamed.advance()
        assert streamed.builder.digest() != before
        before = streamed.builder.digest()


# -- bytes -----------------------------------------------------------------------------


def example():
    place, body = (c.dtype for c in SCHEMA.components[:2])
    return Frame(
        region=4,
        tick=77,
        key=False,
        left=np.array([2, 9], "<u4"),
        entered=np.array([3], "<u4"),
        archetypes=np.array([1], "u1"),
        numbers=np.array([2**64 - 1], "<u8"),
        changes={
            0: (np.array([3, 5], "<u4"), np.array([(1, 2), (65_535, 0)], place)),
            1: (np.array([3], "<u4"), np.array([(3, b"Ada", 0.5)], body)),
        },
        bound=np.array([(2**64 - 1, 3)], BOUND),
        refused=[(8, "full")],
        acks=np.array([(7, 2**32 - 1)], PROCESSED),
        events=[FrameEvent((7, 8), None, b"m"), FrameEvent((), (5, 6), b"n"), FrameEvent((), None, b"")],
        digest=2**64 - 1,
        departed=np.array([(2, 2**64 - 1, 2**63, 6), (9, 1, 0, 65_535)], DEPARTED),
        arrived=np.array([(3, 2**63 + 1, 5)], ARRIVED),
    )


def test_a_frame_reads_back_as_it_was():
    frame = example()
    data = frame.encode()
    back = Frame.decode(data, SCHEMA)
    assert back.encode() == data
    assert (back.region, back.tick, back.key, back.digest) == (4, 77, False, 2**64 - 1)
    assert (back.refused, back.events) == (frame.refused, frame.events)
    for name in ("left", "entered", "archetypes", "bound", "acks", "departed", "arrived"):
        assert getattr(back, name).tolist() == getattr(frame, name).tolist(), name
    assert {c: (r.tolist(), v.tolist()) for c, (r, v) in back.changes.items()} == {
        0: ([3, 5], [(1, 2), (65_535, 0)]),
        1: ([3], [(3, b"Ada", 0.5)]),
    }


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("ahead", [0, 1, 2**40])
def test_what_is_told_of_division_and_clock_arrives(divided, ahead):
    frame = replace(example(), divided=divided, ahead=ahead)
    back = Frame.decode(frame.encode(), SCHEMA)
    assert (back.divided, back.ahead) == (divided, ahead)
    # Where there is nothing to tell, nothing is sent.
    assert (frame.encode() == example().encode()) == (not divided and not ahead)


@pytest.mark.parametrize("ahead", [-1, 1.5, float("inf"), "7", True, [3]])
def test_a_clock_that_is_none_is_refused(ahead):
    with pytest.raises(BatchError):
        Frame.decode(replace(example(), ahead=ahead).encode(), SCHEMA)


def test_every_truncation_of_a_frame_is_refused():
    data = example().encode()
    for size in range(len(data)):
        with pytest.raises(BatchError):
            Frame.decode(data[:size], SCHEMA)


@pytest.mark.parametrize(
    "damage",
    [
        {"archetypes": np.zeros(2, "u1")},
        {"archetypes": np.zeros(0, "u1")},
        {"changes": {0: (np.zeros(3, "<u4"), np.zeros(2, SCHEMA.components[0].dtype))}},
        {"changes": {99: (np.zeros(2, "<u4"), np.zeros(2, SCHEMA.components[0].dtype))}},
        {"changes": {1: (np.zeros(2, "<u4"), np.zeros(2, SCHEMA.components[0].dtype))}},
    ],
    ids=["archetypes too many", "archetypes missing", "records missing", "unknown component", "records of another"],
)
def test_frames_whose_parts_contradict_each_other_are_refused(damage):
    with pytest.raises(BatchError):
        Frame.decode(replace(example(), **damage).encode(), SCHEMA)


@given(st.binary(max_size=60), st.integers(0, 1000))
def test_any_bytes_are_a_frame_or_refused(noise, at):
    data = example().encode()
    at %= len(data)
    for damaged in (noise, data[:at] + noise + data[at + len(noise) :]):
        try:
            frame = Frame.decode(damaged, SCHEMA)
        except BatchError:
            continue
        assert frame.entered.size == frame.archetypes.size


def test_a_region_nobody_touches_sends_next_to_nothing():
    machine = pasture()
    machine.step(NOTHING)
    assert len(machine.step(NOTHING).frame) < 32
