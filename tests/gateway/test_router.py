"""Several regions behind one gateway: who is where, who sees what over a border."""

from __future__ import annotations

import pytest

from server.gateway.fanout import Fanout
from server.gateway.interest import ViewSpec
from server.regions.frame import Frame
from tests.gateway.borderland import VIEW, WHOLE, Land
from tests.gateway.glade import ADD, glade

STILL = glade(0)


def test_sessions_are_spread_over_the_regions_and_play_where_they_are():
    land = Land(2, 2, game=STILL)
    players = [land.join(f"p{n}") for n in range(24)]
    assert {land.place(p)[0] for p in players} == set(land.regions)
    for player in players:
        assert player.entity[0] == land.place(player)[0]
        seq = player.say(ADD, 7)
        land.tick()
        land.tick()
        assert player.acked == seq
        assert player.view(player.entity[0]).value(player.entity[1], "Body.sum") == 7


@pytest.mark.parametrize("players", [1, 30])
def test_a_regions_frame_is_decoded_and_encoded_once_per_tick_however_many_see_it(
    players: int, monkeypatch: pytest.MonkeyPatch
):
    land = Land(2, 1, game=glade(50), view=WHOLE)
    for n in range(players):
        # All of them near the border, so that everyone sees both regions.
        land.put(land.join(f"p{n}"), -37.0 + n % 2, 60.0 + n / 10)
    land.ticks(2)
    for player in land.players:
        assert set(player.session.seats) == set(land.regions)
    calls = {"decode": 0, "encode": 0}
    decode, encode = Frame.decode.__func__, Fanout.encode

    def decoded(cls, *args):
        calls["decode"] += 1
        return decode(cls, *args)

    def encoded(*args, **options):
        calls["encode"] += 1
        return encode(*args, **options)

    monkeypatch.setattr(Frame, "decode", classmethod(decoded))
    monkeypatch.setattr(Fanout, "encode", encoded)
    before = land.gateway.router.sent
    land.ticks(20)
    after = land.gateway.router.sent
    assert after.heard - before.heard == calls["decode"] == calls["encode"] == 20 * len(land.regions)
    # And yet everyone was shown something of both, in every tick.
    assert after.frames - before.frames == players * 20 * len(land.regions)


@pytest.mark.parametrize("view", [VIEW, WHOLE], ids=["ringed", "whole"])
def test_one_sees_over_a_border_what_is_there_and_no_more(view: ViewSpec):
    land = Land(2, 2, game=glade(150), view=view)
    player = land.join(region=5)
    over = 0
    for x, y in ((-38.0, 50.0), (-60.0, 60.0), (-90.0, 68.0), (-45.0, 70.0), (-37.0, 71.0), (-99.0, 41.0)):
        land.put(player, x, y)
        land.ticks(12)
        for _ in range(8):
            land.tick()
            assert land.sees_all_there_is(player), (x, y)
            over += len({region for region, _ in player.seen()} - {player.entity[0]})
        before = player.digests
        player.check()
        land.ticks(8)
        # One answer of each region in view; `read` compares each with what is seen.
        assert player.digests - before == len(player.session.seats)
    assert over > 0
