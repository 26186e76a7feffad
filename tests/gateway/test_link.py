"""Commands on their way to a region: one batch per flush, in the order they were given."""

from __future__ import annotations

from server.bus.memory import MemoryBus
from server.gateway.link import Link
from server.shard.machine import JOIN, LEAVE, command_shapes, decode_batches
from server.shard.ports import commands_topic
from tests.gateway.glade import GAME, WALK

SHAPES = command_shapes(GAME.schema)


def listening(shard: int = 3) -> tuple[Link, list[bytes]]:
    bus, published = MemoryBus(), []
    bus.subscribe(commands_topic(shard), published.append)
    return Link(bus, shard, SHAPES, 1000), published


def test_nothing_is_published_where_nothing_waits():
    link, published = listening()
    link.flush()
    assert published == []


def test_a_ticks_commands_leave_in_one_batch_with_all_they_said():
    link, published = listening()
    link.add(WALK, 7, 1, (0.5, -1.0))
    link.add(JOIN, 8, 0, (b"guest:8", b"Eve"))
    link.add(WALK, 9, 4, (0.0, 1.0))
    link.add(LEAVE, 7, 0)
    link.flush()
    (data,) = published
    batches = decode_batches(data, SHAPES)
    assert {kind: records.tolist() for kind, records in batches.items()} == {
        WALK: [(7, 1, 0.5, -1.0), (9, 4, 0.0, 1.0)],
        JOIN: [(8, 0, b"guest:8", b"Eve")],
        LEAVE: [(7, 0)],
    }


def test_what_was_published_is_not_published_again():
    link, published = listening()
    link.add(WALK, 7, 1, (0.0, 0.0))
    link.flush()
    link.flush()
    link.add(WALK, 7, 2, (1.0, 1.0))
    link.flush()
    assert [decode_batches(data, SHAPES)[WALK]["seq"].tolist() for data in published] == [[1], [2]]


def test_a_link_speaks_to_its_own_shard_alone():
    bus, mine, others = MemoryBus(), [], []
    bus.subscribe(commands_topic(1), mine.append)
    bus.subscribe(commands_topic(2), others.append)
    link = Link(bus, 1, SHAPES, 1000)
    link.add(LEAVE, 5, 0)
    link.flush()
    assert (len(mine), len(others)) == (1, 0)


def test_a_full_link_says_so_until_it_is_flushed():
    bus, published = MemoryBus(), []
    bus.subscribe(commands_topic(1), published.append)
    link = Link(bus, 1, SHAPES, 2)
    link.add(LEAVE, 7, 0)
    assert not link.full
    link.add(LEAVE, 8, 0)
    assert link.full
    # The engine's own are taken all the same: a LEAVE that is lost would leave a ghost.
    link.add(LEAVE, 9, 0)
    link.flush()
    assert not link.full
    assert len(decode_batches(published[0], SHAPES)[LEAVE]) == 3


def test_more_than_the_region_has_room_for_waits_and_the_engines_own_do_not():
    link, published = listening()
    for seq in (1, 2, 3):
        link.add(WALK, 7, seq, (0.0, 1.0))
    link.add(LEAVE, 9, 0)
    link.flush(2)
    assert set(decode_batches(published[0], SHAPES)) == {LEAVE}
    link.flush(3)
    assert len(decode_batches(published[1], SHAPES)[WALK]) == 3
    link.flush(0)
    assert len(published) == 2
