"""Travellers as bytes: read back whole, split in two, migrated, and refused where they are none."""

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.regions.travellers import PASSENGER, Travellers
from server.shard.errors import MailError
from server.sim import Migration
from tests.support.captures import frozen
from tests.support.march import GAME, SHEEP, WALKER, Body, Position, Purse


def travellers():
    """Two walkers, one of them played, and three sheep, one of them played."""
    world = GAME.world(32, (0.0, 0.0, 64.0, 64.0), region=9)
    rows = np.array([*world.spawn(WALKER, 2), *world.spawn(SHEEP, 3)])
    world[Position].x[rows] = np.arange(5) + 0.5
    world[Body].scars[rows, 2] = np.arange(5)
    world[Purse].coins[rows[:2]] = [-5, 2**60]
    arrays = world.extract(rows)
    passengers = np.array(
        [(2**64 - 1, arrays["@id"][1], 2**32 - 1, b"account", "Zoë".encode()), (7, arrays["@id"][4], 3, b"", b"")],
        PASSENGER,
    )
    return Travellers(2**40, arrays, passengers)


def test_travellers_read_back_as_they_were():
    sent = travellers()
    read = Travellers.decode(sent.encode(GAME), GAME)
    assert len(read) == 5
    assert read.tick == sent.tick
    assert frozen(read.arrays) == frozen(sent.arrays)
    assert read.passengers.tolist() == sent.passengers.tolist()
    assert read.encode(GAME) == sent.encode(GAME)


def test_travellers_of_before_crossings_were_counted_have_none():
    sent = travellers()
    arrays = {name: array for name, array in sent.arrays.items() if name != "@crossings"}
    read = Travellers.decode(replace(sent, arrays=arrays).encode(GAME), GAME)
    assert read.arrays["@crossings"].tolist() == [0] * 5
    assert read.arrays["@crossings"].dtype == np.uint32


@pytest.mark.parametrize("room", range(7))
def test_those_who_are_played_go_first_and_nobody_is_lost(room):
    whole = travellers()
    first, rest = whole.split(room)
    ids = whole.arrays["@id"].tolist()
    order = [ids[1], ids[4], ids[0], ids[2], ids[3]]
    assert sorted(first.arrays["@id"].tolist()) == sorted(order[:room])
    assert sorted(rest.arrays["@id"].tolist()) == sorted(order[room:])
    assert first.passengers.size + rest.passengers.size == 2
    assert first.passengers.size == min(room, 2)
    for part in (first, rest):
        x = dict(zip(part.arrays["@id"].tolist(), part.arrays["Position.x"].tolist(), strict=True))
        assert all(value == ids.index(number) + 0.5 for number, value in x.items())


def test_travellers_of_another_version_are_migrated():
    def forward(saved):
        saved.column("Body", "health")[saved.rows("sheep")] = 1
        saved.despawn(saved.rows("walker")[1:])

    new = replace(GAME, version=2, migrations=(Migration(1, 2, forward),))
    sent = travellers()
    read = Travellers.decode(sent.encode(GAME), new)
    assert len(read) == 4
    assert read.arrays["Body.health"].tolist() == [100, 1, 1, 1]
    assert read.passengers.size == 2, "the session of one who ended is told so where it arrives"
    with pytest.raises(MailError, match="of version 2"):
        Travellers.decode(sent.encode(new), GAME)


def test_travellers_of_a_later_format_are_refused():
    data = msgpack.packb([2, "whatever it says"])
    with pytest.raises(MailError, match="format 2"):
        Travellers.decode(data, GAME)


@pytest.mark.parametrize(
    "part",
    [
        {"tick": "x"},
        {"tick": -1},
        {"tick": 2**63},
        {"column": "Position.x", "values": np.zeros(3, np.float32)},
        {"column": "Position.x", "values": np.array([b"x"] * 5)},
        {"column": "@id", "values": np.zeros(4, np.uint64)},
        {"column": "Position.x", "values": None},
    ],
    ids=["no tick", "before the first tick", "a tick too far", "too few", "words", "too few numbers", "none"],
)
def test_travellers_that_do_not_fit_together_are_refused(part):
    form, version, tick, names, columns, passengers = msgpack.unpackb(travellers().encode(GAME))
    tick = part.get("tick", tick)
    if "column" in part:
        columns = [column for column in columns if column[0] != part["column"]]
        if (values := part["values"]) is not None:
            columns.append([part["column"], values.dtype.str, values.shape, values.tobytes()])
    with pytest.raises(MailError):
        Travellers.decode(msgpack.packb([form, version, tick, names, columns, passengers]), GAME)


@given(st.binary(max_size=40), st.integers(0, 5000), st.integers(0, 5000))
def test_any_bytes_are_travellers_or_refused(noise, at, cut):
    data = travellers().encode(GAME)
    for damaged in (
        noise,
        data[: cut % len(data)],
        data[: at % len(data)] + noise + data[at % len(data) + len(noise) :],
    ):
        try:
            read = Travellers.decode(damaged, GAME)
        except MailError:
            continue
        assert len(read.arrays["@id"]) == len(read)
