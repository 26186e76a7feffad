"""The replica holds what the region holds, or says that it does not."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from server.gateway.errors import FrameGap
from server.gateway.interest import Interest, ViewSpec
from server.gateway.replica import NO_ARCHETYPE, NOWHERE, Change, Overtaken, Replica
from server.regions.frame import DEPARTED, Frame, RegionSpec
from tests.gateway.meadow import SCHEMA, Region, Thing

SPEC = RegionSpec(1, 0.0, 0.0, 256.0, 128.0, 256)
VIEW = ViewSpec(16.0, 1, 2, 4, 2.0)


def replica() -> Replica:
    return Replica(SCHEMA, Interest(VIEW, SCHEMA, SPEC.width, SPEC.height), SPEC.entities_max, SPEC.handle)


def lively(seed: int) -> Region:
    region = Region(SPEC, random.Random(seed))
    for handle in range(80):
        region.spawn(handle, region.thing())
    return region


def apply(target: Replica, data: bytes) -> Change:
    return target.apply(Frame.decode(data, SCHEMA))


def held(target: Replica) -> dict[int, Thing]:
    """What a replica holds, read back one by one."""
    things = {}
    for handle in np.flatnonzero(target.archetype != NO_ARCHETYPE).tolist():
        archetype = int(target.archetype[handle])
        parts = {c: tuple(target.values[c][handle].tolist()) for c in SCHEMA.archetypes[archetype].components}
        things[handle] = Thing(archetype, parts)
    return things


def cells(target: Replica, region: Region) -> dict[int, int]:
    places = {h: t.place for h, t in region.things.items()}
    interest = target.interest
    return {h: int(interest.cell(np.array([x]), np.array([y]))[0]) for h, (x, y) in places.items()}


@pytest.mark.parametrize("seed", range(4))
def test_it_holds_what_the_region_holds_after_every_tick(seed: int):
    region, target = lively(seed), replica()
    first = region.frame()
    with pytest.raises(FrameGap):
        apply(replica(), region.frame())
    apply(target, region.keyframe())
    assert first
    for _ in range(40):
        before = cells(target, region)
        lives = dict(region.things)
        region.live(set())
        change = apply(target, region.frame())
        assert held(target) == region.things
        after = cells(target, region)
        here = {h: int(target.cell[h]) for h in after}
        assert here == after
        assert set(np.flatnonzero(target.cell != NOWHERE).tolist()) == set(after)
        assert moves(change) == expected_moves(lives, region.things, before, after)
        for component, (handles, values) in change.changes.items():
            assert handles.tolist() == sorted(set(handles.tolist()))
            for handle, value in zip(handles.tolist(), values.tolist(), strict=True):
                assert lives.get(handle) is region.things[handle], "a change of what only began"
                assert tuple(value) == region.things[handle].parts[component]


def moves(change: Change) -> list[tuple[int, int, int]]:
    return sorted(zip(change.moved.tolist(), change.before.tolist(), change.after.tolist(), strict=True))


def expected_moves(
    lives: dict[int, Thing], now: dict[int, Thing], before: dict[int, int], after: dict[int, int]
) -> list[tuple[int, int, int]]:
    found = []
    for handle in lives.keys() | now.keys():
        if lives.get(handle) is now.get(handle):
            if before[handle] != after[handle]:
                found.append((handle, before[handle], after[handle]))
            continue
        if handle in lives:
            found.append((handle, before[handle], NOWHERE))
        if handle in now:
            found.append((handle, NOWHERE, after[handle]))
    return sorted(found)


def test_a_handle_that_was_reused_ends_before_it_begins():
    region, target = lively(1), replica()
    region.frame()
    apply(target, region.keyframe())
    del region.things[5]
    region.spawn(5, Thing(1, {0: (64, 64)}))
    change = apply(target, region.frame())
    ends = [i for i, (h, a) in enumerate(zip(change.moved, change.after, strict=True)) if h == 5 and a == NOWHERE]
    begins = [i for i, (h, b) in enumerate(zip(change.moved, change.before, strict=True)) if h == 5 and b == NOWHERE]
    assert ends < begins
    assert len(ends) == len(begins) == 1


def test_a_frame_that_does_not_follow_is_a_gap():
    region, target = lively(2), replica()
    region.frame()
    apply(target, region.keyframe())
    once = region.frame()
    apply(target, once)
    with pytest.raises(FrameGap, match="tick 2 after tick 2"):
        apply(target, once)
    region.frame()
    with pytest.raises(FrameGap, match="tick 4 after tick 2"):
        apply(target, region.frame())


def test_a_replica_that_drifted_says_so_at_the_next_digest():
    region, target = lively(3), replica()
    region.frame()
    apply(target, region.keyframe())
    target.values[0]["x"][7] ^= 1
    for _ in range(5):
        apply(target, region.frame())
    with pytest.raises(FrameGap, match="digest of tick 7 does not hold"):
        apply(target, region.frame())


def test_a_keyframe_forgets_all_there_was():
    region, target = lively(4), replica()
    region.frame()
    apply(target, region.keyframe())
    region.things.clear()
    region.spawn(9, Thing(2, {0: (1, 2), 2: (b"a", -1), 1: (3,)}))
    region.frame()
    apply(target, region.keyframe())
    assert held(target) == region.things
    assert np.flatnonzero(target.cell != NOWHERE).tolist() == [9]


def test_handles_lie_by_cell_and_a_view_is_a_square_of_them():
    region, target = lively(5), replica()
    region.frame()
    apply(target, region.keyframe())
    where = cells(target, region)
    handles, offsets = target.by_cell()
    for cell in range(target.interest.count):
        there = sorted(h for h, c in where.items() if c == cell)
        assert handles[offsets[cell] : offsets[cell + 1]].tolist() == there
    for centre in sorted(set(where.values())):
        distance = target.interest.distance
        near = [h for h, c in where.items() if distance(np.array([c]), np.int64(centre))[0] <= VIEW.far]
        assert sorted(target.seen_from(centre).tolist()) == sorted(near)


def test_full_records_are_as_the_page_packs_them():
    region, target = lively(6), replica()
    region.frame()
    apply(target, region.keyframe())
    for archetype in range(3):
        of = [h for h, t in sorted(region.things.items()) if t.archetype == archetype]
        packed = target.full_records(archetype, np.array(of)).tobytes()
        assert packed == b"".join(region.things[h].record(h, "u16") for h in of)


# -- who departs -----------------------------------------------------------------------


def departing(region: Region, handles: list[int], *, destination: int = 9) -> Frame:
    """The tick in which these go to another region. Their numbers are their handles and a thousand."""
    for handle in handles:
        del region.things[handle]
    gone = np.array([(handle, handle + 1000, 0, destination) for handle in handles], DEPARTED)
    return replace(Frame.decode(region.frame(), SCHEMA), departed=gone)


def settled(seed: int) -> tuple[Region, Replica]:
    region, target = lively(seed), replica()
    region.frame()
    apply(target, region.keyframe())
    return region, target


def test_one_who_departs_is_held_as_it_was_seen_last_and_the_digest_does_not_mind():
    region, target = settled(1)
    before = dict(region.things)
    change = target.apply(departing(region, [3, 7]))
    assert {number: (h.handle, h.destination) for number, h in target.held.items()} == {1003: (3, 9), 1007: (7, 9)}
    assert held(target) == before
    assert not {3, 7} & set(change.moved.tolist())
    # Frames of some of these ticks carry the region's digest, which is without them.
    for _ in range(10):
        target.apply(Frame.decode(region.frame(), SCHEMA))
        assert held(target) == before


def test_one_who_is_released_is_gone_and_was_where_it_is_said_to_have_been():
    region, target = settled(2)
    place = int(target.cell[5])
    target.apply(departing(region, [5]))
    assert target.release(1005) == (5, place)
    assert target.release(1005) is None
    assert held(target) == region.things
    assert target.cell[5] == NOWHERE
    assert 5 not in target.seen_from(place)


def test_who_is_on_the_way_is_held_over_a_keyframe_but_where_somebody_is_there_again():
    region, target = settled(3)
    before, cell = held(target), int(target.cell[6])
    target.apply(departing(region, [5, 6]))
    region.spawn(5, region.thing())
    region.frame()
    apply(target, region.keyframe())
    assert list(target.held) == [1006]
    assert held(target) == {**region.things, 6: before[6]}
    assert target.cell[6] == cell
    assert target.digest() == Frame.decode(region.keyframe(), SCHEMA).digest, "the region has them no more"
    assert target.release(1006) == (6, cell)
    assert held(target) == region.things


def test_in_a_world_that_was_set_back_nobody_is_held_for_longer():
    region, target = settled(3)
    target.apply(departing(region, [5]))
    region.frame()
    apply(target, replace(Frame.decode(region.keyframe(), SCHEMA), tick=1).encode())
    assert target.held[1005].tick == 1


def test_one_who_came_back_unheard_and_departs_again_is_held_once():
    region, target = settled(4)
    target.apply(departing(region, [5]))
    # As row 6, by the number of 1005: the frame in which it came back was lost.
    again = departing(region, [6])
    again.departed["id"] = 1005
    change = target.apply(again)
    assert target.held[1005].handle == 6
    assert len(target.held) == 1
    assert 5 in change.moved
    assert set(held(target)) == {*region.things, 6}


@pytest.mark.parametrize("keyframe", [False, True])
def test_one_who_is_shown_elsewhere_when_it_departs_is_not_held(keyframe: bool):
    region, target = settled(6)
    place = int(target.cell[5])
    target.overtaken[1005] = Overtaken(target.tick, 9)
    if keyframe:
        region.frame()
        apply(target, region.keyframe())
    change = target.apply(departing(region, [5, 6]))
    assert (5, place, NOWHERE) in moves(change)
    assert list(target.held) == [1006]
    assert target.overtaken == {}
    assert target.cell[5] == NOWHERE
    assert set(held(target)) == {*region.things, 6}
    # Once: its next departure is another one.
    region.spawn(5, region.thing())
    apply(target, region.frame())
    target.apply(departing(region, [5]))
    assert 1005 in target.held


def test_one_who_departs_to_elsewhere_than_where_it_was_shown_is_held():
    region, target = settled(7)
    target.overtaken[1005] = Overtaken(target.tick, 8)
    target.apply(departing(region, [5]))
    assert list(target.held) == [1005]
    assert target.overtaken == {}


def test_a_departure_that_does_not_come_is_not_waited_for_for_ever():
    region, target = settled(8)
    target.overtaken = {1005: Overtaken(4, 9), 1006: Overtaken(5, 9)}
    target.forget(before=5)
    assert list(target.overtaken) == [1006]
    region.frame()
    # A world that was set back.
    apply(target, replace(Frame.decode(region.keyframe(), SCHEMA), tick=1).encode())
    target.forget(before=2)
    assert target.overtaken == {}


def test_a_keyframe_that_says_nothing_new_is_told_from_one_that_does():
    region, target = settled(5)
    same = Frame.decode(region.keyframe(), SCHEMA)
    assert target.same(same)
    region.walk(next(iter(region.things)), 5, 5)
    region.frame()
    assert not target.same(Frame.decode(region.keyframe(), SCHEMA))
    assert not target.same(replace(same, digest=(same.digest or 0) ^ 1))
