"""A bot's tables say what the exact views say, of each region, over borders too."""

from __future__ import annotations

import pytest

from clients.python.table import TableViews
from protocol.codec import decode_server, encode_you
from protocol.messages import Welcome
from tests.gateway.borderland import Land
from tests.gateway.glade import WALK, glade
from tests.gateway.meadow import messages


def test_a_walk_over_borders_looks_the_same_in_tables():
    land = Land(2, 2, game=glade(40))
    ada = land.join("ada", 5)
    welcome = next(m for m in ada.log if isinstance(m, Welcome))
    tables = TableViews(welcome)
    # It comes late: a view begins anew with the connection.
    ada.hang_up()
    ada.connect(resume=ada.resume)
    read, compared, homes = ada.read, 0, set()

    def read_twice() -> None:
        nonlocal tables
        data = ada.wire.taken
        read()
        for payload in messages(data):
            message = decode_server(payload)
            if isinstance(message, Welcome):
                tables = TableViews(message)
            else:
                tables.receive(payload)

    ada.read = read_twice  # type: ignore[method-assign]  # so that both read the very same bytes
    land.tick()
    for dx, dy in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 1.0)):
        for _ in range(60):
            ada.say(WALK, dx, dy)
            land.tick()
            region, handle = ada.entity
            assert (tables.region, tables.handle) == (region, handle)
            view = ada.view(region)
            assert set(tables.own.entities) == set(view.entities)
            for other in view.entities:
                assert tables.own.archetype(other) == view.archetype(other)
                assert tables.own.value(other, "Position.x") == view.value(other, "Position.x")
                compared += 1
            homes.add(region)
    assert compared > 1000
    assert len(homes) > 2


def test_who_is_told_that_it_is_nobody_is_not_in_view():
    land = Land(1, 1, game=glade(40))
    ada = land.join("ada", 5)
    welcome = next(m for m in ada.log if isinstance(m, Welcome))
    tables = TableViews(welcome)
    # As of a region with as many entities as its handles can name, which most have.
    tables.receive(encode_you(tables.region, 65_536))
    assert tables.handle not in tables.own.entities
    with pytest.raises(KeyError):
        tables.own.archetype(tables.handle)
