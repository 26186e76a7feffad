"""Commands on their way to a region: a batch per flush, in the order they were given, each naming what came before."""

from __future__ import annotations

from server.bus.memory import MemoryBus
from server.gateway.link import Link
from server.shard.machine import CHAIN, CLAIM, JOIN, LEAVE, PRESENCE, command_shapes, decode_batches
from server.shard.ports import links_topic, uplink_topic
from server.shard.uplink import UNKNOWN, Answer, Packet
from tests.gateway.glade import ADD, GAME, WALK
from tests.support.clock import VirtualClock

SHAPES = command_shapes(GAME.schema)
GATEWAY, SHARD = 77, 3


class Line:
    """A link, and the region's end of it, which answers as it is told to."""

    def __init__(self, commands_max: int = 1000, room: int = 1000) -> None:
        self.bus, self.clock = MemoryBus(), VirtualClock()
        self.link = Link(GATEWAY, self.bus, self.clock, SHARD, SHAPES, commands_max)
        self.room = room
        self.answers, self.knows = True, True
        self.packets: list[Packet] = []
        self.anew = 0
        self.bus.subscribe(uplink_topic(SHARD), self._take)
        self.bus.subscribe(links_topic(GATEWAY), self._hear)

    def _take(self, data: bytes) -> None:
        packet = Packet.decode(data)
        self.packets.append(packet)
        if self.answers:
            received = packet.number - (packet.batch is None)
            answer = Answer(SHARD, packet.stream, received if self.knows else UNKNOWN, self.room)
            self.bus.publish(links_topic(GATEWAY), answer.encode())

    def _hear(self, data: bytes) -> None:
        self.anew += self.link.hear(Answer.decode(data))

    def flush(self, *, watched: bool = False) -> dict[int, list[tuple[object, ...]]]:
        """What left by it: kind -> records."""
        before = len(self.packets)
        self.link.flush(watched=watched)
        batches = [p.batch for p in self.packets[before:] if p.batch is not None]
        assert len(batches) <= 1
        return {k: r.tolist() for batch in batches for k, r in decode_batches(batch, SHAPES).items()}


def test_nothing_leaves_where_nothing_waits():
    line = Line()
    assert line.flush() == {}
    assert line.packets == []


def test_a_ticks_commands_leave_in_one_batch_with_all_they_said():
    line = Line()
    line.link.say(WALK, 7, 1, 0, (0.5, -1.0))
    line.link.add(JOIN, 8, 0, (b"guest:8", b"Eve"))
    line.link.say(WALK, 9, 4, 3, (0.0, 1.0))
    line.link.add(LEAVE, 7, 0)
    assert line.flush() == {
        WALK: [(7, 1, 0.5, -1.0), (9, 4, 0.0, 1.0)],
        JOIN: [(8, 0, b"guest:8", b"Eve")],
        LEAVE: [(7, 0)],
        CHAIN: [(7, 1, 0), (9, 4, 3)],
    }


def test_the_first_of_a_session_in_a_batch_says_what_came_before_it_and_so_does_one_that_follows_another():
    line = Line()
    for seq, before in ((5, 4), (6, 5), (9, 6)):
        line.link.say(ADD, 7, seq, before, (1,))
    assert line.flush()[CHAIN] == [(7, 5, 4)]
    line.link.say(ADD, 7, 10, 9, (1,))
    # All over again, from what is kept.
    for seq, before in ((6, 0), (9, 6), (10, 9)):
        line.link.say(ADD, 7, seq, before, (1,))
    assert line.flush()[CHAIN] == [(7, 10, 9), (7, 6, 0)]


def test_what_was_sent_is_not_sent_again_once_it_is_answered_and_is_until_then():
    line = Line()
    line.link.say(WALK, 7, 1, 0, (0.0, 0.0))
    line.flush()
    line.clock.work(10.0)
    assert line.flush() == {}
    line.answers = False
    line.link.say(WALK, 7, 2, 1, (1.0, 1.0))
    assert [row[1] for row in line.flush()[WALK]] == [2]
    line.clock.work(1.0)
    assert [row[1] for row in line.flush()[WALK]] == [2]


def test_a_link_speaks_to_its_own_shard_alone():
    line, others = Line(), []
    line.bus.subscribe(uplink_topic(SHARD + 1), others.append)
    line.link.add(LEAVE, 5, 0)
    line.flush()
    assert (len(line.packets), len(others)) == (1, 0)


def test_a_full_link_says_so_until_it_is_flushed():
    line = Line(commands_max=2)
    line.link.add(LEAVE, 7, 0)
    assert not line.link.full
    line.link.add(LEAVE, 8, 0)
    assert line.link.full
    # The engine's own are taken all the same: a LEAVE that is lost would leave a ghost.
    line.link.add(LEAVE, 9, 0)
    assert len(line.flush()[LEAVE]) == 3
    assert not line.link.full


def test_a_region_that_answers_nothing_fills_the_window_and_then_the_link():
    line = Line(commands_max=4)
    line.answers = False
    for seq in range(1, 100):
        if line.link.full:
            break
        line.link.say(WALK, 7, seq, seq - 1, (0.0, 1.0))
        line.link.flush(watched=False)
    assert line.link.full
    assert line.link.stuck
    line.answers = True
    line.clock.work(1.0)
    line.link.flush(watched=False)
    assert not line.link.stuck
    assert not line.link.full


def test_while_a_region_has_no_owner_no_more_waits_than_there_are_sessions():
    line = Line(commands_max=100)
    line.answers = False
    for seq in range(1, 65):
        line.link.say(WALK, 6, seq, seq - 1, (0.0, 1.0))
        line.link.flush(watched=False)
    assert line.link.stuck
    for connection in range(1, 5000):
        # One whose connection breaks again and again, and newcomers who give up.
        line.link.add(PRESENCE, 7, connection, (connection % 2,))
        line.link.add(CLAIM, 7, connection, (connection * 100,))
        line.link.add(JOIN, 8, connection, (b"guest:8", b"Eve"))
        line.link.add(LEAVE, 9, 0)
        line.link.add(JOIN, 1000 + connection, 0, (b"guest", b"Eve"))
        line.link.add(PRESENCE, 1000 + connection, 1, (0,))
        line.link.add(CLAIM, 1000 + connection, 1, (connection * 100,))
        assert line.link.withdraw(1000 + connection, (b"guest", b"Eve"))
        assert not line.link.withdraw(9, (b"guest", b"Eve"))
    assert not line.link.full
    line.answers = True
    line.clock.work(10.0)
    line.link.flush(watched=False)
    batch = line.packets[-1].batch
    assert batch is not None
    assert {k: r.tolist() for k, r in decode_batches(batch, SHAPES).items()} == {
        # Each once, the last of each, in the order in which they were last said.
        PRESENCE: [(7, 4998, 0), (7, 4999, 1)],
        JOIN: [(8, 4999, b"guest:8", b"Eve")],
        LEAVE: [(9, 0)],
        CLAIM: [(7, 4999, 499_900)],
    }
    assert not line.link.full


def test_more_than_the_region_has_room_for_waits_and_the_engines_own_do_not():
    line = Line(room=2)
    line.link.add(LEAVE, 8, 0)
    line.flush()
    for session, n in ((7, 2), (5, 1)):
        for seq in range(1, n + 1):
            line.link.say(WALK, session, seq, seq - 1, (0.0, 1.0))
    line.link.add(LEAVE, 9, 0)
    # The session that began to wait first has room, and with it what its inputs follow.
    first = line.flush()
    assert first == {LEAVE: [(9, 0)], WALK: [(7, 1, 0.0, 1.0), (7, 2, 0.0, 1.0)], CHAIN: [(7, 1, 0)]}
    line.room = 0
    line.clock.work(1.0)
    assert line.flush(watched=True) == {}
    # It made room meanwhile, and is asked before anything is held back.
    line.room = 1
    assert line.flush() == {WALK: [(5, 1, 0.0, 1.0)], CHAIN: [(5, 1, 0)]}


def test_a_region_that_knows_nothing_of_us_is_told_nothing_of_what_was_meant_for_the_other():
    line = Line()
    line.link.say(WALK, 7, 1, 0, (0.0, 1.0))
    line.flush()
    line.knows = False
    line.link.say(WALK, 7, 2, 1, (0.0, 1.0))
    line.flush()
    assert line.anew == 1
    line.knows = True
    line.link.say(WALK, 7, 1, 0, (0.0, 1.0))
    assert line.flush()[CHAIN] == [(7, 1, 0)]
    assert (line.packets[-1].stream, line.packets[-1].number) == (2, 1)


def test_a_region_that_is_watched_hears_that_we_are_there_and_another_does_not():
    line = Line()
    for _ in range(10):
        line.clock.work(1.0)
        line.flush(watched=False)
    assert line.packets == []
    for _ in range(10):
        line.clock.work(1.0)
        line.flush(watched=True)
    assert [p.batch for p in line.packets] == [None] * 10
