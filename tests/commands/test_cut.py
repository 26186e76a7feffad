"""Regions that are cut at one number of a tick while each counts its own: what fits together, and what does not."""

import numpy as np
import pytest

from config.settings import Settings, WorldSettings
from server.commands.backup import backup, restore
from server.commands.cut import Mailed, Torn, check_cut
from server.roles.world import world_atlas
from server.shard.journal import JournalRecord
from server.shard.mail import ACK, Lane, Post
from server.store.sqlite_file import JournalFile
from tests.support.country import Country
from tests.support.march import GAME, pay, region

WEST, EAST = 3, 4
WORLD = WorldSettings(region_id=WEST, width=128.0, height=64.0, columns=2, entities_max=64, seed=5)
SETTINGS = Settings(world=WORLD)
# When the one of the west pays, and the east's tick at which it comes there.
PAID, TAKEN = 20, 11


@pytest.fixture
def country():
    """The west is at tick 30 and the east at 15, where what the west sent at tick 20 was taken at tick 11."""
    atlas = world_atlas(SETTINGS)
    country = Country(atlas, lambda number: region(number, atlas=atlas, seed=WORLD.seed))
    country.tick(EAST, ("join", 9, 0, b"account", b"Eve"))
    machine = country.machines[EAST]
    row = machine.sessions.rows(np.array([9], np.uint64), machine.world)
    payee = int(machine.world.id_of(row)[0])
    country.tick(WEST, ("join", 8, 0, b"account", b"Ada"))
    for tick in range(2, 31):
        country.tick(WEST, *([pay(8, 1, 5, payee)] if tick == PAID else []))
    for tick in range(2, 16):
        if tick == TAKEN:
            country.carry()
        country.tick(EAST)
    return country


@pytest.fixture
def data(country, tmp_path):
    directory = tmp_path / "march"
    directory.mkdir()
    file = JournalFile.open(directory)
    for number, inputs in country.journals.items():
        file.insert(
            [
                (number, tick, JournalRecord(number, tick, 1, GAME.version, payload, tick - 1).encode())
                for tick, payload in enumerate(inputs, 1)
            ]
        )
        file.claim(number, None)
    file.close()
    return directory


async def test_the_end_fits_and_so_does_a_tick_before_the_letter(data, tmp_path):
    listed = await backup(data, tmp_path / "copy", GAME, SETTINGS)
    assert {n: s["tick"] for n, s in listed["shards"].items()} == {"3": 30, "4": 15}
    assert await restore(tmp_path / "copy", tmp_path / "last", GAME, SETTINGS, None) == listed
    for tick, ends in ((10, {"3": 10, "4": 10}), (20, {"3": 20, "4": 15})):
        found = await restore(tmp_path / "copy", tmp_path / str(tick), GAME, SETTINGS, tick)
        assert {n: s["tick"] for n, s in found["shards"].items()} == ends


@pytest.mark.parametrize("tick", [TAKEN, 15, PAID - 1])
async def test_a_tick_between_taking_and_sending_is_refused(data, tmp_path, tick):
    await backup(data, tmp_path / "copy", GAME, SETTINGS)
    with pytest.raises(
        Torn, match=f"region {EAST} has taken 1 letters .* region {WEST}.* tick {TAKEN - 1} is the last"
    ):
        await restore(tmp_path / "copy", tmp_path / "new", GAME, SETTINGS, tick)
    assert not (tmp_path / "new").exists()


def test_what_is_acknowledged_and_not_taken_does_not_fit():
    source, destination = Post(1), Post(2)
    before = Mailed(destination.sent(), destination.acknowledged(), destination.received())
    source.take(1, [], np.zeros(0, ACK))
    assert source.send(2, Lane.NORMAL, 16, b"")
    destination.take(1, source.posted, np.zeros(0, ACK))
    after = Mailed(destination.sent(), destination.acknowledged(), destination.received())

    def sender():
        return Mailed(source.sent(), source.acknowledged(), source.received())

    check_cut({1: sender(), 2: before})
    check_cut({1: sender(), 2: after})
    source.take(2, [], np.array([(2, int(Lane.NORMAL), 1)], ACK))
    check_cut({1: sender(), 2: after})
    with pytest.raises(Torn, match="which has taken 0"):
        check_cut({1: sender(), 2: before})
