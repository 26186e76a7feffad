"""Who has a session: all regions are asked, more than once where it may be on its way, and not for ever."""

from __future__ import annotations

import jwt
import msgpack
import numpy as np
import pytest
from structlog.testing import capture_logs

from protocol.errors import CloseCode
from server.bus.memory import MemoryBus
from server.gateway.search import Found, Searches
from server.regions.frame import KNOWN
from server.shard.ports import SEEK_TOPIC, sessions_topic
from tests.gateway.borderland import SECRET
from tests.gateway.farland import FarLand, Patron
from tests.support.clock import VirtualClock

GATEWAY = 9
ADAS = jwt.encode({"sub": "ada", "exp": 10**11}, SECRET, algorithm="HS256")
ADA = (70, 3, 12, b"ada", b"Ada L.")


class World:
    """Regions that answer at once or not at all, and a gateway's searches."""

    def __init__(self, *regions: int) -> None:
        self.bus, self.clock = MemoryBus(), VirtualClock()
        self.taken: list[tuple[int, int, int]] = []
        self.searches = Searches(
            GATEWAY,
            regions,
            self.bus,
            self.clock,
            lambda *word: self.taken.append(word),
            lambda player: player == "eve",
            lambda _, region, epoch, tick: (epoch, tick) < self.heard.get(region, (0, 0)),
        )
        self.regions = regions
        # Region -> (epoch, tick) that was heard of it last; and as of when all of them speak.
        self.heard: dict[int, tuple[int, int]] = {}
        self.now = (1, 100)
        self.deaf: set[int] = set()
        # Region -> a record of KNOWN that it has.
        self.has: dict[int, tuple[object, ...]] = {}
        self.asked = 0
        # Regions that were to say to whom alone they say that they have none.
        self.arbiters: set[int] = set()
        self.ends: list[tuple[Found | None, bool]] = []
        self.bus.subscribe(SEEK_TOPIC, self._on_seek)

    def _on_seek(self, data: bytes) -> None:
        gateway, session, player, turn, arbiter = msgpack.unpackb(data)
        self.asked += 1
        self.arbiters.add(arbiter)
        for region in self.regions:
            record = self.has.get(region)
            if region in self.deaf:
                continue
            if record is not None and (record[0] == session or (player and record[3] == player)):
                self.say("found", region, np.array([record], KNOWN).tobytes(), *self.now, gateway=gateway)
            else:
                self.say("none", region, session, player, turn, gateway=gateway)

    def say(self, *word: object, gateway: int = GATEWAY) -> None:
        self.bus.publish(sessions_topic(gateway), msgpack.packb(word))

    def done(self, found: Found | None, *, sure: bool) -> None:
        self.ends.append((found, sure))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self.clock.work(0.05)
            self.searches.turn()


@pytest.mark.parametrize(("session", "player"), [(70, ""), (0, "ada")])
def test_one_who_is_there_is_found_at_once(session: int, player: str):
    world = World(1, 2, 3)
    world.has[2] = ADA
    world.searches.begin(session, player, world.done)
    assert world.ends == [(Found(2, *ADA), True)]
    world.wait(5)
    assert (world.asked, len(world.ends)) == (1, 1)


def test_in_a_world_of_one_region_its_word_is_enough():
    world = World(1)
    world.searches.begin(70, "", world.done)
    assert world.ends == [(None, True)]


def test_one_on_the_way_between_two_regions_is_found_in_the_next_round():
    world = World(1, 2)
    world.searches.begin(70, "", world.done)
    assert world.ends == []
    world.has[2] = ADA
    world.wait(1)
    assert world.ends == [(Found(2, *ADA), True)]
    world.searches.begin(71, "", world.done)
    world.wait(1)
    assert world.ends[1:] == [(None, True)]


def test_what_a_region_said_in_another_round_does_not_count():
    world = World(1, 2)
    world.deaf = {1, 2}
    world.searches.begin(70, "", world.done)
    world.wait(0.6)
    assert world.asked == 3
    # It came to 1 after 1 had answered, from 2 before 2 does.
    world.say("none", 1, 70, b"", 2)
    world.say("none", 2, 70, b"", 3)
    assert world.ends == []
    world.say("none", 1, 70, b"", 3)
    world.deaf = set()
    world.wait(0.3)
    assert world.ends == [(None, True)]


def test_what_was_said_in_an_earlier_search_for_the_same_does_not_count():
    world = World(1, 2)
    world.deaf = {1, 2}
    world.searches.begin(0, "ada", world.done)
    world.wait(0.9)
    # She was about to come in through another gateway; what the regions had said before is late.
    world.say("wait", b"ada")
    assert world.ends == [(None, False)]
    world.searches.begin(0, "ada", world.done)
    for turn in (1, 2, 3, 4):
        for region in (1, 2):
            world.say("none", region, 0, b"ada", turn)
        world.wait(0.3)
    assert world.ends == [(None, False)]
    world.deaf = set()
    world.wait(0.6)
    assert world.ends[1:] == [(None, True)]


def test_a_round_that_began_before_another_was_over_is_no_second_one():
    """It came to 1 after 1 had heard both, and was gone from 2 before 2 heard either: messages take their time."""
    world = World(1, 2)
    world.deaf = {1, 2}
    world.searches.begin(70, "", world.done)
    world.wait(0.6)
    assert world.asked == 3
    for turn in (1, 2, 3):
        for region in (1, 2):
            world.say("none", region, 70, b"", turn)
    assert world.ends == []
    # However long the first took, there is time for another.
    world.wait(1.9)
    assert world.ends == []
    for region in (1, 2):
        world.say("none", region, 70, b"", 4)
    assert world.ends == [(None, True)]


def test_where_a_region_does_not_answer_it_is_asked_again_and_given_up_unsure():
    world = World(1, 2)
    world.deaf = {2}
    world.searches.begin(70, "", world.done)
    world.wait(1)
    assert world.ends == []
    assert world.asked > 2
    world.wait(2)
    assert world.ends == [(None, False)]
    asked = world.asked
    world.wait(5)
    assert world.asked == asked


def test_two_who_look_for_the_same_are_both_answered_and_others_hear_nothing():
    world = World(1, 2)
    world.deaf = {1, 2}
    for session, player in ((70, ""), (70, ""), (0, "ada"), (71, ""), (0, "bob")):
        world.searches.begin(session, player, world.done)
    world.say("found", 2, np.array([ADA], KNOWN).tobytes(), *world.now)
    assert world.ends == [(Found(2, *ADA), True)] * 3


def test_that_she_was_in_a_region_that_was_heard_to_come_further_does_not_count():
    """It may have been heard, too, that she left. The question is put again, and its answer is of later."""
    world = World(1, 2)
    world.has[2] = ADA
    world.heard[2] = (1, 101)
    world.searches.begin(70, "", world.done)
    world.wait(0.1)
    assert (world.asked, world.ends) == (1, [])
    world.now = (1, 101)
    world.wait(0.3)
    assert (world.asked, world.ends) == (2, [(Found(2, *ADA), True)])


def test_where_a_region_is_always_heard_further_than_its_answers_nobody_is_sure():
    world = World(1, 2)
    world.has[2] = ADA
    world.heard[2] = (2, 0)
    world.searches.begin(70, "", world.done)
    world.wait(3)
    assert world.ends == [(None, False)]


def waits(world: World, gateway: int, player: bytes) -> bool:
    """Whether a gateway that looks for an account is told to wait."""
    words: list[bytes] = []
    unsubscribe = world.bus.subscribe(sessions_topic(gateway), words.append)
    world.bus.publish(SEEK_TOPIC, msgpack.packb([gateway, 0, player, 1, 1]))
    unsubscribe()
    return msgpack.packb(["wait", player]) in words


def test_all_who_look_for_an_account_name_the_same_region_that_lets_one_of_them_in():
    first, second = World(1, 2, 3), World(3, 1, 2)
    for world in (first, second):
        world.searches.begin(0, "ada", world.done)
        world.wait(1)
    assert first.arbiters == second.arbiters
    assert len(first.arbiters) == 1
    for n in range(30):
        first.searches.begin(0, f"player {n}", first.done)
    assert first.arbiters == {1, 2, 3}


def test_one_who_is_told_to_wait_for_another_gateway_is_not_let_in():
    world = World(1, 2)
    world.deaf = {1, 2}
    world.searches.begin(0, "ada", world.done)
    world.say("wait", b"bob")
    assert world.ends == []
    world.say("wait", b"ada")
    assert world.ends == [(None, False)]


def test_who_looks_for_an_account_that_is_about_to_come_in_waits():
    world = World(1, 2)
    assert waits(world, GATEWAY - 1, b"eve")
    assert waits(world, GATEWAY + 1, b"eve")
    assert not waits(world, GATEWAY, b"eve"), "this is itself"


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("later_s", [0.0, 0.1, 0.3, 0.6])
def test_an_account_that_comes_to_two_gateways_at_once_has_one_session(first: int, later_s: float):
    land = FarLand()
    wires = [Patron(land, "ada", gateway=first, token=ADAS).wire]
    land.seconds(later_s)
    wires.append(Patron(land, "ada", gateway=1 - first, token=ADAS).wire)
    land.seconds(4)
    assert sum(len(region.machine.sessions) for region in land.regions.values()) == 1
    assert sum(wire.ended is None for wire in wires) == 1
    assert {wire.ended[0] for wire in wires if wire.ended is not None} <= {CloseCode.INTERNAL, CloseCode.REPLACED}


def test_what_is_heard_by_a_gateway_that_stood_still_is_no_answer():
    world = World(1)
    world.deaf = {1}
    world.searches.begin(70, "", world.done)
    world.clock.work(1.1)
    world.say("none", 1, 70, b"", 1)
    assert world.ends == []
    world.deaf.clear()
    world.searches.turn()
    assert world.ends == [(None, True)]


def test_a_session_that_another_gateway_took_is_told_on():
    world = World(1)
    world.say("taken", 1, 70, 4)
    assert world.taken == [(1, 70, 4)]


@pytest.mark.parametrize(
    "word",
    [
        (),
        ("found",),
        ("found", 1, b"short", 1, 100),
        ("found", 99, b"", 1, 100),
        ("found", 1, b"", 1, 100),
        ("found", 1, np.array([ADA], KNOWN).tobytes()),
        ("found", 1, np.array([ADA], KNOWN).tobytes(), 1, "now"),
        ("what", 1),
        ("taken", 1, "x", 1),
        ("taken", 99, 70, 4),
        ("taken", 1, 70, -1),
        ("taken", 1, 70, 2**32),
        ("taken", 1, -1, 4),
    ],
)
def test_what_makes_no_sense_is_passed_over(word: tuple[object, ...]):
    world = World(1, 2)
    world.deaf = {1, 2}
    world.searches.begin(70, "", world.done)
    world.say(*word)
    world.bus.publish(sessions_topic(GATEWAY), b"\xc1")
    assert (world.ends, world.taken) == ([], [])


@pytest.mark.parametrize(
    "what", [[1, 0, "ada", 1, 1], [1, 0, 7, 1, 1], [1, 0, b"\xff", 1, 1], [1, 0, b"ada", 1], [1, 0], 7]
)
def test_a_search_of_another_that_makes_no_sense_is_refused(what: object):
    world = World()
    with capture_logs() as logs:
        world.bus.publish(SEEK_TOPIC, msgpack.packb(what))
    # The world of this test reads it later, and has no patience.
    assert (logs[0]["event"], logs[0]["log_level"]) == ("search of another gateway refused", "warning")


def test_once_closed_it_hears_nothing():
    world = World(1)
    world.searches.close()
    world.say("taken", 1, 70, 4)
    assert world.taken == []
