"""`everstep replay` and `everstep inspect`, over a data directory that a server may be writing in."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
import typer

from config.settings import Settings, StoreSettings
from server.commands.kept import opened, told
from server.commands.replay import inspect_checkpoints, inspect_entity, inspect_inputs, inspect_journal, replay
from server.sim.world import number_of_handle
from server.store.errors import StoreError
from tests.commands.conftest import committed, environment, stored_in
from tests.support.life import SESSIONS, SHARD, live
from tests.support.pasture import GAME


@pytest.fixture
async def kept(life, data, settings):
    async with opened(data, GAME, settings) as kept:
        yield kept


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_a_replay_tells_what_it_came_to(life, kept, capsys):
    await replay(kept, None, None, every_digest=False, export=None)
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == f"{life.digests[told['tick']]:016x}"
    assert (told["shard"], told["game"], told["from_checkpoint"], told["passed_over"]) == (SHARD, "pasture", 90, [])
    assert told["ticks_replayed"] == told["tick"] - 90
    assert told["entities"] > 5


async def test_every_digest_on_the_way_is_that_of_the_living(life, kept, capsys):
    await replay(kept, SHARD, 80, every_digest=True, export=None)
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if not line.startswith((" ", "{", "}"))]
    assert {int(tick): digest for tick, digest in printed} == {t: f"{life.digests[t]:016x}" for t in range(40, 81)}


async def test_an_export_has_every_entity(life, kept, tmp_path):
    await replay(kept, SHARD, 90, every_digest=False, export=tmp_path / "world.jsonl")
    found = [json.loads(line) for line in (tmp_path / "world.jsonl").read_text().splitlines()]
    machine, _ = await kept.at(SHARD, 90)
    assert len(found) == machine.world.count
    players = [e for e in found if e["archetype"] == "player"]
    assert all(set(e["Body"]) == {"wool", "name", "heat", "moves"} for e in players)
    assert {e["session"] for e in players} <= set(SESSIONS)
    assert all(e["Body"]["name"] == "Ada" for e in players)


async def test_the_journal_is_told_as_a_whole_and_record_by_record(life, kept, capsys):
    await inspect_journal(kept, None, records=False)
    (whole,) = lines(capsys)
    await inspect_journal(kept, SHARD, records=True)
    records = lines(capsys)
    assert (whole["shard"], whole["records"], whole["epochs"], whole["versions"]) == (SHARD, len(records), [1], [3])
    assert records[-1]["tick"] == whole["last_tick"]
    assert sum(r["bytes"] for r in records) == whole["input_bytes"]
    assert {name for r in records for name in r["commands"]} == {"Move", "Buy", "Cull"}
    assert all(r["digest_before"] in (None, f"{life.digests[r['tick'] - 1]:016x}") for r in records)


async def test_checkpoints_are_told_and_judged(life, kept, spoil, capsys):
    await inspect_checkpoints(kept)
    found = lines(capsys)
    assert [(c["tick"], c["damage"]) for c in found] == [(90, None), (40, None)]
    assert found[0]["digest"] == f"{life.digests[90]:016x}"
    assert found[0]["made_under"]["seed"] == 11
    await spoil(40)
    await inspect_checkpoints(kept)
    assert "hash does not hold" in lines(capsys)[1]["damage"]


async def test_an_entity_is_told_as_it_was(kept, capsys):
    machine, _ = await kept.at(SHARD, 60)
    row = int(machine.world.alive.nonzero()[0][-1])
    await inspect_entity(kept, None, 60, row)
    told = json.loads(capsys.readouterr().out)
    assert (told["tick"], told["handle"]) == (60, row)
    assert told["generation"] == machine.world.generation[row]
    assert told["number"] == machine.world.id_of(np.array([row]))[0]
    await inspect_entity(kept, None, 60, told["number"])
    assert json.loads(capsys.readouterr().out) == told
    # As commands name one whose number their gateway did not know.
    await inspect_entity(kept, None, 60, number_of_handle(SHARD, row))
    assert json.loads(capsys.readouterr().out) == told
    with pytest.raises(typer.Exit):
        await inspect_entity(kept, None, 60, told["number"] + 2**20)
    assert f"no entity of shard {SHARD} has the number {told['number'] + 2**20}" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        await inspect_entity(kept, None, 60, 250)
    assert f"no entity of shard {SHARD} has the handle 250" in capsys.readouterr().err


async def test_all_inputs_of_a_player_are_told(kept, capsys):
    # All three play under one account; they joined before the journal begins.
    await inspect_inputs(kept, None, "account", None)
    everyone = lines(capsys)
    assert {7} < {line["session"] for line in everyone} <= set(SESSIONS)
    await inspect_inputs(kept, SHARD, None, 7)
    one = lines(capsys)
    assert one == [line for line in everyone if line["session"] == 7]
    moved = [line for line in one if line["command"] == "Move"]
    assert all(line["y"] == 20.0 and line["seq"] == 10 * line["tick"] for line in moved)
    with pytest.raises(typer.Exit):
        await inspect_inputs(kept, None, "nobody", None)
    assert "knows a session of the account 'nobody'" in capsys.readouterr().err


async def test_a_shard_that_is_not_there_is_refused(kept):
    with pytest.raises(StoreError, match=f"there are {SHARD}"):
        await replay(kept, 99, None, every_digest=False, export=None)
    with pytest.raises(StoreError, match=f"there are {SHARD}"):
        await inspect_journal(kept, 99, records=False)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_refusal_is_one_line(tmp_path, settings, capsys):
    async def look():
        async with opened(tmp_path, GAME, settings):
            pass

    with pytest.raises(typer.Exit):
        told(look())
    assert capsys.readouterr().err == f"everstep: {tmp_path} holds no journal: there is no everstep.db\n"


def test_what_nobody_prepared_is_refused_in_one_line(tmp_path, mongo_server, capsys):
    async def look():
        async with opened(tmp_path, GAME, stored_in(mongo_server.uri, "nobody")):
            pass

    with pytest.raises(typer.Exit):
        told(look())
    assert "run `everstep store init`" in capsys.readouterr().err


def test_what_is_nowhere_is_refused_in_one_line(tmp_path, capsys):
    async def look():
        async with opened(tmp_path, GAME, Settings(store=StoreSettings(kind="memory"))):
            pass

    with pytest.raises(typer.Exit):
        told(look())
    assert "nothing is kept" in capsys.readouterr().err


async def test_looking_claims_nothing_and_writes_nothing(life, kept, capsys):
    epoch = life.recovered.claim.epoch
    await replay(kept, SHARD, None, every_digest=False, export=None)
    await inspect_journal(kept, SHARD, records=True)
    await live(life, 30)
    await committed(life)
    assert life.journal.failure is None
    assert (await life.journal.claim(SHARD)).epoch == epoch + 1


async def test_the_commands_are_there_by_their_names(life, data, root, settings):
    for words in (
        ["replay"],
        ["inspect", "journal"],
        ["inspect", "checkpoints"],
        ["backup", str(data.parent / "copy")],
    ):
        command = [
            sys.executable,
            "-m",
            "server",
            *words,
            "--data",
            str(data.parent),
            "--game",
            "tests.support.pasture",
        ]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=root, env=environment(settings), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("{")
