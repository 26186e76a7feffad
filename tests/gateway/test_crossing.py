"""Walks over borders: nothing of it is to be seen, and nothing is lost.

A long module: whatever may happen to a player may happen just there, and is asked in the same world.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from protocol.codec import encode_leave, encode_ping
from protocol.errors import CloseCode
from protocol.messages import Ack, Clock, Cross, Delta, Error, Keyframe, Pong, Welcome, You
from server.gateway.interest import ViewSpec
from server.gateway.session import SessionState
from server.shard.ports import frames_topic, mail_topic
from tests.gateway.borderland import FIRST, VIEW, WHOLE, Key, Land, LateBus, Player
from tests.gateway.glade import ADD, JUMP, PAY, WALK, Body, glade

STILL = glade(0)
SPEED = 1.0
AVATAR_ID = next(a.id for a in STILL.schema.archetypes if a.name == "Avatar")


class Watch:
    """What one player sees of another, message by message: exactly one entity of that name, CROSS counting."""

    def __init__(self, watcher: Player, name: str) -> None:
        self.watcher = watcher
        self.name = name
        self.messages = 0
        watcher.watches.append(self.look)

    def found(self) -> set[Key]:
        """Who bears the name; of two that CROSS says are one, the one."""
        watcher = self.watcher
        assert watcher.views is not None
        keys = [
            (region, handle)
            for region, view in watcher.views.items()
            for handle, entity in view.entities.items()
            if entity.archetype == AVATAR_ID and view.value(handle, "Body.name") == self.name
        ]
        return {watcher.crossed[key] if watcher.crossed.get(key) in keys else key for key in keys}

    def look(self) -> None:
        self.messages += 1
        assert len(self.found()) == 1, f"{self.name} is seen as {self.found()} after {self.watcher.log[-1]}"


def walk(
    land: Land, player: Player, to: tuple[float, float], order: Sequence[int], each_tick: Callable[[], None]
) -> list[int]:
    """Walk until there; for each tick, how many ticks the walker had stood still in its own eyes."""
    pauses, still = [], 0
    for _ in range(600):
        x, y = player.where()
        dx, dy = to[0] - x, to[1] - y
        if max(abs(dx), abs(dy)) < SPEED:
            break
        reach = max(abs(dx), abs(dy))
        player.say(WALK, SPEED * dx / reach, SPEED * dy / reach)
        each_tick()
        land.tick(order)
        still = still + 1 if player.where() == (x, y) else 0
        pauses.append(still)
    else:
        raise AssertionError(f"never came to {to}")
    return pauses


@pytest.mark.parametrize(
    ("seed", "view", "lag"), [(0, VIEW, 0), (1, VIEW, 1), (2, WHOLE, 0), (3, VIEW, 0)], ids=lambda v: str(v)[:20]
)
def test_a_walk_over_many_borders(seed: int, view: ViewSpec, lag: int):
    chance = random.Random(seed)
    land = Land(2, 2, game=glade(12), view=view, lag=lag)
    order = list(land.regions)
    chance.shuffle(order)
    ada, bob = land.join("ada", 5), land.join("bob", 6)
    # Bob stands by the middle of the world, where all four regions meet.
    land.put(bob, -34.0, 70.0)
    land.put(ada, -40.0, 68.0)
    land.ticks(8)
    watches = [Watch(ada, "ada"), Watch(bob, "ada"), Watch(ada, "bob"), Watch(bob, "bob")]
    sums = {"add": 0, "pay": 0}

    def spend() -> None:
        if chance.random() < 0.5:
            ada.say(ADD, 1)
            sums["add"] += 1
        if chance.random() < 0.3:
            ada.say(PAY, 2)
            sums["pay"] += 1
        if chance.random() < 0.2:
            ada.check()
            bob.check()

    pauses: list[int] = []
    homes = [ada.entity[0]]
    for _ in range(25):
        to = (chance.choice((-45.0, -42.0, -31.0, -27.0)), chance.choice((63.0, 66.0, 77.0, 81.0)))
        pauses += walk(land, ada, to, order, spend)
        homes.append(ada.entity[0])
    ada.say(WALK, 0.0, 0.0)
    land.ticks(10)
    crossings = sum(a != b for a, b in zip(ada.yous, ada.yous[1:], strict=False))
    assert crossings > 15
    assert set(homes) == set(land.regions)
    # It is the same connection from the first to the last.
    assert (ada.welcomes, ada.wire.ended) == (1, None)
    assert max(pauses) <= 2 + lag
    assert ada.acked == ada.seq
    assert ada.receipts == sorted(set(ada.receipts))
    assert len(ada.receipts) == sums["pay"]
    region, row = land.whereabouts(ada.session.id)[0]
    assert int(land.regions[region].machine.world[Body].sum[row]) == sums["add"] + 2 * sums["pay"]
    assert min(ada.digests, bob.digests) > 20
    assert all(watch.messages > 300 for watch in watches[:2])
    assert not ada.session.unacked
    assert not ada.session.due


def at_the_border(**options: object) -> tuple[Land, Player, Player]:
    """Ada in region 5, about to walk east into 6, where Bob stands and sees her."""
    land = Land(2, 1, game=STILL, **options)
    ada, bob = land.join("ada", 5), land.join("bob", 6)
    land.put(ada, -38.0, 60.0)
    land.put(bob, -30.0, 60.0)
    land.ticks(5)
    ada.say(WALK, 1.0, 0.0)
    return land, ada, bob


def until_she_left(land: Land) -> None:
    """Region 5 ticks alone, until she is on her way."""
    for _ in range(40):
        land.tick([5])
        if land.gateway.router.streams[5].replica.held:
            return
    raise AssertionError("she stayed")


def test_cross_enter_you_and_leave_come_in_one_write():
    land, ada, bob = at_the_border()
    until_she_left(land)
    (held,) = land.gateway.router.streams[5].replica.held.values()
    land.tick([6])
    kinds = [type(m) for m in ada.told if not isinstance(m, Ack)]
    assert kinds == [Cross, Clock, Delta, You, Delta]
    cross, _, there, you, here = (m for m in ada.told if not isinstance(m, Ack))
    assert (cross.from_region, cross.from_handle, cross.to_region) == (5, held.handle, 6)
    assert (you.region, you.handle) == (6, cross.to_handle) == ada.entity
    assert (there.region, here.region) == (6, 5)
    assert there.enters
    assert here.leaves
    assert [type(m) for m in bob.told] == [Cross, Delta, Delta]
    # No view began anew.
    assert sum(isinstance(m, Keyframe) for m in ada.log) == 2


def test_she_is_shown_where_she_was_while_the_next_region_stands_and_goes_in_the_end():
    land, ada, bob = at_the_border(crossing_hold_ticks=6)
    watch = Watch(bob, "ada")
    until_she_left(land)
    where = bob.where(next(iter(watch.found())))
    for _ in range(5):
        land.tick([5])
        assert bob.where(next(iter(watch.found()))) == where
    bob.watches.clear()
    land.tick([5])
    land.tick([5])
    assert watch.found() == set()
    land.tick([6])
    land.tick([6])
    assert len(watch.found()) == len(Watch(ada, "ada").found()) == 1
    assert ada.entity[0] == 6
    for player in (ada, bob):
        player.check()
    land.ticks(8)
    assert min(ada.digests, bob.digests) == 2


def test_what_she_says_on_the_way_is_held_and_done_in_order_once_she_is_there():
    land, ada, _ = at_the_border()
    until_she_left(land)
    for n in range(20):
        ada.say(ADD, n)
        ada.say(PAY, 1)
        land.tick([5])
    assert ada.acked < ada.seq
    land.ticks(12)
    assert ada.acked == ada.seq
    assert len(ada.receipts) == 20
    assert ada.view(6).value(ada.entity[1], "Body.sum") == sum(range(20)) + 20


def test_an_ack_is_told_though_the_frame_that_had_it_was_lost():
    land, ada, _ = at_the_border()
    stream = land.gateway.router.streams[5]
    ada.say(ADD, 1)
    stream.close()
    land.tick()
    stream.subscribe()
    land.ticks(3)
    assert ada.acked == ada.seq


def test_an_ack_that_comes_after_its_player_has_come_elsewhere_is_told_at_once():
    bus = LateBus()
    land, ada, _ = at_the_border(bus=bus)
    bus.late.add(frames_topic(5))
    ada.say(ADD, 1)
    for _ in range(40):
        land.tick()
        if ada.session.region == 6:
            break
    assert ada.session.acked < ada.seq
    bus.let_go()
    land.ticks(2)
    assert ada.acked == ada.seq


def test_more_inputs_than_are_kept_are_refused_to_her_face():
    land, ada, _ = at_the_border(inputs_unacked_max=10)
    until_she_left(land)
    said = [ada.say(ADD, 1) for _ in range(15)]
    land.tick([5])
    refused = [m.seq for m in ada.log if isinstance(m, Error)]
    assert refused == said[-len(refused) :]
    assert 4 <= len(refused) <= 5
    land.ticks(10)
    assert ada.view(6).value(ada.entity[1], "Body.sum") == 15 - len(refused)


def test_a_connection_that_breaks_on_the_way_is_resumed_there():
    land, ada, bob = at_the_border()
    until_she_left(land)
    paid = ada.say(PAY, 3)
    ada.hang_up()
    ada.connect(resume=ada.resume)
    land.tick([5])
    # Nobody knows yet where she will be: WELCOME waits for it.
    assert ada.welcomes == 1
    land.ticks(3)
    assert ada.welcomes == 2
    assert ada.entity[0] == 6
    assert [m.resumed for m in ada.log if isinstance(m, Welcome)] == [False, True]
    land.ticks(3)
    assert ada.view(6).value(ada.entity[1], "Body.sum") == 3
    assert paid in ada.receipts
    assert ada.view(6).value(ada.entity[1], "Body.away") == 0
    assert len(Watch(bob, "ada").found()) == 1


def test_one_who_hangs_up_on_the_way_is_away_there_and_gone_when_the_grace_time_is_over():
    land, ada, bob = at_the_border(grace_s=1.0)
    until_she_left(land)
    ada.hang_up()
    land.players.remove(ada)
    land.ticks(4)
    ((region, row),) = land.whereabouts(ada.session.id)
    assert region == 6
    assert int(land.regions[6].machine.world[Body].away[row]) == 1
    land.ticks(30)
    land.gateway.sweep()
    land.ticks(2)
    assert land.whereabouts(ada.session.id) == []
    assert Watch(bob, "ada").found() == set()


def test_the_grace_time_of_one_who_is_away_does_not_begin_anew_at_a_border():
    land, ada, _ = at_the_border(grace_s=1.0)
    ada.hang_up()
    land.players.remove(ada)
    since_s = land.clock.now_s()
    until_she_left(land)
    land.ticks(4)
    ((region, _),) = land.whereabouts(ada.session.id)
    assert region == 6
    while land.clock.now_s() - since_s < 1.1:
        land.tick()
    land.gateway.sweep()
    land.ticks(2)
    assert land.whereabouts(ada.session.id) == []


@pytest.mark.parametrize("when", ["just before", "on the way"])
def test_one_who_leaves_at_a_border_leaves_no_avatar_behind(when: str):
    land, ada, bob = at_the_border()
    if when == "just before":
        x, _ = ada.where()
        while x < -35.5:
            land.tick()
            x, _ = ada.where()
    else:
        until_she_left(land)
    land.gateway.received(ada.wire, encode_leave())
    land.ticks(6)
    assert land.whereabouts(ada.session.id) == []
    # One who left on the way arrived nowhere: she is shown where she was for as long as anybody is.
    land.ticks(20)
    assert Watch(bob, "ada").found() == set()
    assert ada.session.id not in land.gateway.sessions


def test_one_who_is_turned_away_is_where_she_was_and_nobody_saw_her_gone():
    # Two entities fit into a region: Bob and Cat fill hers.
    land = Land(2, 1, game=STILL, first=replace(FIRST, entities_max=2))
    ada, bob, cat = land.join("ada", 5), land.join("bob", 6), land.join("cat", 6)
    land.put(ada, -38.0, 60.0)
    land.put(bob, -30.0, 60.0)
    land.put(cat, -30.0, 64.0)
    land.ticks(5)
    watches = [Watch(ada, "ada"), Watch(bob, "ada")]
    ada.say(WALK, 1.0, 0.0)
    land.ticks(30)
    ada.say(PAY, 9)
    land.ticks(5)
    assert ada.entity[0] == 5
    assert all(watch.messages for watch in watches)
    assert ada.view(5).value(ada.entity[1], "Body.sum") == 9
    ada.check()
    bob.check()
    land.ticks(8)
    assert min(ada.digests, bob.digests) == 2


def test_a_frame_that_is_lost_with_her_arrival_in_it_loses_nobody():
    land, ada, bob = at_the_border()
    watches = [Watch(ada, "ada"), Watch(bob, "ada")]
    until_she_left(land)
    stream = land.gateway.router.streams[6]
    stream.close()
    land.tick([6])
    stream.subscribe()
    land.ticks(3)
    assert ada.entity[0] == 6
    for player in (ada, bob):
        assert len(Watch(player, "ada").found()) == 1
        player.check()
    land.ticks(30)
    assert min(ada.digests, bob.digests) == 2
    assert watches[1].found() == {ada.entity}
    assert land.gateway.router.streams[5].replica.held == {}


def test_pong_tells_the_ticks_of_the_region_that_she_was_told_last():
    bus = LateBus()
    land, ada, _ = at_the_border(bus=bus)
    for _ in range(100):
        land.tick([6])
    bus.late.add(mail_topic(6))
    until_she_left(land)
    stream = land.gateway.router.streams[6]
    stream.close()
    land.tick([6])
    stream.subscribe()
    # Her arrival is in a frame that says where she is, and can't be shown.
    bus.let_go()
    told = []
    for _ in range(3):
        land.run(6)
        land.gateway.received(ada.wire, encode_ping(1))
        before = len(ada.log)
        ada.read()
        told += [m for m in ada.log[before:] if isinstance(m, Pong | You)]
    assert [type(m) for m in told] == [Pong, You, Pong, Pong]
    assert told[0].tick == land.regions[5].machine.tick
    assert told[3].tick == land.regions[6].machine.tick


def test_she_is_shown_where_she_was_while_the_next_region_begins_anew_without_her():
    bus = LateBus()
    land, ada, bob = at_the_border(bus=bus)
    watches = [Watch(ada, "ada"), Watch(bob, "ada")]
    bus.late.add(mail_topic(6))
    until_she_left(land)
    # As a gateway hears of a region that another node took over.
    land.restart(6)
    land.ticks(8)
    assert [m.region for m in bob.log if isinstance(m, Keyframe)].count(6) == 2
    assert {ada.entity[0]} == {region for watch in watches for region, _ in watch.found()} == {5}
    bus.let_go()
    land.ticks(40)
    assert {ada.entity} == {key for watch in watches for key in watch.found()}
    assert ada.entity[0] == 6
    assert land.gateway.router.streams[5].replica.held == {}


@pytest.mark.parametrize("ticks", [0, 2])
def test_one_who_comes_in_a_frame_that_cannot_be_used_before_she_is_heard_to_leave_is_seen_once(ticks: int):
    bus = LateBus()
    land, ada, bob = at_the_border(bus=bus, crossing_hold_ticks=100)
    bus.late.add(frames_topic(5))
    # The frames before the one that she arrives in are lost.
    stream = land.gateway.router.streams[6]
    stream.close()
    while land.whereabouts(ada.session.id):
        land.tick([6, 5])
    stream.subscribe()
    land.tick([6])
    assert stream.awaits_key
    assert ada.session.region == 6
    ada.say(WALK, 0.0, 0.0)
    # She is heard to leave before she is shown there, or after.
    land.ticks(ticks)
    assert stream.awaits_key == (not ticks)
    if not ticks:
        # Nor is she gone until then.
        Watch(bob, "ada")
    bus.let_go()
    land.ticks(2)
    assert land.gateway.router.streams[5].replica.held == {}
    assert {ada.entity} == Watch(ada, "ada").found() == Watch(bob, "ada").found()


def test_one_who_is_removed_before_she_is_heard_to_come_is_told_so():
    land, ada, _ = at_the_border()
    until_she_left(land)
    stream = land.gateway.router.streams[6]
    stream.close()
    land.tick([6])
    ((region, row),) = land.whereabouts(ada.session.id)
    assert region == 6
    land.regions[6].machine.world.despawn(np.array([row]))
    stream.subscribe()
    land.ticks(3)
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.REMOVED
    assert ada.session.id not in land.gateway.sessions


@pytest.mark.parametrize("away", [15, 30, 60, 100])
def test_one_whose_region_dies_with_her_arrival_is_seen_as_soon_as_it_is_there_again(away: int):
    land = Land(2, 1, game=STILL)
    ada, bob, cat = land.join("ada", 5), land.join("bob", 6), land.join("cat", 5)
    # By their own word: a replay knows of no other. Somebody has gone that way before.
    for player, x in ((ada, -38.0), (bob, -30.0), (cat, -32.0)):
        player.say(JUMP, x, 60.0)
    land.ticks(10)
    assert cat.entity[0] == 6
    ada.say(WALK, 1.0, 0.0)
    until_she_left(land)
    # She is shown there, and that she came is in no journal.
    land.regions[6].appended.extend([land.regions[6].synced] * 2)
    land.tick([6])
    assert ada.entity[0] == 6
    land.regions[6].host.close()
    for _ in range(away):
        land.tick([5])
    land.restart(6)
    land.ticks(2)
    ada.check()
    bob.check()
    land.ticks(8)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    assert {ada.entity} == Watch(ada, "ada").found() == Watch(bob, "ada").found()
    assert min(ada.digests, bob.digests) == 2


def test_she_is_nobody_on_her_way_once_her_handle_is_another_s():
    bus = LateBus()
    # Two entities fit into a region, so that no handle rests.
    first = replace(FIRST, entities_max=2)
    land, ada, _ = at_the_border(bus=bus, first=first)
    land.join("cat", 5)
    bus.late.add(mail_topic(6))
    until_she_left(land)
    before = ada.entity
    eve = land.join("eve", 5)
    assert eve.entity == before
    assert ada.entity == (5, first.entities_max)
    bus.let_go()
    land.ticks(40)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    assert ada.entity[0] == 6


def test_one_who_is_a_region_further_when_she_is_seen_again_is_seen_once():
    # Her region, one that is narrow, and the next.
    land = Land(3, 1, game=STILL, view=WHOLE, first=replace(FIRST, width=48.0))
    ada, bob = land.join("ada", 5), land.join("bob", 6)
    land.put(ada, FIRST.x + 15.0, 60.0)
    land.put(bob, FIRST.x + 24.0, 60.0)
    land.ticks(5)
    watches = [Watch(ada, "ada"), Watch(bob, "ada")]
    ada.say(WALK, 1.0, 0.0)
    until_she_left(land)
    between = land.gateway.router.streams[6]
    between.close()
    land.tick([6])
    land.put(ada, FIRST.x + 36.0, 60.0)
    while [region for region, _ in land.whereabouts(ada.session.id)] != [7]:
        land.tick()
    between.subscribe()
    land.ticks(5)
    assert ada.entity == land.whereabouts(ada.session.id)[0]
    assert {ada.entity} == {key for watch in watches for key in watch.found()}
    assert all(stream.replica.held == {} for stream in land.gateway.router.streams.values())


def test_one_who_does_not_read_at_the_border_gets_a_fresh_view_and_knows_who_she_is():
    land, ada, _ = at_the_border()
    ada.wire.reading = False
    land.ticks(30)
    assert land.place(ada)[0] == 6
    assert ada.entity[0] == 5
    ada.wire.read_again()
    land.ticks(3)
    assert ada.entity[0] == 6
    assert len(Watch(ada, "ada").found()) == 1
    ada.check()
    land.ticks(8)
    assert ada.digests == 2


@pytest.mark.parametrize("order", [[5, 6], [6, 5]], ids=str)
def test_who_reads_again_after_she_was_missed_and_found_is_not_told_any_more_that_she_is_nobody(order: list[int]):
    land, ada, _ = at_the_border()
    ada.wire.reading = False
    land.ticks(2)
    stream = land.gateway.router.streams[5]
    stream.close()
    # The frame in which she leaves is lost, and what comes next does not know her.
    while land.whereabouts(ada.session.id):
        land.tick([5])
    stream.subscribe()
    while ada.session.home is not None:
        land.tick([5])
    assert ada.session.state is SessionState.LAGGING
    land.ticks(3)
    assert ada.session.home is not None
    ada.wire.read_again()
    for _ in range(4):
        land.tick(order)
    assert ada.entity == land.whereabouts(ada.session.id)[0]
    assert ada.entity[0] == 6


class Slow(Player):
    """One that asks the time as it comes, and does not read the answer: nothing more can be written to it."""

    def hello(self, name: str | None = None, resume: str | None = None, token: str | None = None) -> None:
        self.wire.reading = False
        self.gateway.received(self.wire, encode_ping(0.0))
        super().hello(name, resume, token)


@pytest.mark.parametrize("order", [[5, 6], [6, 5]], ids=str)
@pytest.mark.parametrize("ticks", [0, 1, 5])
@pytest.mark.parametrize("resumed", [False, True])
def test_who_did_not_read_as_she_was_welcomed_is_welcomed_first_of_all(*, resumed: bool, ticks: int, order: list[int]):
    land = Land(2, 1, game=STILL)
    land.gateway.router.choose = lambda _: 5
    paid, resume = [], None
    if resumed:
        before = land.join("ada")
        paid, resume = [before.say(PAY, 7)], before.resume
        land.ticks(3)
        before.hang_up()
    ada = Slow(land, "ada", resume=resume)
    land.players.append(ada)
    if not resumed:
        # In which she comes to be there.
        land.tick([5])
    land.ticks(ticks)
    ada.wire.read_again()
    for _ in range(3):
        land.tick(order)
    assert [type(m) for m in ada.log[:2]] == [Pong, Welcome]
    assert (ada.welcomes, ada.receipts) == (1, paid)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    ada.check()
    land.ticks(8)
    assert ada.digests == 2
    assert sum(isinstance(m, Keyframe) for m in ada.log) == 2
    # And not once more when she does not read again.
    ada.wire.reading = False
    land.ticks(3)
    ada.wire.read_again()
    land.ticks(3)
    assert (ada.welcomes, ada.wire.ended) == (1, None)


def test_a_region_out_of_sight_is_watched_no_more_and_again_when_it_is_seen():
    land = Land(3, 1, game=STILL, first=replace(FIRST, width=3 * 192.0))
    ada = land.join("ada", 5)
    land.ticks(120)
    land.gateway.sweep()
    assert list(land.gateway.router.streams) == [5]
    land.put(ada, 90.0, 60.0)
    land.ticks(3)
    assert list(land.gateway.router.streams) == [5, 6]
    assert set(ada.session.seats) == {5, 6}
    ada.check()
    land.ticks(8)
    assert ada.digests == 2
    land.put(ada, -60.0, 60.0)
    land.ticks(8)
    assert set(ada.session.seats) == {5}
    assert ada.told == [] or all(m.region == 5 for m in ada.told)
    farewell = [m for m in ada.log if isinstance(m, Keyframe)][-1]
    assert (farewell.region, farewell.enters) == (6, ())
    land.ticks(120)
    land.gateway.sweep()
    assert list(land.gateway.router.streams) == [5]


@pytest.mark.parametrize("lag", [0, 2, 6])
def test_a_region_that_starts_anew_is_told_again_what_it_may_not_know(lag: int):
    land = Land(2, 1, game=STILL, lag=lag)
    ada, bob = land.join("ada", 5), land.join("bob", 6)
    # By their own word: a replay knows of no other.
    ada.say(JUMP, -38.0, 60.0)
    bob.say(JUMP, -30.0, 60.0)
    land.ticks(8 + lag)
    paid = []
    for _ in range(6):
        paid.append(ada.say(PAY, 5))
        land.tick()
    # Applied, and some of it acknowledged and shown; what is not durable is forgotten with the region.
    land.restart(5)
    land.ticks(12 + 2 * lag)
    assert sorted(set(ada.receipts)) == paid
    assert ada.view(5).value(ada.entity[1], "Body.sum") == 6 * 5
    for player in (ada, bob):
        assert len(Watch(player, "ada").found()) == 1
        player.check()
    land.ticks(8)
    assert min(ada.digests, bob.digests) == 2
    assert (ada.welcomes, ada.wire.ended) == (1, None)


@pytest.mark.parametrize("stalled", [False, True])
def test_who_comes_back_on_the_way_while_her_connection_seems_to_stand_is_welcomed_where_she_arrives(*, stalled: bool):
    land = Land(2, 1, game=STILL, lag=3)
    ada = land.join("ada", region=5)
    welcome = next(m for m in ada.log if isinstance(m, Welcome))
    session, before = ada.session, ada.wire
    if stalled:
        before.reading = False
        while session.state is not SessionState.LAGGING:
            ada.say(ADD, 1)
            land.tick()
    land.put(ada, FIRST.x + FIRST.width + 5.0, FIRST.y + 5.0)
    while not session.crossing:
        land.tick()
    assert session.state is (SessionState.LAGGING if stalled else SessionState.JOINED)
    back = Player(land, "ada", resume=welcome.resume)
    land.players.append(back)
    assert before.ending
    land.ticks(20)
    assert back.views is not None
    assert (back.session, back.entity[0], land.place(back)[0]) == (session, 6, 6)
    seq = back.say(PAY, 7)
    land.ticks(6)
    assert back.receipts == [seq]
