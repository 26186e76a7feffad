"""The fan-out's bytes against the codec's readable reference, view by view."""

from __future__ import annotations

import random

import numpy as np
import pytest

from protocol.codec import decode_server, encode_delta, encode_event, encode_keyframe
from protocol.messages import Delta, Keyframe
from server.gateway.fanout import Fanout, websocket_frame
from server.gateway.interest import Interest, ViewSpec
from server.gateway.replica import Change, Replica
from server.regions.frame import Frame, RegionSpec
from tests.gateway.meadow import SCHEMA, Region, Thing, messages

SPECS = [RegionSpec(1, 0.0, 0.0, 256.0, 128.0, 256), RegionSpec(60_000, 0.0, 0.0, 100.0, 300.0, 70_000)]
VIEW = ViewSpec(16.0, 1, 2, 4, 2.0)


class Bench:
    """A region, its replica and the fan-out, a tick at a time."""

    def __init__(self, spec: RegionSpec, seed: int, view: ViewSpec = VIEW) -> None:
        self.region = Region(spec, random.Random(seed))
        self.view = view
        for handle in range(100):
            self.region.spawn(handle, self.region.thing())
        self.replica = Replica(SCHEMA, Interest(view, SCHEMA, spec.width, spec.height), spec.entities_max, spec.handle)
        self.fanout = Fanout(self.replica, spec.id, 8)
        self.region.frame()
        self.replica.apply(Frame.decode(self.region.keyframe(), SCHEMA))

    def tick(self) -> tuple[dict[int, Thing], dict[int, int], Change]:
        """(who lived before, their cells, what changed)."""
        lives = {h: Thing(t.archetype, dict(t.parts)) for h, t in self.region.things.items()}
        cells = self.cells()
        self.same = dict(self.region.things)
        self.region.live(set())
        change = self.replica.apply(Frame.decode(self.region.frame(), SCHEMA))
        return lives, cells, change

    def cells(self) -> dict[int, int]:
        interest = self.replica.interest
        places = {h: t.place for h, t in self.region.things.items()}
        return {h: int(interest.cell(np.array([x]), np.array([y]))[0]) for h, (x, y) in places.items()}

    def encode(self, change: Change, centres: list[int], *, speak: bool = False) -> tuple[list[bytes], list[bytes]]:
        wants = [True] * len(centres)
        return self.fanout.encode(change, np.array(centres), wants, wants, [], self.view.far_every_ticks, speak=speak)

    def apart(self, a: int, b: int) -> int:
        return int(self.replica.interest.distance(np.array([a]), np.int64(b))[0])


def payload(frame: bytes) -> bytes:
    (message,) = messages(frame)
    return message


@pytest.mark.parametrize("spec", SPECS, ids=["u16", "u32"])
@pytest.mark.parametrize("seed", range(3))
def test_a_delta_is_the_codecs_delta_of_the_same_content(spec: RegionSpec, seed: int):
    bench = Bench(spec, seed)
    compared = 0
    for _ in range(15):
        lives, before, change = bench.tick()
        after, now = bench.cells(), bench.region.things
        centres = sorted(set(after.values()) | set(before.values()))[::3]
        near, _ = bench.encode(change, centres, speak=True)
        for centre, frame in zip(centres, near, strict=True):
            compared += 1
            old = {h for h, c in before.items() if bench.apart(c, centre) <= 2}
            new = {h for h, c in after.items() if bench.apart(c, centre) <= 2}
            reused = {h for h in lives.keys() & now.keys() if bench.same[h] is not now[h]}
            closer = {h for h in old & new if bench.apart(before[h], centre) > 1 and bench.apart(after[h], centre) <= 1}
            leaves = (old - new) | (old & reused)
            enters = (new - old) | (new & reused) | closer
            changed = {
                c: {
                    h
                    for h in now.keys() & lives.keys()
                    if h not in reused
                    and c in now[h].parts
                    and now[h].parts[c] != lives[h].parts[c]
                    and bench.apart(after[h], centre) <= 1
                }
                for c in range(3)
            }
            check(bench, spec, payload(frame), leaves, enters, changed)
    assert compared > 100


def check(
    bench: Bench, spec: RegionSpec, data: bytes, leaves: set[int], enters: set[int], changed: dict[int, set[int]]
) -> None:
    """`data` is the DELTA of this content, and byte for byte the codec's, given the order of its records."""
    delta = decode_server(data)
    assert isinstance(delta, Delta)
    width = 2 if spec.handle == "u16" else 4
    now = bench.region.things
    assert {*map(bytes, cut(delta.leaves, width))} == {h.to_bytes(width, "little") for h in leaves}
    entered = {record for a, records in delta.enters for record in cut(records, size_of(a, spec.handle))}
    assert entered == {now[h].record(h, spec.handle) for h in enters}
    for component, handles in changed.items():
        records = b"".join(r for c, r in delta.changes if c == component)
        size = SCHEMA.change_dtype(component, spec.handle).itemsize
        expected = np.array(
            [(h, *now[h].parts[component]) for h in sorted(handles)], SCHEMA.change_dtype(component, spec.handle)
        )
        assert sorted(cut(records, size)) == sorted(cut(expected.tobytes(), size))
    assert data == encode_delta(spec.id, bench.region.tick, delta.leaves, delta.enters, delta.changes)


def cut(data: bytes, size: int) -> list[bytes]:
    assert len(data) % size == 0
    return [data[at : at + size] for at in range(0, len(data), size)]


def size_of(archetype: int, handle: str) -> int:
    return SCHEMA.record_dtype(archetype, handle).itemsize


@pytest.mark.parametrize("spec", SPECS, ids=["u16", "u32"])
def test_a_keyframe_is_the_codecs_keyframe(spec: RegionSpec):
    bench = Bench(spec, 7)
    for _ in range(5):
        bench.tick()
    where = bench.cells()
    for centre in sorted(set(where.values())):
        data = payload(bench.fanout.keyframe(centre))
        keyframe = decode_server(data)
        assert isinstance(keyframe, Keyframe)
        records = {r for a, records in keyframe.enters for r in cut(records, size_of(a, spec.handle))}
        seen = [h for h, c in where.items() if bench.apart(c, centre) <= 2]
        assert records == {bench.region.things[h].record(h, spec.handle) for h in seen}
        assert data == encode_keyframe(spec.id, bench.region.tick, keyframe.enters)


def test_the_ring_brings_all_that_changed_since_it_came_last():
    bench = Bench(SPECS[0], 8)
    ago = []
    for _ in range(8):
        lives, _, change = bench.tick()
        ago.append((lives, dict(bench.same)))
    where = bench.cells()
    centres = sorted(set(where.values()))
    _, ring = bench.encode(change, centres, speak=True)
    then, same = ago[-4]
    for centre, frame in zip(centres, ring, strict=True):
        delta = decode_server(payload(frame))
        assert isinstance(delta, Delta)
        for component in range(3):
            size = SCHEMA.change_dtype(component, "u16").itemsize
            brought = {
                int.from_bytes(r[:2], "little") for c, rs in delta.changes if c == component for r in cut(rs, size)
            }
            in_view = {h for h, c in where.items() if bench.apart(c, centre) <= 2}
            assert brought <= in_view
            for handle in in_view:
                thing = bench.region.things[handle]
                lived = handle in then and then[handle].archetype == thing.archetype
                if component in thing.parts and lived and then[handle].parts[component] != thing.parts[component]:
                    assert handle in brought
    assert same


def test_nothing_is_encoded_for_nobody_and_silence_is_empty():
    bench = Bench(SPECS[0], 9)
    nothing = bench.replica.apply(Frame.decode(bench.region.frame(), SCHEMA))
    centre = next(iter(bench.cells().values()))
    assert bench.fanout.encode(nothing, np.array([centre]), [True], [False], [], 4, speak=False)[0] == [b""]
    _, _, change = bench.tick()
    near, ring = bench.fanout.encode(change, np.array([centre]), [False], [False], [], 4, speak=True)
    assert (near, ring) == ([b""], [b""])
    assert bench.fanout.encode(change, np.zeros(0, np.int64), [], [], [], 4, speak=True) == ([], [])


def test_a_view_of_nothing_has_an_empty_keyframe_and_the_digest_of_nothing():
    bench = Bench(SPECS[0], 10)
    bench.region.things.clear()
    bench.replica.apply(Frame.decode(bench.region.frame(), SCHEMA))
    centre = int(bench.replica.interest.cell(np.array([0]), np.array([0]))[0])
    assert decode_server(payload(bench.fanout.keyframe(centre))) == Keyframe(1, 2, ())
    assert bench.fanout.view_digest(centre) == (0, 0)


def test_of_one_places_events_the_newest_are_kept():
    bench = Bench(SPECS[0], 11)
    _, _, change = bench.tick()
    centre = next(iter(bench.cells().values()))
    events = [(centre, websocket_frame(encode_event(1, n, []))) for n in range(20)]
    (frame,), _ = bench.fanout.encode(change, np.array([centre]), [True], [False], events, 4, speak=True)
    heard = [decode_server(m) for m in messages(frame)][1:]
    assert [m.event for m in heard] == list(range(12, 20))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_a_finished_frame_has_the_shortest_header_of_rfc_6455(size: int):
    frame = websocket_frame(b"x" * size)
    assert payload(frame) == b"x" * size
    assert len(frame) - size == (2 if size < 126 else 4 if size < 65_536 else 10)
