"""Looking at what is kept of a world of several regions: a player who goes over a border, settings of another world."""

import json

import pytest

from config.settings import Settings, WorldSettings
from server.commands.kept import opened_directory
from server.commands.replay import inspect_inputs, replay
from server.commands.stretch import inspect_reach
from server.roles.world import world_atlas
from server.shard.checkpoint import encode
from server.shard.journal import JournalRecord
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite_file import JournalFile
from tests.support.country import Country
from tests.support.march import GAME, region

WEST, EAST = 3, 4
WORLD = WorldSettings(region_id=WEST, width=128.0, height=64.0, columns=2, entities_max=64, seed=5)
SETTINGS = Settings(world=WORLD)


@pytest.fixture
async def data(tmp_path):
    """Ada joins in the west, walks over the border, and turns round in the east; checkpoints are of the end."""
    atlas = world_atlas(SETTINGS)
    country = Country(atlas, lambda number: region(number, atlas=atlas, seed=WORLD.seed))
    country.round(r3=[("join", 8, 0, b"ada", b"Ada")])
    country.round(r3=[("Go", 8, 1, 8.0, 0.0)])
    while not len(country.machines[EAST].sessions):
        country.round()
    country.round(r4=[("Go", 8, 2, -8.0, 0.0)])
    while len(country.machines[EAST].sessions):
        country.round()
    file = JournalFile.open(tmp_path)
    store = FileCheckpoints(tmp_path)
    for number, inputs in country.journals.items():
        kept = [JournalRecord(number, tick, 1, GAME.version, said, tick - 1) for tick, said in enumerate(inputs, 1)]
        file.insert([(number, record.tick, record.encode()) for record in kept])
        file.claim(number, None)
        machine = country.machines[number]
        last = len(inputs)
        await store.write(*encode(machine.capture(), shard=number, epoch=1, previous=last, digest=machine.digest()))
    file.close()
    await store.close()
    return tmp_path


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_who_went_over_a_border_is_followed_there(data, capsys):
    async with opened_directory(data, GAME, SETTINGS) as kept:
        await inspect_inputs(kept, None, "ada", None)
        told = [(line["shard"], line["command"], line.get("vx")) for line in lines(capsys)]
        assert told == [(WEST, "join", None), (WEST, "Go", 8.0), (EAST, "Go", -8.0)]
        # The east alone never heard her name but in a letter, and she is not there any more.
        await inspect_inputs(kept, EAST, "ada", None)
        assert [(line["shard"], line["vx"]) for line in lines(capsys)] == [(EAST, -8.0)]
        await inspect_inputs(kept, None, None, 8)
        assert [line["session"] for line in lines(capsys)] == [8, 8, 8]


@pytest.mark.parametrize("columns", [1, 4])
async def test_settings_of_a_world_divided_otherwise_are_told(data, capsys, columns):
    others = Settings(world=WORLD.model_copy(update={"columns": columns}))
    async with opened_directory(data, GAME, SETTINGS) as kept:
        await inspect_reach(kept)
        assert [(line["shard"], line["x"], line["width"]) for line in lines(capsys)] == [(3, 0, 64), (4, 64, 64)]
        await replay(kept, EAST, None, every_digest=False, export=None)
    async with opened_directory(data, GAME, others) as kept:
        for look in (inspect_reach(kept), replay(kept, EAST, None, every_digest=False, export=None)):
            with pytest.raises(StoreError, match="divided otherwise than these settings say"):
                await look
