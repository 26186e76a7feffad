"""Gateways and regions over a bus that loses, repeats and reorders: nobody is lost or doubled, and no promise is.

A long module: for which connection a session is, and where, is asked of all that may go wrong between them.
"""

from __future__ import annotations

import jwt
import msgpack
import pytest

from protocol.codec import encode_hello, encode_leave
from protocol.errors import CloseCode, ErrorCode
from protocol.messages import Error, Welcome
from server.gateway.session import SessionState
from server.shard.ports import SEEK_TOPIC, frames_topic, keyframes_topic, links_topic, sessions_topic, uplink_topic
from tests.gateway.borderland import SECRET, TICK_S, Land, LateBus, Player
from tests.gateway.farland import FarLand, Patron, patron
from tests.gateway.glade import ADD, JUMP, PAY, WALK, Body, glade

STILL = glade(0)


def body(land: FarLand, player: Patron, column: str) -> int:
    """Of its entity, which is in one place."""
    ((region, row),) = land.whereabouts(player.session.id)
    return int(getattr(land.regions[region].machine.world[Body], column)[row])


def account(name: str) -> str:
    return jwt.encode({"sub": name, "exp": 10**11}, SECRET, algorithm="HS256")


def whims(land: FarLand, player: Patron, whim: float) -> None:
    """What a player does in a tick."""
    chance = land.random
    if player.wire.ended is not None:
        if whim < 0.1:
            player.connect(resume=player.resume, gateway=chance.randrange(2))
    elif whim < 0.01:
        player.go()
    elif not player.here:
        return
    elif whim < 0.1:
        player.say(WALK, chance.uniform(-1, 1), chance.uniform(-1, 1))
    elif whim < 0.13:
        x0, y0, x1, y1 = land.atlas.limits
        player.say(JUMP, chance.uniform(x0, x1 - 1), chance.uniform(y0, y1 - 1))
    elif whim < 0.3 and len(player.owed) < 50:
        player.pay(PAY, chance.randrange(1, 9))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_lost_nobody_is_and_every_payment_counts_once(seed: int):
    land = FarLand(seed, 2, 2, gateways=2, game=glade(6), lag=seed % 3)
    chance = land.random
    players = [patron(land, f"p{n}", gateway=n % 2) for n in range(6)]
    ends = [f"gateway {n}" for n in range(2)] + [f"region {n}" for n in land.regions]
    for n in range(320):
        if n % 100 == 20:
            land.network.loss, land.network.repetition = chance.uniform(0, 0.3), chance.uniform(0, 0.3)
            land.network.delay_s = (0.0, chance.uniform(0, 0.15))
        if n % 100 == 60:
            cut = chance.sample(ends, 2)
            land.network.partition(*([one] for one in cut), [end for end in ends if end not in cut])
        if n % 100 == 80:
            land.network.heal()
        if n % 80 == 70:
            land.restart(chance.choice(list(land.regions)))
        for player in players:
            whims(land, player, chance.random())
        land.tick()
    land.settle(8.0)
    for player in players:
        if not player.here:
            player.connect(resume=player.resume)
    for _ in range(12):
        for player in players:
            player.say(WALK, 0.0, 0.0)
        land.seconds(1)
    assert land.network.lost
    for player in players:
        where = f"seed {seed}, {player.session.name}"
        ((region, row),) = land.whereabouts(player.session.id)
        assert (player.session.region, player.session.handle, player.session.crossing) == (region, row, 0), where
        assert player.entity == (region, row), where
        assert body(land, player, "sum") == player.promised, where
        assert player.owed == {}, where
        assert not player.session.due, where
        before = player.digests
        player.check()
        land.ticks(8)
        assert player.digests - before == len(player.session.seats), where
        assert land.sees_all_there_is(player), where


def test_one_resumes_at_another_gateway_with_what_she_is_and_the_first_lets_her_go():
    land = FarLand()
    ada = patron(land, "ada", gateway=0)
    ada.pay(PAY, 5)
    land.seconds(1)
    first, wire, session = land.gateways[0], ada.wire, ada.session.id
    ada.connect(resume=ada.resume, gateway=1)
    land.seconds(1)
    assert ada.welcomes == 2
    assert ada.session.id == session
    assert wire.ended is not None
    assert wire.ended[0] == CloseCode.REPLACED
    assert session not in first.sessions
    ada.pay(PAY, 7)
    land.seconds(1)
    assert body(land, ada, "sum") == 12
    assert ada.owed == {}
    # And back, though the first one is told once more that she is another's.
    ada.connect(resume=ada.resume, gateway=0)
    land.seconds(5)
    assert (ada.welcomes, ada.session.id, ada.wire.ended) == (3, session, None)
    assert body(land, ada, "away") == 0


@pytest.mark.parametrize("on_the_way", [False, True])
def test_a_late_word_that_she_is_anothers_is_nothing_to_one_who_has_come_back_since(*, on_the_way: bool):
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    ada = land.join("ada", 5)
    bus.late.add(sessions_topic(land.gateway.searches.number))
    ada.connect(resume=ada.resume, gateway=1)
    land.ticks(2)
    if on_the_way:
        land.put(ada, 0.0, 60.0)
        while land.whereabouts(ada.session.id):
            land.tick([5])
        # The region that she has left says no more where she is.
        bus.late.remove(sessions_topic(land.gateway.searches.number))
    ada.hang_up()
    ada.connect(resume=ada.resume, gateway=0)
    bus.let_go()
    land.ticks(5)
    assert (ada.welcomes, ada.wire.ended) == (3, None)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    assert ada.session.id not in land.gateways[1].sessions
    seq = ada.say(PAY, 7)
    land.ticks(3)
    assert ada.receipts == [seq]


def test_the_end_of_her_grace_time_at_a_gateway_that_she_has_left_follows_nobody_over_a_border():
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus, grace_s=1.0)
    ada = land.join("ada", 5)
    ada.hang_up()
    land.ticks(30)
    bus.late.add(sessions_topic(land.gateway.searches.number))
    ada.connect(resume=ada.resume, gateway=1)
    land.gateways[1].flush()
    # Which has not heard yet that she is another's.
    land.gateway.sweep()
    land.ticks(3)
    bus.let_go()
    # At the next border it is heard first.
    ada.say(JUMP, 0.0, 60.0)
    land.ticks(20)
    assert (ada.welcomes, ada.wire.ended) == (2, None)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    assert ada.entity[0] == 6


def test_an_account_plays_one_session_over_all_gateways():
    land = FarLand()
    ada = patron(land, "ada", gateway=0, token=account("ada"))
    ada.pay(PAY, 5)
    land.seconds(1)
    again = patron(land, "ada", gateway=1, token=account("ada"))
    land.seconds(1)
    assert again.session.id != ada.session.id or ada.wire.ended is not None
    assert ada.wire.ended is not None
    assert len(land.whereabouts(again.session.id)) == 1
    assert body(land, again, "sum") == 5
    other = patron(land, "bob", gateway=1, token=account("bob"))
    assert other.session.id != again.session.id


@pytest.mark.parametrize("comes_back", [False, True])
def test_an_answer_of_before_she_went_on_puts_her_nowhere(*, comes_back: bool):
    land = FarLand(game=glade(0))
    ada = land.join("ada", 5)
    first, session = land.gateways[0], ada.session
    topic, words = sessions_topic(first.searches.number), []
    land.network.end("gateway 0").subscribe(topic, words.append)
    first.router.seek(session)
    land.tick()
    (word,) = [word for word in words if msgpack.unpackb(word)[0] == "found"]
    ada.say(JUMP, 0.0, 60.0)
    while ada.entity[0] != 6:
        land.tick()
    land.ticks(3)
    # Whoever looks for her is told once more, and first of all, that she is in 5.
    if comes_back:
        ada.connect(resume=ada.resume, gateway=1)
        topic = sessions_topic(land.gateways[1].searches.number)
    else:
        first.router.seek(session)
    land.network.end("region 5").publish(topic, word)
    land.seconds(3)
    # She has said nothing that nobody would have heard.
    assert ada.welcomes == 1 + comes_back
    assert [ada.entity] == land.whereabouts(ada.session.id) == [(ada.session.region, ada.session.handle)]
    assert land.sees_all_there_is(ada)


def test_two_connections_of_an_account_that_come_at_once_get_one_session():
    land = FarLand()
    first = Patron(land, "ada", gateway=0, token=account("ada"))
    second = patron(land, "ada", gateway=0, token=account("ada"))
    land.seconds(2)
    assert sum(len(region.machine.sessions) for region in land.regions.values()) == 1
    assert first.wire.ended is not None
    assert first.wire.ended[0] == CloseCode.REPLACED
    assert len(land.whereabouts(second.session.id)) == 1


def test_an_account_has_no_second_session_while_a_region_that_may_have_its_first_does_not_answer():
    land = FarLand()
    ada = patron(land, "ada", gateway=0, token=account("ada"))
    land.kill(0)
    land.network.partition(["gateway 1"], [f"region {n}" for n in land.regions])
    again = Patron(land, "ada", gateway=1, token=account("ada"))
    land.seconds(3)
    assert again.wire.ended is not None
    assert again.wire.ended[0] == CloseCode.INTERNAL
    land.network.heal()
    again = patron(land, "ada", gateway=1, token=account("ada"))
    land.seconds(1)
    assert again.session.id == ada.session.id
    assert len(land.whereabouts(ada.session.id)) == 1


def test_a_token_of_a_session_that_is_over_fails_and_the_wire_may_begin_anew():
    land = FarLand()
    ada = land.join("ada")
    land.kill(0)
    land.seconds(40)
    assert land.whereabouts(ada.session.id) == []
    ada.connect(resume=ada.resume, gateway=1)
    land.seconds(3)
    assert [m.code for m in ada.log if isinstance(m, Error)] == [ErrorCode.RESUME_FAILED]
    ada.gateway.received(ada.wire, encode_hello(name="ada"))
    land.seconds(1)
    assert (ada.welcomes, len(land.whereabouts(ada.session.id))) == (2, 1)


def test_a_wire_on_which_one_token_after_the_other_fails_is_closed():
    land = Land(columns=1, game=STILL)
    ada = land.join("ada")
    ada.gateway.received(ada.wire, encode_leave())
    land.ticks(5)
    ada.open(0)
    for _ in range(30):
        ada.gateway.received(ada.wire, encode_hello(resume=ada.resume))
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.PROTOCOL
    ada.read()
    assert [m.code for m in ada.log if isinstance(m, Error)] == [ErrorCode.RESUME_FAILED] * 10


def test_an_account_that_waits_at_one_gateway_is_let_in_by_no_other_while_the_one_region_makes_no_ticks():
    land = FarLand(columns=1, game=STILL)
    first = Patron(land, "ada", gateway=0, token=account("ada"))
    for _ in range(60):
        land.tick([])
    second = Patron(land, "ada", gateway=1, token=account("ada"))
    for _ in range(60):
        land.tick([])
    land.seconds(3)
    assert sum(len(region.machine.sessions) for region in land.regions.values()) == 1
    assert sum(one.wire.ended is None for one in (first, second)) == 1


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("columns", [1, 2])
def test_an_account_that_waits_for_a_tick_is_let_in_by_no_other_gateway_though_its_own_is_heard_no_more(
    columns: int, *, dies: bool
):
    land = FarLand(columns=columns, game=STILL)
    ada = Patron(land, "ada", gateway=0, token=account("ada"))
    # The store is away: regions hear and answer, and make no ticks.
    for _ in range(40):
        land.tick([])
    assert sum(region.host.inbox.depth for region in land.regions.values()) == 1
    if dies:
        land.kill(0)
    else:
        land.network.partition(["gateway 0"], ["gateway 1", *(f"region {n}" for n in land.regions)])
    again = Patron(land, "ada", gateway=1, token=account("ada"))
    land.players.append(again)
    for _ in range(60):
        land.tick([])
    assert again.wire.ended is not None
    assert again.wire.ended[0] == CloseCode.INTERNAL
    land.network.heal()
    land.seconds(3)
    again.connect("ada", gateway=1, token=account("ada"))
    land.seconds(3)
    assert sum(len(region.machine.sessions) for region in land.regions.values()) == 1
    assert [again.entity] == land.whereabouts(ada.session.id)


def test_an_account_that_is_looked_for_again_elsewhere_just_after_it_was_let_in_is_found():
    land = FarLand(game=STILL)
    ada = patron(land, "ada", gateway=0, token=account("ada"))
    again = patron(land, "ada", gateway=1, token=account("ada"))
    assert again.session.id == ada.session.id


def test_an_account_that_waits_at_a_gateway_that_is_cut_off_comes_through_another_and_is_in_the_world_once():
    land = FarLand(game=STILL)
    ada = Patron(land, "ada", gateway=0, token=account("ada"))
    bob = Patron(land, "bob", gateway=0)
    while ada.session.state is not SessionState.JOINING:
        land.tick()
    # What it says from now on does not come.
    land.network.partition(["gateway 0"], [*(f"region {n}" for n in land.regions), "gateway 1"])
    land.seconds(4)
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.INTERNAL
    assert bob.wire.ended is None
    again = patron(land, "ada", gateway=1, token=account("ada"))
    land.players.append(bob)
    land.network.heal()
    for _ in range(100):
        land.tick()
        assert sum(len(region.machine.sessions) for region in land.regions.values()) <= 2
    assert bob.welcomes == 1
    assert [again.entity] == land.whereabouts(again.session.id)


def test_who_may_be_nowhere_until_it_joins_once_more_is_let_in_by_no_other_gateway():
    land = Land(gateways=2, game=STILL)
    ada = Player(land, "ada", token=account("ada"))
    land.players.append(ada)
    while not ada.welcomes:
        land.tick()
    words: list[bytes] = []
    land.bus.subscribe(sessions_topic(7), words.append)
    seek = msgpack.packb([7, 0, b"ada", 1, 0])
    ada.session.crossing = ada.session.region
    land.bus.publish(SEEK_TOPIC, seek)
    assert msgpack.packb(["wait", b"ada"]) in words
    ada.session.crossing = 0
    words.clear()
    land.bus.publish(SEEK_TOPIC, seek)
    assert msgpack.packb(["wait", b"ada"]) not in words


def test_who_waits_long_for_an_entity_comes_again_and_joins_nothing_when_its_gateway_is_heard():
    land = FarLand(game=STILL)
    ada = Patron(land, "ada", gateway=0)
    heard_join_of(land, ada)
    land.seconds(25)
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.INTERNAL
    land.network.heal()
    land.seconds(5)
    assert not any(len(region.machine.sessions) for region in land.regions.values())


@pytest.mark.parametrize("comes_again", [False, True])
def test_an_account_whose_gateway_gave_it_up_though_it_had_come_in_is_nobodys_until_it_is_found(*, comes_again: bool):
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    ada = Player(land, "ada", token=account("ada"))
    session, number = ada.session.id, land.gateway.searches.number
    land.clock.work(0.3)
    # Its JOIN is heard, and no word comes to the gateway any more.
    bus.late.add(links_topic(number))
    land.gateway.flush()
    bus.late |= {sessions_topic(number), *map(frames_topic, land.regions)}
    sweeping(land, 3)
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.INTERNAL
    bus.lose()
    sweeping(land, 1)
    assert len(land.whereabouts(session)) == 1
    if comes_again:
        ada.connect("ada", gateway=1, token=account("ada"))
        land.players.append(ada)
        sweeping(land, 40)
        assert [ada.entity] == land.whereabouts(session)
        ada.hang_up()
    sweeping(land, 40)
    assert land.whereabouts(session) == []


def sweeping(land: Land, seconds: int) -> None:
    """So long, with gateways that look at what takes long."""
    for _ in range(seconds):
        land.ticks(round(1 / TICK_S))
        for gateway in land.gateways:
            gateway.sweep()


def heard_join_of(land: FarLand, player: Player) -> None:
    """Its region hears its JOIN, and its gateway is cut off from then on."""
    while player.session.state is not SessionState.JOINING:
        land.tick()
    land.clock.work(TICK_S)
    land.gateway.flush()
    land.network.advance(land.clock.now_s())
    land.network.partition(["gateway 0"], [*(f"region {n}" for n in land.regions), "gateway 1"])


@pytest.mark.parametrize("gateway", [0, 1])
def test_one_who_comes_back_as_the_grace_time_ends_may_begin_anew(gateway: int):
    land = Land(gateways=2, game=STILL, grace_s=1.0)
    ada = land.join("ada")
    session = ada.session.id
    ada.hang_up()
    land.ticks(30)
    land.gateway.sweep()
    # No region has heard yet that she leaves.
    ada.connect(resume=ada.resume, gateway=gateway)
    # Who said that she leaves knows; another one finds her, and hears of it.
    assert (ada.session.state is SessionState.JOINED) == (gateway == 1)
    land.gateway.flush()
    land.ticks(2)
    assert land.whereabouts(session) == []
    assert session not in ada.gateway.sessions
    if gateway == 1:
        assert ada.wire.ended is not None
        assert ada.wire.ended[0] == CloseCode.INTERNAL
        ada.connect(resume=ada.resume, gateway=gateway)
    land.ticks(20)
    for one in land.gateways:
        one.sweep()
    assert [m.code for m in ada.log if isinstance(m, Error)] == [ErrorCode.RESUME_FAILED]
    ada.gateway.received(ada.wire, encode_hello(name="ada"))
    land.ticks(5)
    assert [ada.entity] == land.whereabouts(ada.session.id)


def test_a_token_holds_while_a_region_that_may_have_its_session_does_not_answer():
    land = FarLand()
    ada = land.join("ada")
    session = ada.session.id
    land.kill(0)
    land.network.partition(["gateway 1"], [f"region {n}" for n in land.regions])
    ada.connect(resume=ada.resume, gateway=1)
    land.seconds(3)
    assert not [m for m in ada.log if isinstance(m, Error)]
    assert ada.wire.ended is not None
    # By which clients know that they may come back and resume.
    assert ada.wire.ended[0] == CloseCode.INTERNAL
    land.network.heal()
    ada.connect(resume=ada.resume, gateway=1)
    land.seconds(1)
    assert (ada.welcomes, ada.session.id, ada.wire.ended) == (2, session, None)


def test_a_gateway_that_dies_leaves_its_players_away_and_those_who_return_elsewhere_go_on():
    land = FarLand()
    ada, eve = patron(land, "ada", gateway=0), patron(land, "eve", gateway=0)
    land.kill(0)
    land.seconds(4)
    assert body(land, ada, "away") == body(land, eve, "away") == 1
    ada.connect(resume=ada.resume, gateway=1)
    land.seconds(40)
    assert land.whereabouts(eve.session.id) == []
    assert body(land, ada, "away") == 0
    ada.pay(PAY, 3)
    land.seconds(1)
    assert body(land, ada, "sum") == 3


def test_one_whose_gateway_was_cut_off_before_it_heard_that_she_had_joined_is_there():
    bus = LateBus()
    land = Land(game=STILL, bus=bus)
    land.gateway.router.choose = lambda _: 5
    bus.late.add(frames_topic(5))
    ada = Player(land, "ada")
    land.players.append(ada)
    land.ticks(2)
    ((_, row),) = land.whereabouts(ada.session.id)
    body = land.regions[5].machine.world[Body]
    bus.late.add(uplink_topic(5))
    land.ticks(60)
    assert (ada.session.state, body.away[row]) == (SessionState.JOINING, 1)
    bus.late.remove(uplink_topic(5))
    # It is told that nothing is known of it, and asks again, before a frame comes.
    land.ticks(60)
    assert ada.session.asked > 1
    bus.lose()
    land.ticks(60)
    assert (ada.welcomes, ada.entity, body.away[row]) == (1, (5, row), 0)


@pytest.mark.parametrize("columns", [1, 2])
def test_one_whose_joining_was_never_durable_joins_again_and_notices_nothing(columns: int):
    land = FarLand(lag=40, columns=columns)
    ada = patron(land, "ada")
    number = ada.session.region
    ada.pay(PAY, 9)
    land.ticks(3)
    session, before = ada.session.id, ada.entity
    land.restart(number)
    assert land.whereabouts(session) == []
    while ada.entity == before:
        land.tick()
    # What has her handle next is not taken for her.
    assert land.whereabouts(session) == []
    assert ada.entity == (number, land.regions[number].host.machine.region.entities_max)
    land.seconds(8)
    assert len(land.whereabouts(session)) == 1
    assert ada.wire.ended is None
    assert ada.entity == land.whereabouts(session)[0]
    assert body(land, ada, "sum") == 9
    assert ada.owed == {}


def test_a_region_out_of_reach_for_a_while_is_told_all_that_was_said_meanwhile():
    land = FarLand()
    ada = patron(land, "ada", gateway=0)
    reached = [f"region {n}" for n in land.regions]
    land.network.partition(["gateway 0"], [*reached, "gateway 1"])
    for _ in range(20):
        ada.say(ADD, 1)
        ada.pay(PAY, 2)
        land.tick()
    assert body(land, ada, "sum") == 0
    land.seconds(4)
    # The region has heard nothing of her gateway.
    assert body(land, ada, "away") == 1
    land.network.heal()
    land.seconds(6)
    assert body(land, ada, "sum") == 60
    assert body(land, ada, "away") == 0
    assert ada.owed == {}


def test_one_who_leaves_while_her_region_is_out_of_reach_is_gone_once_it_is_not():
    land = FarLand()
    ada = patron(land, "ada", gateway=0)
    session = ada.session.id
    land.network.partition(["gateway 0"], [*(f"region {n}" for n in land.regions), "gateway 1"])
    ada.gateway.received(ada.wire, encode_leave())
    land.seconds(1)
    assert len(land.whereabouts(session)) == 1
    land.network.heal()
    land.seconds(3)
    assert land.whereabouts(session) == []


def test_a_keyframe_is_asked_for_until_it_comes_though_no_frame_does():
    land = FarLand(gateways=1)
    ada = patron(land, "ada", gateway=0)
    number = ada.session.region
    asked: list[bytes] = []
    land.network.end(f"region {number}").subscribe(keyframes_topic(number), asked.append)
    stream = land.gateway.router.streams[number]
    land.network.end("gateway 0").publish(frames_topic(number), b"")
    land.network.partition(["gateway 0"])
    land.seconds(0.1)
    assert stream.awaits_key
    land.seconds(3)
    land.network.heal()
    land.seconds(2)
    assert asked
    assert not stream.awaits_key


def test_an_account_comes_in_though_no_region_ticks():
    land = Land(2)
    ada = Player(land, "ada", token=account("ada"))
    # It may be on its way between the two, as far as one round tells.
    assert ada.session.state is SessionState.CONNECTING
    land.clock.work(1.0)
    land.gateway.sweep()
    assert ada.session.state is SessionState.JOINING


@pytest.mark.parametrize("sent", [False, True])
def test_a_guest_who_hangs_up_before_she_is_welcomed_leaves_nothing_behind_and_an_account_comes_back(*, sent: bool):
    land = Land(game=STILL)
    guest = Player(land, "guest")
    ada = Player(land, "ada", token=account("ada"))
    land.clock.work(1.0)
    land.gateway.searches.turn()
    if sent:
        land.gateway.flush()
    assert guest.session.state is ada.session.state is SessionState.JOINING
    for one in (guest, ada):
        one.hang_up()
    land.ticks(5)
    session = ada.session.id
    assert list(land.gateway.sessions) == [session]
    assert [s for region in land.regions.values() for s in region.machine.attending()] == [session]
    ada.connect(token=account("ada"))
    assert (ada.session.id, ada.session.state) == (session, SessionState.JOINED)


def test_who_comes_and_goes_while_a_region_has_no_owner_leaves_nothing_behind():
    land = FarLand(columns=1)
    ada = patron(land, "ada")
    link = land.gateways[0].router.links[ada.session.region]
    land.network.partition(["gateway 0"], [f"region {n}" for n in land.regions])
    while not link.stuck:
        Player(land, "guest").gateway.flush()
    sessions = len(land.gateways[0].sessions)
    for _ in range(500):
        guest = Player(land, "guest")
        guest.gateway.received(guest.wire, encode_leave())
    assert len(land.gateways[0].sessions) == sessions
    bob = Player(land, "bob")
    # That he would come in, and since when he is there.
    assert link.waiting == 2
    land.players.append(bob)
    land.settle()
    assert len(land.whereabouts(bob.session.id)) == len(land.whereabouts(ada.session.id)) == 1
    assert link.waiting == 0


@pytest.mark.parametrize("seconds", [1.8, 10.0])
def test_a_gateway_that_was_cut_off_while_its_player_went_elsewhere_hears_of_it(seconds: float):
    land = FarLand()
    ada = patron(land, "ada", token=account("ada"))
    land.network.partition(["gateway 1", *(f"region {n}" for n in land.regions)])
    # Her connection there seems to stand.
    again = patron(land, "ada", gateway=1, token=account("ada"))
    assert again.session.id == ada.session.id
    land.seconds(seconds)
    assert ada.wire.ended is None
    land.network.heal()
    land.seconds(4)
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.REPLACED
    assert again.wire.ended is None
    assert ada.session.id not in land.gateways[0].sessions
    again.pay(PAY, 3)
    land.seconds(1)
    assert body(land, again, "sum") == 3
    assert again.owed == {}


def test_who_has_gone_elsewhere_since_she_came_is_not_taken_back_at_a_border():
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    land.gateway.router.choose = lambda _: 5
    ada = land.join("ada", token=account("ada"))
    # She has only just come, for the gateway that she leaves as she crosses the border.
    ada.hang_up()
    ada.connect(token=account("ada"))
    land.ticks(2)
    land.put(ada, -38.0, 60.0)
    ada.say(WALK, 1.0, 0.0)
    for _ in range(20):
        land.tick([5])
    assert ada.session.crossing == 6
    bus.late.add(frames_topic(6))
    land.tick([6])
    assert [region for region, _ in land.whereabouts(ada.session.id)] == [6]
    again = Player(land, "ada", gateway=1, token=account("ada"))
    land.players.append(again)
    land.tick()
    assert again.gateway is land.gateways[1]
    for gateway in land.gateways:
        gateway.flush()
    bus.let_go()
    land.ticks(10)
    assert again.wire.ended is None
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.REPLACED
    assert [again.entity] == land.whereabouts(again.session.id)


@pytest.mark.parametrize("goes_on_at", [0, 1])
def test_a_connection_that_its_player_gave_up_before_her_session_was_found_takes_it_from_no_later_one(goes_on_at: int):
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    ada = land.join("ada", token=account("ada"))
    land.ticks(5)
    # She is looked for, and has no patience: what she hung up on is half open for its gateway.
    bus.late.add(sessions_topic(land.gateways[1].searches.number))
    given_up = Player(land, "ada", gateway=1, token=account("ada"))
    land.players.append(given_up)
    land.ticks(2)
    again = Player(land, "ada", gateway=goes_on_at, token=account("ada"))
    land.players.append(again)
    land.ticks(2)
    bus.let_go()
    land.ticks(10)
    assert again.wire.ended is None
    assert again.session.id == ada.session.id
    assert [one.wire.ended[0] for one in (ada, given_up) if one.wire.ended is not None] == [CloseCode.REPLACED] * 2
    assert [again.entity] == land.whereabouts(again.session.id)


def test_who_comes_back_to_where_it_was_not_heard_yet_that_she_has_an_entity_is_there():
    bus = LateBus()
    land = Land(columns=1, gateways=2, game=STILL, bus=bus)
    ada = Player(land, "ada", token=account("ada"))
    land.clock.work(0.3)
    land.gateway.flush()
    assert ada.session.state is SessionState.JOINING
    bus.late |= {frames_topic(5), sessions_topic(land.gateway.searches.number)}
    land.tick()
    # She has no patience, and none there either.
    elsewhere = Player(land, "ada", gateway=1, token=account("ada"))
    assert elsewhere.session.id == ada.session.id
    land.tick()
    elsewhere.hang_up()
    land.tick()
    again = Player(land, "ada", token=account("ada"))
    assert again.session is not elsewhere.session
    assert again.session.state is SessionState.JOINING
    land.players.append(again)
    bus.let_go()
    land.ticks(5)
    assert again.wire.ended is None
    assert [again.entity] == land.whereabouts(again.session.id)
    assert again.session.id not in land.gateways[1].sessions


def test_who_has_played_elsewhere_before_it_was_heard_that_she_has_an_entity_is_told_that_she_goes_on():
    land = FarLand(game=STILL)
    ada = Player(land, "ada", token=account("ada"))
    land.players.append(ada)
    heard_join_of(land, ada)
    land.tick()
    elsewhere = Player(land, "ada", gateway=1, token=account("ada"))
    land.players.append(elsewhere)
    while not elsewhere.welcomes:
        land.tick()
    elsewhere.say(PAY, 5)
    while not elsewhere.receipts:
        land.tick()
    elsewhere.hang_up()
    ada.connect(token=account("ada"))
    assert ada.session.state is SessionState.JOINING
    land.settle()
    # Of a new session she would take it that nothing was sent in it, and what she sends next would have been.
    (welcome,) = [message for message in ada.log if isinstance(message, Welcome)]
    assert (welcome.session, welcome.resumed, welcome.ack) == (elsewhere.session.id, True, elsewhere.seq)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_who_gave_up_before_her_hello_was_read_takes_her_session_from_no_other_gateway(*, hangs_up: bool):
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    ada = land.join("ada")
    resume = ada.resume
    bus.late.add(sessions_topic(land.gateway.searches.number))
    ada.hang_up()
    given_up = Player(land, "ada", hello=False)
    land.ticks(2)
    ada.connect(resume=resume, gateway=1)
    land.ticks(2)
    # The first gateway was stopped, and what she said there before she went on it reads now; and that she hung up, too,
    # unless something between them has that wait.
    given_up.hello(resume=resume)
    if hangs_up:
        given_up.hang_up()
    land.ticks(2)
    bus.let_go()
    land.ticks(5)
    assert (ada.welcomes, ada.wire.ended) == (2, None)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    assert ada.session.id not in land.gateway.sessions


@pytest.mark.parametrize("where", ["before it was heard that she is there", "while she is on her way"])
def test_nor_does_who_has_hung_up_where_her_entity_was_not_seen_yet(where: str):
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    land.gateway.router.choose = lambda _: 5
    frames = {frames_topic(5), frames_topic(6)}
    if where == "before it was heard that she is there":
        bus.late |= frames
    ada = Player(land, "ada", token=account("ada"))
    land.ticks(10)
    if where == "while she is on her way":
        land.put(ada, 0.0, 60.0)
        while not ada.session.crossing:
            land.tick([5])
    bus.late |= {*frames, sessions_topic(land.gateway.searches.number)}
    given_up = Player(land, "ada", hello=False)
    land.ticks(5)
    again = Player(land, "ada", gateway=1, token=account("ada"))
    land.players.append(again)
    land.ticks(5)
    # It reads in one go that she came to it once more, and hung up, before she went to the other one.
    given_up.hello(token=account("ada"))
    assert given_up.session is ada.session
    assert given_up.session.state is SessionState.JOINING
    given_up.hang_up()
    land.ticks(2)
    bus.let_go()
    land.ticks(5)
    assert (again.welcomes, again.wire.ended) == (1, None)
    assert [again.entity] == land.whereabouts(again.session.id)
    assert again.session.id not in land.gateway.sessions


def test_who_comes_back_to_a_gateway_that_had_said_in_vain_that_she_leaves_stays_though_her_region_begins_anew():
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus, grace_s=1.0)
    ada = land.join("ada", 5)
    ada.hang_up()
    # The first gateway does not hear that she is another's, and says that her grace time is over.
    bus.late.add(sessions_topic(land.gateway.searches.number))
    ada.connect(resume=ada.resume, gateway=1)
    land.ticks(30)
    land.gateway.sweep()
    land.ticks(2)
    assert ada.session.id not in land.gateway.sessions
    bus.lose()
    ada.connect(resume=ada.resume)
    while ada.welcomes < 3:
        land.tick()
        land.gateway.flush()
    land.restart(5)
    land.regions[5].host.show()
    land.ticks(20)
    assert ada.wire.ended is None
    assert [ada.entity] == land.whereabouts(ada.session.id)


def test_who_left_where_she_no_longer_was_is_found_where_she_is():
    land = Land(gateways=2, game=STILL)
    ada = land.join("ada", 5, gateway=1)
    # Where the first gateway had her last, nobody knew of her any more as her grace time ended there.
    land.gateway.router._left[ada.session.id] = (land.clock.now_s(), 6)
    ada.hang_up()
    ada.connect(resume=ada.resume)
    for _ in range(40):
        land.tick()
        land.gateway.flush()
    assert ada.welcomes == 2
    assert [ada.entity] == land.whereabouts(ada.session.id)


def test_a_gateway_that_lets_go_of_a_session_speaks_for_it_nowhere_else_either():
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus)
    ada = land.join("ada", 5)
    session = ada.session.id
    bus.late.add(sessions_topic(land.gateway.searches.number))
    again = Player(land, "ada", gateway=1, resume=ada.resume)
    land.put(ada, 0.0, 60.0)
    while land.whereabouts(session):
        land.tick([5])
    # She leaves for good as she crosses the border, beyond which the first gateway speaks for her sooner.
    again.gateway.received(again.wire, encode_leave())
    for _ in range(3):
        land.tick([6])
    assert [region for region, _ in land.whereabouts(session)] == [6]
    bus.let_go()
    assert all(session not in gateway.sessions for gateway in land.gateways)
    for _ in range(round(35.0 / TICK_S)):
        land.tick([6])
    assert land.whereabouts(session) == []


@pytest.mark.parametrize("says", ["that she is away", "that she leaves"])
def test_what_a_gateway_that_was_cut_off_says_of_her_where_she_was_follows_her_over_no_border(says: str):
    land = FarLand(game=STILL)
    ada = patron(land, "ada")
    first, wire, begins = land.gateways[0], ada.wire, ada.entity[0]
    if says == "that she leaves":
        ada.hang_up()
        land.seconds(1)
    land.network.partition(["gateway 0"], ["gateway 1", *(f"region {n}" for n in land.regions)])
    land.seconds(7)
    ada.connect(resume=ada.resume, gateway=1)
    land.seconds(1)
    ada.say(JUMP, 0.0 if begins == 5 else -60.0, 60.0)
    # Longer than her claim is kept where she is no more, and less than what is said there follows her.
    land.seconds(25)
    assert ada.entity[0] != begins
    if says == "that she is away":
        first.lost(wire)
    assert (ada.session.id in first.sessions) == (says == "that she is away")
    land.network.heal()
    land.seconds(4)
    assert (ada.welcomes, ada.wire.ended) == (2, None)
    assert [ada.entity] == land.whereabouts(ada.session.id)
    assert body(land, ada, "away") == 0
    assert ada.session.id not in first.sessions


def test_who_comes_back_too_late_where_nobody_heard_that_she_was_elsewhere_meanwhile_begins_anew():
    bus = LateBus()
    land = Land(gateways=2, game=STILL, bus=bus, grace_s=1.0)
    ada = land.join("ada", 5)
    session = ada.session.id
    ada.hang_up()
    # Of all that is said to the first gateway while she is at the other one it hears nothing.
    bus.late.add(sessions_topic(land.gateway.searches.number))
    ada.connect(resume=ada.resume, gateway=1)
    land.ticks(5)
    ada.say(JUMP, 0.0, 60.0)
    while ada.entity[0] != 6:
        land.tick()
    ada.hang_up()
    land.ticks(25)
    # Nor is its clock as fast as the other one's.
    land.gateways[1].sweep()
    land.ticks(2)
    assert land.whereabouts(session) == []
    bus.lose()
    ada.connect(resume=ada.resume)
    land.ticks(20)
    land.gateway.sweep()
    assert (ada.welcomes, ada.wire.ended) == (2, None)
    assert [m.code for m in ada.log if isinstance(m, Error)] == [ErrorCode.RESUME_FAILED]


@pytest.mark.parametrize("how", ["she went over a border", "she has a receipt", "the region has its owner still"])
def test_who_left_the_world_while_her_gateway_was_cut_off_hears_that_her_session_is_over(how: str):
    land = FarLand(game=STILL)
    ada = patron(land, "ada")
    session, regions = ada.session.id, [f"region {n}" for n in land.regions]
    if how == "she went over a border":
        ada.say(JUMP, 0.0 if ada.entity[0] == 5 else -60.0, 60.0)
        land.seconds(1)
    elif how == "she has a receipt":
        ada.pay(PAY, 3)
        land.seconds(1)
    land.network.partition(["gateway 0"], [*regions, "gateway 1"])
    land.seconds(40)
    assert land.whereabouts(session) == []
    assert ada.wire.ended is None
    if how != "the region has its owner still":
        land.restart(ada.session.region)
    # The frame that told of it did not come through, and nobody says so again.
    land.network.heal()
    land.seconds(4)
    assert ada.wire.ended == (CloseCode.INTERNAL, "the session is over")
    ada.connect(resume=ada.resume)
    land.seconds(2)
    assert [m.code for m in ada.log if isinstance(m, Error)] == [ErrorCode.RESUME_FAILED]
    assert land.whereabouts(session) == []


def test_who_came_back_elsewhere_after_her_region_began_anew_is_waited_for_from_when_she_was_there_last():
    land = FarLand(game=STILL)
    ada = patron(land, "ada", token=account("ada"))
    session = ada.session.id
    ada.hang_up()
    land.seconds(1)
    # Its new host has heard of nobody, and hears from the first gateway that she is away.
    land.restart(ada.session.region)
    land.seconds(2)
    again = patron(land, "ada", gateway=1, token=account("ada"))
    assert again.session.id == session
    land.seconds(20)
    assert session not in land.gateways[0].sessions
    again.hang_up()
    land.seconds(15)
    assert len(land.whereabouts(session)) == 1
    land.seconds(20)
    assert land.whereabouts(session) == []


def test_who_is_given_up_because_her_region_does_not_answer_may_come_again_and_goes_on():
    land = FarLand(game=STILL)
    ada = patron(land, "ada")
    ada.pay(PAY, 3)
    land.seconds(1)
    session = ada.session.id
    source, destination = sorted(land.regions, key=lambda n: n != ada.entity[0])
    land.network.partition([f"region {source}", "gateway 0", "gateway 1"])
    ada.say(JUMP, 0.0 if destination == 6 else -60.0, 60.0)
    land.seconds(29)
    assert ada.wire.ended is None
    land.seconds(5)
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.INTERNAL
    land.settle(4.0)
    ada.connect(resume=ada.resume)
    land.seconds(2)
    assert (ada.welcomes, ada.session.id, ada.wire.ended) == (2, session, None)
    assert body(land, ada, "sum") == 3


@pytest.mark.parametrize("just_came", [False, True])
def test_a_gateway_that_was_cut_off_takes_nobody_back_whom_it_finds_beyond_a_border(*, just_came: bool):
    land = FarLand(game=STILL)
    ada = patron(land, "ada", token=account("ada"))
    begins = ada.session.region
    if just_came:
        ada.connect(resume=ada.resume)
        land.ticks(5)
    land.network.partition(["gateway 1", *(f"region {n}" for n in land.regions)])
    # Its claim is forgotten before she comes back, so nobody has it told that she is another's.
    land.seconds(3)
    again = patron(land, "ada", gateway=1, token=account("ada"))
    west, _, east, south = land.atlas.limits
    land.put(again, east - 20.0 if begins == min(land.regions) else west + 20.0, south - 20.0)
    land.seconds(2)
    assert again.entity[0] != begins
    assert ada.wire.ended is None
    land.network.heal()
    land.seconds(4)
    assert again.wire.ended is None
    assert ada.wire.ended is not None
    assert ada.wire.ended[0] == CloseCode.REPLACED
    assert [again.entity] == land.whereabouts(again.session.id)
    assert land.sees_all_there_is(again)
