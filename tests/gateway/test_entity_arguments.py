"""A command that names an entity names the one its player saw, wherever they are by then, or nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocol.errors import ErrorCode
from protocol.messages import Error
from server.sim.component import U64, Archetype
from server.sim.game import FIRST_COMMAND, Command, Mail, Tick, arg
from server.sim.world import World
from tests.gateway.borderland import Land, Player
from tests.gateway.glade import Body, glade

STILL = glade(0)


class Poke(Command):
    """Counted at the one who is poked."""

    reliable = True
    who: U64 = arg("entity")


class Poked(Mail):
    """From over the border."""


POKE = FIRST_COMMAND + len(STILL.commands)


def poke(world: World, tick: Tick) -> None:
    who = tick.commands(Poke).who
    rows = world.known(who, Body)
    np.add.at(world[Body].sum, rows[rows >= 0], 1)
    if (rows < 0).any():
        tick.send(Poked, to=who[rows < 0])
    np.add.at(world[Body].sum, tick.mail(Poked).row, 1)


OFFER = Archetype("offer", Body)
GAME = replace(
    STILL,
    archetypes=(*STILL.archetypes, OFFER),
    commands=(*STILL.commands, Poke),
    mail=(Poked,),
    systems=(*STILL.systems, poke),
)


def two_regions() -> tuple[Land, Player, Player, Player]:
    """Ada and bob in region 5, cid in region 6: under bob's handle."""
    land = Land(game=GAME)
    bob = land.join("bob", 5)
    ada = land.join("ada", 5)
    cid = land.join("cid", 6)
    assert bob.entity[1] == cid.entity[1]
    land.put(ada, -42.0, 60.0)
    land.put(bob, -46.0, 60.0)
    land.put(cid, -26.0, 60.0)
    land.ticks(2)
    return land, ada, bob, cid


def pokes(land: Land, player: Player) -> int:
    ((region, row),) = land.whereabouts(player.session.id)
    return int(land.regions[region].machine.world[Body].sum[row])


@pytest.mark.parametrize("bare", [True, False])
def test_one_in_her_own_region_is_meant(*, bare: bool):
    land, ada, bob, cid = two_regions()
    region, handle = bob.entity
    ada.say(POKE, handle if bare else [region, handle])
    land.ticks(2)
    assert (pokes(land, bob), pokes(land, cid)) == (1, 0)
    assert ada.receipts == [ada.seq]


def test_one_in_another_region_is_reached_there():
    land, ada, bob, cid = two_regions()
    ada.say(POKE, list(cid.entity))
    land.ticks(3)
    assert (pokes(land, bob), pokes(land, cid)) == (0, 1)
    assert ada.receipts == [ada.seq]


@pytest.mark.parametrize("bare", [True, False])
def test_what_she_says_on_the_way_is_about_whom_she_saw(*, bare: bool):
    land, ada, bob, cid = two_regions()
    region, handle = bob.entity
    land.put(ada, -30.0, 60.0)
    land.tick([5])
    assert ada.session.crossing == 6
    ada.say(POKE, handle if bare else [region, handle])
    land.ticks(8)
    assert ada.entity[0] == 6
    # Cid has bob's handle, where she arrives.
    assert (pokes(land, bob), pokes(land, cid)) == (1, 0)
    assert ada.receipts == [ada.seq]


def test_what_she_says_before_she_has_heard_where_she_is_names_whom_she_saw():
    land, ada, bob, cid = two_regions()
    seen = bob.entity
    land.put(ada, -30.0, 60.0)
    land.players.remove(ada)
    land.ticks(6)
    assert ada.session.region == 6
    ada.say(POKE, list(seen))
    land.ticks(3)
    assert (pokes(land, bob), pokes(land, cid)) == (1, 0)
    ada.read()
    ada.say(POKE, cid.entity[1])
    land.ticks(3)
    assert (pokes(land, bob), pokes(land, cid)) == (1, 1)


def test_who_goes_over_the_border_meanwhile_is_still_the_one():
    land, ada, bob, cid = two_regions()
    seen = bob.entity
    land.put(bob, -30.0, 60.0)
    land.tick([5])
    assert land.whereabouts(bob.session.id) == [], "he is on the way"
    ada.say(POKE, list(seen))
    land.ticks(6)
    assert bob.entity[0] == 6
    assert (pokes(land, bob), pokes(land, cid)) == (1, 0)
    ada.say(POKE, list(seen))
    land.ticks(6)
    assert (pokes(land, bob), pokes(land, cid)) == (2, 0), "by the name that he had when she saw him last"


def test_who_came_from_elsewhere_is_known_by_the_number_of_before():
    land, ada, bob, cid = two_regions()
    land.put(cid, -50.0, 60.0)
    land.ticks(6)
    assert cid.entity[0] == 5
    ada.say(POKE, list(cid.entity))
    land.ticks(3)
    assert (pokes(land, bob), pokes(land, cid)) == (0, 1)


def test_who_went_on_long_ago_is_nobody_by_the_name_of_before():
    land, ada, bob, cid = two_regions()
    seen = bob.entity
    land.put(bob, -30.0, 60.0)
    land.ticks(6)
    ada.say(POKE, list(seen))
    land.ticks(6)
    assert pokes(land, bob) == 1
    land.ticks(land.gateways[0].router.streams[5]._limits.crossing_hold_ticks + 2)
    ada.say(POKE, list(seen))
    land.ticks(6)
    assert (pokes(land, bob), pokes(land, cid)) == (1, 0)


def test_a_gateway_that_has_just_come_to_know_the_region_says_the_handle():
    land = Land(game=GAME, gateways=2)
    bob, ada = land.join("bob", 5), land.join("ada", 5)
    land.put(ada, -42.0, 60.0)
    land.put(bob, -46.0, 60.0)
    for _ in range(6):
        # Nobody at the other gateway looks at anything for so long that it watches nothing.
        land.ticks(20)
        for gateway in land.gateways:
            gateway.sweep()
    assert not land.gateways[1].router.streams
    ada.hang_up()
    land.ticks(2)
    ada.connect(resume=ada.resume, gateway=1)
    while ada.welcomes == 1:
        ada.read()
        if ada.welcomes == 1:
            land.tick()
    assert land.gateways[1].router.streams[5].replica.tick < 0
    ada.say(POKE, list(bob.entity))
    land.ticks(6)
    assert pokes(land, bob) == 1
    assert ada.receipts == [ada.seq]


def test_one_without_a_place_is_known_in_its_own_region():
    land, ada, bob, _ = two_regions()
    world = land.regions[5].machine.world
    offer = int(world.spawn(OFFER)[0])
    ada.say(POKE, [5, offer])
    land.ticks(3)
    assert world[Body].sum[offer] == 1
    assert pokes(land, bob) == 0


@pytest.mark.parametrize("goes_on", [True, False])
def test_one_beyond_the_border_is_found_by_its_region_where_no_number_is_known(*, goes_on: bool):
    land, ada, bob, cid = two_regions()
    region, handle = cid.entity
    # As of a gateway that she has just come to.
    land.gateways[0].router.streams[region].replica.number[handle] = 0
    ada.say(POKE, [region, handle])
    land.tick([5])
    if goes_on:
        land.put(cid, -50.0, 60.0)
        land.tick([6])
    land.ticks(8)
    assert (pokes(land, bob), pokes(land, cid)) == (0, 1)
    assert ada.receipts == [ada.seq]


def test_nobody_is_meant_by_a_handle_that_nobody_ever_had_there_or_by_a_region_that_is_not():
    land, ada, bob, cid = two_regions()
    for who in ([5, 4095], [6, 4095], [5, 2**32 - 1], [7, 1], [2**32 - 1, 2**32 - 1]):
        ada.say(POKE, who)
        land.ticks(3)
        assert ada.receipts[-1] == ada.seq
    assert (pokes(land, bob), pokes(land, cid)) == (0, 0)
    assert sum(region.machine.post.dead != () for region in land.regions.values()) == 0


@pytest.mark.parametrize(
    "who", [-1, 2**32, True, 1.0, None, [], [5], [5, 1, 1], [5, True], [5, -1], [2**32, 1], ["5", 1]]
)
def test_what_is_no_entity_is_refused(who: Any):
    land, ada, *_ = two_regions()
    ada.say(POKE, who)
    ada.read()
    (refusal,) = [m for m in ada.told if isinstance(m, Error)]
    assert (refusal.code, refusal.seq) == (ErrorCode.INVALID_ARGUMENT, ada.seq)
    assert "Poke.who must be an entity" in refusal.text
    land.tick()
