"""Who plays here, against a dict."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.regions.sessions import Sessions
from server.shard.machine import PROCESSED
from server.sim.errors import SnapshotError
from tests.support.captures import damaged
from tests.support.pasture import GAME, REGION, SHEEP

IDS = st.sampled_from((1, 2, 3, 50, 2**63, 2**64 - 1))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), IDS),
        st.tuples(st.just("remove"), st.lists(IDS, max_size=4)),
        st.tuples(st.just("applied"), st.dictionaries(IDS, st.integers(0, 2**32 - 1), max_size=4)),
    ),
    max_size=30,
)
ALL = np.array([0, 1, 2, 3, 4, 50, 2**63, 2**64 - 1], np.uint64)


def world_of(n):
    world = GAME.world(REGION.entities_max, REGION.bounds)
    return world, world.spawn(SHEEP, n).tolist()


@given(OPERATIONS)
def test_any_comings_and_goings(operations):
    world, rows = world_of(40)
    table, model = Sessions(), {}
    for operation, what in operations:
        if operation == "add" and what not in model:
            model[what] = (rows[len(model)], 0)
            table.add(what, model[what][0], 1, b"player", b"name")
        elif operation == "remove":
            table.remove(np.array(what, np.uint64))
            model = {s: v for s, v in model.items() if s not in what}
        elif operation == "applied":
            table.applied(np.array(sorted(what.items()), PROCESSED))
            model |= {s: (model[s][0], q) for s, q in what.items() if s in model}
        assert len(table) == len(model)
        assert table.rows(ALL, world).tolist() == [model.get(s, (-1, 0))[0] for s in ALL.tolist()]
        assert table.seqs(ALL).tolist() == [model.get(s, (0, -1))[1] for s in ALL.tolist()]
        assert (table.find(ALL) >= 0).tolist() == [s in model for s in ALL.tolist()]
        back = Sessions()
        back.adopt(table.capture(), world.capacity)
        assert back.to_bytes() == table.to_bytes()


def test_equal_sets_have_equal_bytes_whoever_came_first():
    one, other = Sessions(), Sessions()
    for table, order in ((one, (5, 1, 9)), (other, (9, 5, 1))):
        for session in order:
            table.add(session, session, 1, b"player", b"name")
    one.add(7, 7, 1, b"player", b"name")
    one.remove(np.array([7], np.uint64))
    assert one.to_bytes() == other.to_bytes()


def test_a_row_that_somebody_else_has_now_is_not_the_sessions():
    world, rows = world_of(2)
    table = Sessions()
    table.add(5, rows[0], 1, b"player", b"name")
    table.add(6, rows[1], 1, b"player", b"name")
    assert table.whose_entity_ended(world).tolist() == []
    world.despawn(np.array(rows[:1]))
    assert table.rows(ALL[:0], world).tolist() == []
    assert table.whose_entity_ended(world).tolist() == [5]
    world.end_tick()
    world.adopt(world.capture())
    world.spawn(SHEEP, REGION.entities_max - 1)
    assert world.archetype[rows[0]] != 255, "the row lives again"
    assert table.whose_entity_ended(world).tolist() == [5]
    assert table.rows(np.array([5, 6], np.uint64), world).tolist() == [-1, rows[1]]


def test_a_damaged_table_is_refused_and_changes_nothing():
    table = Sessions()
    table.add(1, 3, 1, b"player", b"name")
    table.add(2, 4, 1, b"player", b"name")
    before, good = table.to_bytes(), table.capture()
    backwards = {name: array[::-1] for name, array in good.items()}
    twice = {name: array[[0, 0]] for name, array in good.items()}
    beyond = {**good, "@sessions.row": np.array([3, 64])}
    below = {**good, "@sessions.row": np.array([-1, 4])}
    for name, arrays in [*damaged(good)[:-1], ("order", backwards), ("twice", twice), ("64", beyond), ("-1", below)]:
        with pytest.raises(SnapshotError):
            table.adopt(arrays, 64)
        assert table.to_bytes() == before, name


def test_a_keyframe_can_tell_everyone_who_is_here():
    table = Sessions()
    table.add(9, 4, 1, b"account", "Zoë".encode())
    table.add(2, 7, 3, b"guest:2", b"Al")
    table.applied(np.array([(9, 41)], PROCESSED))
    assert table.known().tolist() == [(2, 7, 0, b"guest:2", b"Al"), (9, 4, 41, b"account", "Zoë".encode())]
