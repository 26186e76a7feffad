"""The hour at a border: what players are told of the world's clock goes on there as if there were none."""

from __future__ import annotations

import pytest

from protocol.messages import Clock, Delta, Keyframe, You
from server.regions.division import NOTICE_TICKS, division_order
from server.regions.worldclock import clock_order
from server.shard.ports import commands_topic
from tests.gateway.borderland import TICK_S, Land, Player
from tests.gateway.glade import WALK, glade

WEST, EAST = 5, 6
STILL = glade(0)
RATE_HZ = 20
# Ticks that a region may be behind the world's clock (server/host/host.py).
APART_TICKS = RATE_HZ


class Hours:
    """The world's clock as a player has it, with each view of its own region."""

    def __init__(self, player: Player) -> None:
        self.player = player
        # By region: the hour, in ticks, less those that everybody made meanwhile.
        self.heard: dict[int, list[int]] = {}
        player.watches.append(self.look)

    def look(self) -> None:
        player = self.player
        assert player.views is not None
        region, _ = player.views.entity
        view = player.views[region]
        seen = isinstance(player.log[-1], Delta | Keyframe) and player.log[-1].region == region
        if seen and view.tick is not None:
            made = round(player.land.clock.now_s() / TICK_S)
            self.heard.setdefault(region, []).append(view.tick + view.ahead - made)

    @property
    def jumps(self) -> int:
        """Ticks by which the hour ever differed from one that passes with the ticks."""
        heard = [hour for hours in self.heard.values() for hour in hours]
        return max(heard) - min(heard)


def walk_over(land: Land, player: Player, steps: int, dx: float) -> None:
    for _ in range(steps):
        player.say(WALK, dx, 0.0)
        land.tick()


@pytest.mark.parametrize("sleeper", [WEST, EAST])
def test_the_hour_goes_on_over_a_border_to_a_region_that_slept_and_from_one(sleeper: int) -> None:
    land = Land(2, 1, game=STILL)
    land.ticks(10)
    # The one stands still while the other makes three hundred ticks.
    for _ in range(300):
        land.tick([WEST if sleeper == EAST else EAST])
    ada = land.join("ada", WEST)
    land.put(ada, -40.0, 70.0)
    land.ticks(10)
    hours = Hours(ada)
    walk_over(land, ada, 20, 1.0)
    walk_over(land, ada, 30, -1.0)
    assert [region for region, _ in ada.yous[-2:]] == [EAST, WEST]
    assert set(hours.heard) == {EAST, WEST}
    # Their ticks are three hundred apart, and the hour is not.
    ticks = {n: r.machine.tick for n, r in land.regions.items()}
    assert abs(ticks[WEST] - ticks[EAST]) > 250
    assert hours.jumps <= 1
    clocks = {r.machine.world_tick for r in land.regions.values()}
    assert max(clocks) - min(clocks) <= 1


def test_the_hour_goes_on_in_a_part_that_begins_hours_later() -> None:
    land = Land(1, 1, game=STILL, split_depth=1)
    ada = land.join("ada", WEST)
    parts = [number for number in land.regions if number != WEST]
    for _ in range(200):
        land.tick([WEST])
    assert {land.regions[n].machine.tick for n in parts} != {land.regions[WEST].machine.tick}
    land.put(ada, -36.0 - 10.0, 72.0 - 4.0)
    hours = Hours(ada)
    land.bus.publish(commands_topic(WEST), division_order(divide=True))
    land.ticks(NOTICE_TICKS + 5)
    walk_over(land, ada, 30, 1.0)
    assert ada.entity[0] in parts
    assert set(hours.heard) == {WEST, ada.entity[0]}
    part = land.regions[ada.entity[0]].machine
    assert part.clock.ahead_ticks > 150
    assert hours.jumps <= 1


def test_who_is_in_a_region_whose_clock_jumps_is_told_and_nobody_else() -> None:
    land = Land(2, 1, game=STILL)
    ada, bob = land.join("ada", WEST), land.join("bob", EAST)
    # Both see over the border.
    land.put(ada, -37.0, 70.0)
    land.put(bob, -35.0, 70.0)
    land.ticks(8)
    assert all(len(player.session.seats) == 2 for player in (ada, bob))
    for player in (ada, bob):
        player.log.clear()
    land.bus.publish(commands_topic(EAST), clock_order(APART_TICKS - 3))
    land.ticks(3)
    assert [m for m in bob.log if isinstance(m, Clock)] == [Clock(EAST, APART_TICKS - 3)]
    assert [type(m) for m in ada.log if isinstance(m, Clock | You)] == []
    assert bob.view(EAST).ahead == APART_TICKS - 3


def test_a_new_view_and_another_gateway_bring_the_clock_along() -> None:
    land = Land(2, 1, game=STILL, gateways=2)
    land.ticks(3)
    for _ in range(100):
        land.tick([WEST])
    ada = land.join("ada", EAST)
    ahead = land.regions[EAST].machine.clock.ahead_ticks
    assert ahead > 90
    land.ticks(3)
    assert ada.view(EAST).ahead == ahead
    bob = land.join("bob", EAST, gateway=1)
    land.ticks(3)
    assert bob.view(EAST).ahead == ahead
    ada.hang_up()
    land.ticks(3)
    ada.connect(resume=ada.resume)
    land.ticks(3)
    assert ada.welcomes == 2
    assert ada.view(EAST).ahead == ahead


def test_in_a_world_of_one_region_that_was_never_told_nothing_is_said_of_it() -> None:
    land = Land(1, 1, game=STILL)
    ada = land.join("ada")
    land.ticks(30)
    assert not [m for m in ada.log if isinstance(m, Clock | You)]
    # One that was divided once has a clock of its own for good.
    land.bus.publish(commands_topic(WEST), clock_order(70))
    land.ticks(2)
    assert ada.view(WEST).ahead == 70
    land.ticks(2)
    bob = land.join("bob")
    land.ticks(2)
    assert bob.view(WEST).ahead == 70
