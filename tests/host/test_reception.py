"""Who speaks for a session, and what becomes of those for whom nobody does.

A long module: gateways that say too much, too late or nothing are asked about at the same desk.
"""

from collections.abc import Sequence
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from structlog.testing import capture_logs

from server.bus.memory import MemoryBus
from server.host.reception import Reception, ReceptionOptions
from server.shard.inbox import Inbox
from server.shard.machine import AWAY, CLAIM, HERE, JOIN, LEAVE, LET_GO, NOTHING, PRESENCE, encode_batches
from server.shard.ports import SEEK_TOPIC, links_topic, sessions_topic, uplink_topic
from server.shard.uplink import UNKNOWN, Answer, Outgoing
from server.sim.game import FIRST_COMMAND
from tests.support.clock import VirtualClock
from tests.support.march import ATLAS, Position, region
from tests.support.pasture import REGION, pasture

SHARD = REGION.id


class Desk:
    """A pasture's reception, and gateways before it."""

    EPOCH = 3

    def __init__(self, inbox_max=1000, machine=None, **options):
        self.machine, self.bus, self.clock = machine or pasture(), MemoryBus(), VirtualClock(100.0)
        self.inbox = Inbox(self.machine.shapes, inbox_max, 8)
        self.reception = Reception(
            self.machine, self.inbox, self.bus, self.clock, ReceptionOptions(**options), lambda: self.EPOCH
        )
        self.links = {g: Outgoing(g) for g in (1, 2)}
        # What the host's clock shows when a gateway's shows 0.
        self.origins_s = {1: 0.0, 2: 0.0}
        self.answers, self.told = {1: [], 2: []}, {1: [], 2: []}
        # (kind, session, arguments) of what ticks were given, in order.
        self.given = []
        for gateway in self.links:
            self.bus.subscribe(
                links_topic(gateway), lambda data, g=gateway: self.answers[g].append(Answer.decode(data))
            )
            self.bus.subscribe(
                sessions_topic(gateway), lambda data, g=gateway: self.told[g].append(msgpack.unpackb(data))
            )

    def send(self, gateway, *orders):
        """Orders: (kind, session, seq, *arguments)."""
        self.bus.publish(uplink_topic(SHARD), self.sent(gateway, *orders))
        for answer in self.answers[gateway]:
            self.links[gateway].hear(answer, self.now_s(gateway))

    def sent(self, gateway, *orders):
        """A packet that nobody has heard yet."""
        kinds: Sequence[int] = sorted({kind for kind, *_ in orders})
        batches = {
            k: np.array([tuple(rest) for kind, *rest in orders if kind == k], self.machine.shapes[k].dtype)
            for k in kinds
        }
        return self.links[gateway].send(encode_batches(batches), self.now_s(gateway))

    def now_s(self, gateway):
        """What a gateway's clock shows."""
        return self.clock.now_s() - self.origins_s[gateway]

    def tick(self, *, alive=(1, 2)):
        """Half a second."""
        self.clock.work(0.5)
        for gateway in alive:
            for data in self.links[gateway].due(self.now_s(gateway)):
                self.bus.publish(uplink_topic(SHARD), data)
        self.reception.sweep()
        inputs = self.inbox.take(self.machine.high_water)
        for kind, records in inputs.batches.items():
            self.given += [(kind, r[0], *r[2:]) for r in records.tolist()]
        self.machine.step(inputs)

    def ticks(self, seconds, **options):
        for _ in range(round(seconds * 2)):
            self.tick(**options)

    def join(self, gateway, *sessions):
        joins = [(JOIN, s, 0, b"player%d" % s, b"Ada") for s in sessions]
        self.send(gateway, *joins, *((CLAIM, s, 0, self.ago_ms(gateway)) for s in sessions))
        self.tick()
        self.given.clear()

    def ago_ms(self, gateway, seconds=0.0):
        """So long ago, as a gateway says it."""
        return int((self.now_s(gateway) - seconds) * 1000) % 2**32

    def here(self, gateway, session, word, *, ago_s=0.0):
        """A gateway says that its player, who came there so long ago, is there."""
        self.send(gateway, (PRESENCE, session, word, HERE), (CLAIM, session, word, self.ago_ms(gateway, ago_s)))


def test_batches_reach_the_inbox_once_and_are_answered():
    desk = Desk()
    desk.join(1, 7)
    assert desk.machine.attending() == {7}
    assert {(a.stream, a.received) for a in desk.answers[1]} == {(1, 1)}
    for data in desk.links[1].due(desk.clock.now_s() + 10):
        desk.bus.publish(uplink_topic(SHARD), data)
    desk.tick()
    assert desk.given == []


def test_what_a_gateway_said_before_it_fell_silent_and_comes_late_begins_nothing():
    desk = Desk()
    first = desk.sent(1, (JOIN, 7, 0, b"player7", b"Ada"))
    desk.bus.publish(uplink_topic(SHARD), first)
    desk.ticks(1)
    desk.send(1, (LEAVE, 7, 0))
    desk.ticks(4, alive=(2,))
    desk.bus.publish(uplink_topic(SHARD), first)
    desk.tick(alive=(2,))
    assert desk.machine.attending() == set()
    # The gateway has had the answers to both: of the stream that the late one began the next is the third.
    desk.send(1, (JOIN, 8, 0, b"player8", b"Bea"))
    assert desk.answers[1][-1].received == UNKNOWN
    desk.send(1, (JOIN, 8, 0, b"player8", b"Bea"))
    desk.tick()
    assert desk.machine.attending() == {8}


def test_a_session_that_a_gateway_speaks_for_stays_for_as_long_as_the_gateway_likes():
    desk = Desk()
    desk.join(1, 7)
    desk.send(1, (PRESENCE, 7, 1, AWAY))
    desk.ticks(300)
    assert desk.given == [(PRESENCE, 7, AWAY)]
    desk.send(1, (LEAVE, 7, 0))
    desk.tick()
    assert desk.machine.attending() == set()


def test_one_who_joins_while_no_ticks_are_made_is_her_gateways_however_long_that_takes():
    desk = Desk()
    desk.tick()
    desk.send(1, (JOIN, 7, 0, b"player7", b"Ada"), (CLAIM, 7, 0, desk.ago_ms(1)))
    # The store is away, and the gateway is still heard.
    for _ in range(20):
        desk.clock.work(0.5)
        desk.bus.publish(uplink_topic(SHARD), desk.links[1].here(desk.now_s(1)))
    desk.ticks(60)
    assert desk.given == [(JOIN, 7, b"player7", b"Ada")]
    # A claim on one who never comes is not kept for it.
    desk.send(1, (CLAIM, 8, 0, desk.ago_ms(1)))
    desk.ticks(6)
    desk.told[1].clear()
    desk.here(2, 8, 1)
    assert desk.told[1] == []


def test_a_silent_gateways_sessions_are_away_at_once_and_leave_when_the_grace_time_is_over():
    desk = Desk()
    desk.join(1, 7, 8)
    desk.ticks(3.5, alive=(2,))
    assert desk.given == [(PRESENCE, 7, AWAY), (PRESENCE, 8, AWAY)]
    # One of them is resumed at another gateway.
    desk.ticks(20, alive=(2,))
    desk.here(2, 8, 1)
    desk.ticks(20, alive=(2,))
    assert desk.given[2:] == [(PRESENCE, 8, HERE), (LEAVE, 7)]
    desk.ticks(100, alive=(2,))
    assert desk.machine.attending() == {8}


def test_a_gateway_that_looks_here_no_more_is_no_gateway_that_is_gone():
    desk = Desk()
    desk.join(1, 7)
    desk.ticks(5, alive=(1,))
    # The second looked on, without a player here.
    assert desk.reception.counts["gateway_silent"] == 0
    desk.ticks(5, alive=())
    assert desk.reception.counts["gateway_silent"] == 1


def test_who_is_found_at_the_start_has_the_grace_time_to_be_spoken_for():
    desk = Desk()
    desk.join(1, 7, 8)
    # The shard comes back in another process.
    desk.reception.close()
    desk.reception = Reception(desk.machine, desk.inbox, desk.bus, desk.clock, ReceptionOptions())
    desk.ticks(20)
    assert desk.answers[1][-1].received == UNKNOWN
    assert desk.links[1].hear(desk.answers[1][-1], desk.clock.now_s())
    desk.here(1, 7, 1, ago_s=60.0)
    desk.ticks(20)
    assert desk.given == [(PRESENCE, 7, AWAY), (PRESENCE, 8, AWAY), (PRESENCE, 7, HERE), (LEAVE, 8)]


def test_where_nobody_is_waited_for_a_gateway_has_its_time_to_speak_for_who_is_found():
    before = Desk()
    before.join(1, 7, 8)
    desk = Desk(machine=before.machine, grace_s=0.0)
    desk.ticks(2)
    desk.here(1, 7, 1, ago_s=60.0)
    desk.ticks(5)
    assert desk.given == [(PRESENCE, 7, HERE), (PRESENCE, 8, AWAY), (LEAVE, 8)]


def test_the_grace_time_of_one_whom_nobody_speaks_for_yet_begins_when_the_world_takes_her_for_away():
    desk = Desk()
    desk.join(1, 7)
    desk.reception.close()
    desk.reception = Reception(desk.machine, desk.inbox, desk.bus, desk.clock, ReceptionOptions())
    while not desk.given:
        desk.tick(alive=())
    assert desk.given == [(PRESENCE, 7, AWAY)]
    desk.ticks(ReceptionOptions().grace_s, alive=())
    assert desk.machine.attending() == {7}
    desk.tick(alive=())
    assert desk.given[1:] == [(LEAVE, 7)]


def test_a_gateway_whose_session_was_taken_over_is_told_and_speaks_for_it_no_more():
    desk = Desk()
    desk.join(1, 7)
    desk.here(2, 7, 1)
    assert desk.told == {1: [["taken", SHARD, 7, 0]], 2: []}
    desk.tick()
    # What the first still says of it is old, and shows that it has not heard.
    desk.told[1].clear()
    desk.send(1, (PRESENCE, 7, 9, AWAY))
    assert desk.told[1] == [["taken", SHARD, 7, 9]]
    desk.here(1, 7, 10, ago_s=60.0)
    assert desk.told[1][1:] == [["taken", SHARD, 7, 10]]
    desk.send(1, (LEAVE, 7, 0))
    assert desk.told[1][2:] == [["taken", SHARD, 7, 0]]
    desk.tick()
    assert desk.given == [(PRESENCE, 7, HERE)]
    # The first falls silent: that is nothing to this session.
    desk.ticks(60, alive=(2,))
    assert desk.machine.attending() == {7}


def test_a_gateway_is_told_that_a_session_was_taken_over_until_it_has_heard():
    desk = Desk()
    desk.join(1, 7)
    desk.here(2, 7, 1)
    desk.ticks(5)
    assert desk.told[1] == [["taken", SHARD, 7, 0]] * 11
    # It is cut off for a while; nobody would hear.
    desk.ticks(2.5, alive=(2,))
    before = len(desk.told[1])
    desk.ticks(10, alive=(2,))
    assert len(desk.told[1]) == before
    desk.ticks(1)
    assert len(desk.told[1]) > before
    # The first of these is of a stream that is not known any more.
    for _ in range(2):
        desk.send(1, (PRESENCE, 7, 0, LET_GO), (PRESENCE, 8, 0, LET_GO))
    desk.told[1].clear()
    desk.ticks(5)
    assert desk.told == {1: [], 2: []}
    assert desk.given == [(PRESENCE, 7, HERE)]
    desk.here(1, 7, 1)
    assert desk.told == {1: [], 2: [["taken", SHARD, 7, 1]]}
    # Nor is one told for ever that does not understand.
    desk.ticks(61)
    desk.told[2].clear()
    desk.ticks(5)
    assert desk.told == {1: [], 2: []}


@pytest.mark.parametrize("later_first", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_of_two_gateways_the_one_has_a_session_that_its_player_came_to_last(*, later_first, known):
    desk = Desk()
    desk.join(1, 7)
    desk.clock.work(60.0)
    if not known:
        # The shard has another host now, which has heard of nobody.
        desk.reception.close()
        desk.reception = Reception(desk.machine, desk.inbox, desk.bus, desk.clock, ReceptionOptions())
        for gateway in (1, 2):
            desk.links[gateway] = Outgoing(gateway)
            desk.links[gateway].stream = 2
    words = [(1, 30.0), (2, 20.0)]
    for gateway, ago_s in words[::-1] if later_first else words:
        desk.here(gateway, 7, 1, ago_s=ago_s)
    last = desk.told[1][-1]
    assert last == ["taken", SHARD, 7, 1]
    assert desk.told[2] == []
    desk.tick()
    desk.told[1].clear()
    # Cut off as it is, it hears nothing of that, and says so again.
    desk.here(1, 7, 2, ago_s=30.5)
    assert desk.told == {1: [["taken", SHARD, 7, 2]], 2: []}
    # Her player is back.
    desk.here(1, 7, 3)
    assert desk.told[2] == [["taken", SHARD, 7, 1]]
    desk.ticks(5)
    assert desk.told[1] == [["taken", SHARD, 7, 2]]


def test_a_claim_that_is_late_because_it_was_lost_is_not_of_one_who_came_late():
    desk = Desk()
    desk.join(1, 7)
    desk.clock.work(1.0)
    # Nobody hears it.
    desk.sent(2, (PRESENCE, 7, 1, HERE), (CLAIM, 7, 1, desk.ago_ms(2)))
    desk.clock.work(1.0)
    desk.here(1, 7, 1)
    desk.tick()
    assert desk.told[1] == []
    assert ["taken", SHARD, 7, 1] in desk.told[2]
    assert desk.given == [(PRESENCE, 7, HERE)]


def test_a_claim_that_overtakes_what_was_said_before_it_is_not_taken_for_one_of_long_ago():
    desk = Desk()
    desk.join(1, 7)
    desk.clock.work(1.0)
    before = desk.sent(2, (PRESENCE, 8, 1, AWAY))
    desk.clock.work(0.25)
    for data in (desk.sent(2, (CLAIM, 7, 1, desk.ago_ms(2))), before):
        desk.bus.publish(uplink_topic(SHARD), data)
    assert desk.told == {1: [["taken", SHARD, 7, 0]], 2: []}


# Or so that the second one's is about to begin anew.
@pytest.mark.parametrize("origin_s", [0.0, 100.0, 101.5 - 2**32 / 1000])
@pytest.mark.parametrize("later_first", [False, True])
def test_of_claims_that_waited_as_their_host_was_stopped_the_one_of_who_came_last_counts(*, later_first, origin_s):
    desk = Desk()
    desk.origins_s[2] = origin_s
    desk.join(1, 7)
    earlier = desk.sent(1, (PRESENCE, 7, 1, HERE), (CLAIM, 7, 1, desk.ago_ms(1)))
    desk.clock.work(1.0)
    # She was looked for, for as long as half of that.
    later = desk.sent(2, (PRESENCE, 7, 1, HERE), (CLAIM, 7, 1, desk.ago_ms(2, 0.5)))
    desk.clock.work(0.5)
    for data in (later, earlier) if later_first else (earlier, later):
        desk.bus.publish(uplink_topic(SHARD), data)
    assert desk.told[1][-1] == ["taken", SHARD, 7, 1]
    assert desk.told[2] == []


def test_a_gateways_clock_that_falls_behind_makes_nobody_come_sooner():
    desk = Desk()
    desk.join(1, 7)
    for _ in range(60):
        desk.clock.work(0.5)
        desk.origins_s[2] += 0.2
        for gateway, link in desk.links.items():
            desk.bus.publish(uplink_topic(SHARD), link.here(desk.now_s(gateway)))
    desk.here(1, 7, 1, ago_s=5.0)
    desk.here(2, 7, 1)
    assert desk.told == {1: [["taken", SHARD, 7, 1]], 2: []}


def test_what_was_said_of_an_older_word_lets_go_of_no_newer_one():
    desk = Desk()
    desk.join(1, 7)
    desk.here(2, 7, 1)
    desk.here(1, 7, 5, ago_s=60.0)
    desk.send(1, (PRESENCE, 7, 0, LET_GO))
    desk.told[1].clear()
    desk.ticks(1)
    assert desk.told[1] == [["taken", SHARD, 7, 5]] * 2
    desk.send(1, (PRESENCE, 7, 5, LET_GO))
    desk.told[1].clear()
    desk.ticks(1)
    assert desk.told[1] == []


def test_a_session_whose_gateway_heard_late_that_it_was_anothers_is_nobodys():
    desk = Desk()
    # It was told so by another region, and spoke for her here sooner.
    desk.join(1, 7)
    desk.send(1, (PRESENCE, 7, 5, LET_GO))
    desk.ticks(ReceptionOptions().grace_s + 5, alive=(1,))
    assert desk.given == []
    desk.send(1, (PRESENCE, 7, 0, LET_GO))
    desk.ticks(ReceptionOptions().grace_s + 5, alive=(1,))
    assert desk.given == [(PRESENCE, 7, AWAY), (LEAVE, 7)]


def test_who_is_left_while_it_is_silent_hears_of_it_and_ends_no_grace_time():
    desk = Desk()
    desk.join(1, 7)
    desk.send(1, (PRESENCE, 7, 1, AWAY))
    # Nobody hears it for a while.
    desk.ticks(3.5, alive=(2,))
    desk.here(2, 7, 1)
    desk.ticks(2, alive=(2,))
    desk.told[1].clear()
    desk.ticks(1)
    assert desk.told[1] == [["taken", SHARD, 7, 1]] * 2
    # The other one dies. What the first says of her counts no more: she was there for longer than with the first.
    desk.send(1, (LEAVE, 7, 0))
    desk.ticks(3.5, alive=(1,))
    desk.given.clear()
    for word in ((PRESENCE, 7, 2, AWAY), (LEAVE, 7, 0)):
        desk.send(1, word)
        desk.tick(alive=(1,))
    assert desk.given == []
    desk.here(1, 7, 3, ago_s=20.0)
    desk.tick(alive=(1,))
    assert desk.given == []
    assert desk.machine.attending() == {7}
    # And if she comes to the first again, it is the first's.
    desk.here(1, 7, 4)
    desk.tick(alive=(1,))
    assert desk.given == [(PRESENCE, 7, HERE)]


def test_a_gateway_that_is_heard_again_has_whom_it_had():
    desk = Desk()
    desk.join(1, 7)
    desk.ticks(3.5, alive=(2,))
    assert desk.given == [(PRESENCE, 7, AWAY)]
    # The first of these is of a stream that is not known any more.
    for _ in range(2):
        desk.here(1, 7, 0, ago_s=4.0)
    desk.ticks(60)
    assert desk.given[1:] == [(PRESENCE, 7, HERE)]
    assert desk.told == {1: [], 2: []}
    assert desk.machine.attending() == {7}


def test_a_late_word_on_one_who_is_elsewhere_keeps_nobody_from_speaking_for_her_when_she_comes():
    desk = Desk()
    # She is in another region, and has left this gateway for the other one.
    desk.send(1, (PRESENCE, 7, 1, AWAY))
    desk.tick()
    # She comes over the border: no gateway has said this JOIN.
    desk.inbox.admit({JOIN: np.array([(7, 0, b"player7", b"Ada")], desk.machine.shapes[JOIN].dtype)})
    desk.tick()
    desk.given.clear()
    # Her player has left the other one, too.
    desk.send(2, (PRESENCE, 7, 1, AWAY))
    desk.ticks(20)
    assert desk.given == [(PRESENCE, 7, AWAY)]
    desk.send(2, (LEAVE, 7, 0))
    desk.tick()
    assert desk.machine.attending() == set()


@pytest.mark.parametrize("presence", [AWAY, HERE])
def test_what_was_said_of_one_before_she_came_holds_when_she_comes(presence):
    desk = Desk()
    # An owner of before, which was cut off, had told the gateway that she is here.
    desk.send(1, (PRESENCE, 7, 1, presence), (CLAIM, 7, 1, desk.ago_ms(1)))
    desk.tick()
    assert desk.given == []
    desk.inbox.admit({JOIN: np.array([(7, 0, b"player7", b"Ada")], desk.machine.shapes[JOIN].dtype)})
    desk.ticks(5)
    assert desk.given[1:] == [(PRESENCE, 7, presence)]


def test_an_absence_is_over_though_nobody_swept_before_the_next_one():
    desk = Desk()
    desk.join(1, 7)
    # Her gateway falls silent, then her player comes through another one, which falls silent, too; while time waits for
    # the store.
    desk.ticks(10, alive=(2,))
    assert desk.given == [(PRESENCE, 7, AWAY)]
    desk.here(2, 7, 1)
    desk.clock.work(5)
    desk.ticks(ReceptionOptions().grace_s - 1, alive=())
    assert (LEAVE, 7) not in desk.given
    desk.ticks(5, alive=())
    assert desk.given[-1] == (LEAVE, 7)


def test_what_was_said_of_one_before_she_came_counts_no_more_once_more_is_said():
    desk = Desk()
    desk.here(1, 7, 1)
    desk.tick()
    desk.inbox.admit({JOIN: np.array([(7, 0, b"player7", b"Ada")], desk.machine.shapes[JOIN].dtype)})
    desk.send(1, (PRESENCE, 7, 2, AWAY), (CLAIM, 7, 2, desk.ago_ms(1)))
    desk.ticks(5)
    assert desk.given[1:] == [(PRESENCE, 7, AWAY)]


def test_a_late_word_on_one_whom_nobody_speaks_for_does_not_keep_her_for_ever():
    desk = Desk()
    # She has come over the border, and the gateway that her player had left for is no more.
    desk.inbox.admit({JOIN: np.array([(7, 0, b"player7", b"Ada")], desk.machine.shapes[JOIN].dtype)})
    desk.tick()
    desk.given.clear()
    desk.send(1, (PRESENCE, 7, 1, AWAY))
    # Which hears now that she was another's, and lets go of her.
    desk.ticks(ReceptionOptions().grace_s)
    assert desk.given == [(PRESENCE, 7, AWAY)]
    desk.ticks(1)
    assert desk.given[1:] == [(LEAVE, 7)]
    assert desk.machine.attending() == set()


@pytest.mark.parametrize("silent", [False, True])
def test_what_is_said_of_one_who_is_elsewhere_by_now_follows_her_only_from_who_had_her_as_she_left(*, silent):
    desk = Desk()
    desk.join(1, 7)
    # For the reception that is as if she went over a border.
    desk.inbox.admit({LEAVE: np.array([(7, 0)], desk.machine.shapes[LEAVE].dtype)})
    desk.tick()
    desk.given.clear()
    desk.send(1, (PRESENCE, 7, 1, AWAY))
    desk.tick()
    assert desk.given == [(PRESENCE, 7, AWAY)]
    desk.ticks(3 if silent else 6, alive=(2,) if silent else (1, 2))
    desk.given.clear()
    # Beyond it she has come to another gateway since, of which the first has not heard. Some of this is said in vain,
    # where its stream is not known any more.
    for word in (2, 3):
        desk.send(1, (PRESENCE, 7, word, AWAY), (CLAIM, 7, word, desk.ago_ms(1, 20.0)))
        desk.tick()
    desk.send(1, (LEAVE, 7, 0))
    desk.tick()
    assert desk.given == []


@pytest.mark.parametrize(
    ("session", "player", "found"),
    [(7, b"", 7), (7, b"player8", 7), (0, b"player8", 8), (9, b"player8", 8), (9, b"", None), (9, b"player", None)],
)
def test_a_session_is_found_by_its_number_or_by_its_account(session, player, found):
    desk = Desk()
    desk.join(1, 7, 8)
    desk.bus.publish(SEEK_TOPIC, msgpack.packb([2, session, player, 1, 0]))
    if found is None:
        assert desk.told[2] == [["none", SHARD, session, player, 1]]
    else:
        [[word, shard, known, epoch, tick]] = desk.told[2]
        assert (word, shard) == ("found", SHARD)
        assert (epoch, tick) == (desk.EPOCH, desk.machine.tick)
        assert known == desk.machine.find(found, b"")


def test_of_the_gateways_that_look_for_an_account_at_once_one_hears_that_it_may_let_it_in():
    desk = Desk()

    def seek(gateway, player, arbiter=SHARD):
        desk.told[gateway].clear()
        desk.bus.publish(SEEK_TOPIC, msgpack.packb([gateway, 0, player, 1, arbiter]))
        return [word for word, *_ in desk.told[gateway]]

    assert seek(2, b"ada") == ["none"]
    assert seek(1, b"ada") == []
    assert seek(2, b"ada") == ["none"]
    # Another account, and an account of which another region says it.
    assert seek(1, b"bob") == ["none"]
    assert seek(1, b"ada", arbiter=SHARD + 1) == ["none"]
    desk.clock.work(1.9)
    assert seek(1, b"ada") == []
    # Who asked first is answered by now, and its player on the way into the world, or it has given up.
    desk.clock.work(0.2)
    assert seek(1, b"ada") == ["none"]
    assert seek(2, b"ada") == []
    desk.join(1, 7)
    assert seek(2, b"player7") == ["found"]


def test_accounts_that_were_looked_for_do_not_fill_the_memory():
    desk = Desk()
    for n in range(100):
        desk.clock.work(0.1)
        desk.bus.publish(SEEK_TOPIC, msgpack.packb([2, 0, b"player%d" % n, 1, SHARD]))
    assert len(desk.reception._sought) <= 21


def test_whether_one_on_its_way_to_another_region_is_anywhere_it_does_not_say():
    desk = Desk(machine=region(ATLAS.regions[0].id))
    records = np.array([(7, 0, b"account", b"Ada")], desk.machine.shapes[JOIN].dtype)
    desk.machine.step(replace(NOTHING, batches={JOIN: records}))
    place = desk.machine.world[Position]
    place.x[desk.machine.sessions.rows(np.array([7], np.uint64), desk.machine.world)] = 30.0
    desk.machine.step(NOTHING)
    assert desk.machine.attending() == frozenset()
    for session, player in ((7, b""), (0, b"account")):
        desk.bus.publish(SEEK_TOPIC, msgpack.packb([2, session, player, 1, 0]))
    assert desk.told[2] == []
    desk.bus.publish(SEEK_TOPIC, msgpack.packb([2, 8, b"", 1, 0]))
    assert desk.told[2] == [["none", desk.machine.shard, 8, b"", 1]]


def test_what_does_not_fit_comes_again_and_is_taken_once():
    desk = Desk(inbox_max=2)
    desk.join(1, 7)
    move = list(desk.machine.shapes)[[c.name for c in desk.machine.shapes.values()].index("Say")]
    desk.send(1, *((move, 7, n, b"x") for n in (1, 2)))
    desk.send(1, *((move, 7, n, b"x") for n in (3, 4)))
    assert desk.answers[1][-1].room == 0
    desk.ticks(2)
    assert [g[0] for g in desk.given] == [move] * 4
    assert desk.machine.high_water(np.array([7], np.uint64)).tolist() == [4]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x94\x09\x01\x01\xc4\x01\xc1"])
def test_what_makes_no_sense_is_passed_over(data):
    desk = Desk()
    desk.bus.publish(uplink_topic(SHARD), data)
    desk.bus.publish(SEEK_TOPIC, data)
    desk.join(1, 7)
    assert desk.machine.attending() == {7}


@pytest.mark.parametrize(
    "what",
    [[2, -1, b"", 1, 0], [2, None, b"", 1, 0], [2, 7, "player7", 1, 0], [2, [7], b"", 1, 0], [2, 7, b"", 1], [2, 7], 7],
)
def test_a_search_that_makes_no_sense_is_refused_and_not_answered(what):
    desk = Desk()
    desk.join(1, 7)
    with capture_logs() as logs:
        desk.bus.publish(SEEK_TOPIC, msgpack.packb(what))
    assert [(log["event"], log["log_level"]) for log in logs] == [("search refused", "warning")]
    assert desk.told == {1: [], 2: []}


def test_who_has_joined_and_whose_gateway_was_not_heard_until_it_says_so_again_is_there():
    desk = Desk()
    desk.bus.publish(uplink_topic(SHARD), desk.sent(1, (JOIN, 7, 0, b"player7", b"Ada"), (CLAIM, 7, 0, desk.ago_ms(1))))
    desk.ticks(4, alive=(2,))
    assert desk.given == [(JOIN, 7, b"player7", b"Ada"), (PRESENCE, 7, AWAY)]
    # It has heard no answer to that, its first word.
    (again,) = desk.links[1].due(desk.now_s(1))
    desk.bus.publish(uplink_topic(SHARD), again)
    desk.ticks(4)
    assert desk.given[2:] == [(JOIN, 7, b"player7", b"Ada"), (PRESENCE, 7, HERE)]


def test_who_comes_and_goes_while_no_ticks_are_made_does_not_fill_the_memory():
    desk = Desk(inbox_max=16)
    desk.join(1, 7)
    waiting = []
    for session in range(100, 120):
        waiting.append(desk.sent(1, (JOIN, session, 0, b"", b"guest"), (CLAIM, session, 0, desk.ago_ms(1))))
        waiting.append(desk.sent(1, (LEAVE, session, 0)))
    for data in waiting:
        desk.bus.publish(uplink_topic(SHARD), data)
    assert desk.inbox.depth == 16
    assert desk.answers[1][-1].room == 0
    # Time goes on: nothing of it was lost, and nobody is left behind.
    desk.ticks(8)
    joined = [session for kind, session, *_ in desk.given if kind == JOIN]
    assert joined == list(range(100, 120))
    assert desk.machine.attending() == {7}


def test_of_a_batch_that_finds_no_room_nothing_is_taken_however_often_it_is_said():
    desk = Desk(inbox_max=4)
    desk.join(1, 7)
    desk.join(2, 8)

    def moves(session, count):
        shape = desk.machine.shapes[FIRST_COMMAND]
        return [(FIRST_COMMAND, session, seq, *(0,) * len(shape.args)) for seq in range(1, count + 1)]

    desk.send(1, *moves(7, 3))
    # The store is away: no ticks are made.
    desk.send(2, (PRESENCE, 8, 1, HERE), *moves(8, 3))
    for n in range(20):
        for data in desk.links[2].due(desk.clock.now_s() + 10 * n):
            desk.bus.publish(uplink_topic(SHARD), data)
    assert desk.inbox.depth == 3
    # Its player comes back elsewhere, and stays there.
    desk.here(1, 8, 1)
    for data in desk.links[2].due(desk.clock.now_s() + 1000):
        desk.bus.publish(uplink_topic(SHARD), data)
    assert desk.told[1] == []
    desk.tick()
    for data in desk.links[2].due(desk.clock.now_s() + 2000):
        desk.bus.publish(uplink_topic(SHARD), data)
    desk.tick()
    assert desk.machine.high_water(np.array([7, 8], np.uint64)).tolist() == [3, 3]
