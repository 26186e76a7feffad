"""Dead letters, as an operator meets them: `everstep mail` of a server that runs, and of one that stands still."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from server.app import opened
from server.shard.mail import Lane
from tests.gateway.glade import GAME, REGION, settings
from tests.gateway.visitor import PATIENCE_S, serving

TOKEN = "of-an-operator-" + "x" * 32
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("EVERSTEP_")}


async def everstep(root: Path, *words: object, token: str = TOKEN) -> tuple[int, list[dict], str]:
    """(exit status, lines of JSON, what it complains of)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server", "mail", *map(str, words)),
        cwd=root,
        env={**ENVIRONMENT, "EVERSTEP_OPERATOR__TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S * 4):
        out, complaint = await process.communicate()
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()], complaint.decode()


def write_to_nobody(app) -> None:
    """Three letters that the glade does not know how to read: it refuses what it wrote to itself."""
    for n in range(3):
        app.machine.post.send(REGION, Lane.BULK, 60_000, b"cargo %d" % n)
    app.host.postman.release(app.machine.post.unacked(), [])


async def dead(app, *numbers: int) -> None:
    """Return once these are the dead letters."""
    there = asyncio.Event()

    def look(*_) -> None:
        if [letter.number for letter in app.machine.post.dead] == list(numbers):
            there.set()

    app.host.after_tick.append(look)
    look()
    async with asyncio.timeout(PATIENCE_S):
        await there.wait()
    app.host.after_tick.remove(look)


async def test_an_operator_reads_replays_and_drops_dead_letters_of_a_world_that_runs(root: Path):
    async with serving(settings(operator__token=TOKEN), GAME) as app:
        write_to_nobody(app)
        await dead(app, 1, 2, 3)
        status, lines, _ = await everstep(root, "list", "--url", app.url)
        assert (status, [line["number"] for line in lines]) == (0, [1, 2, 3])
        assert lines[0]["reason"].endswith("knows no mail of kind 60000")
        status, lines, _ = await everstep(root, "drop", 1, 3, "--url", app.url, "--shard", REGION)
        assert (status, lines) == (0, [{"shard": REGION, "drop": [1, 3]}])
        await dead(app, 2)
        status, lines, _ = await everstep(root, "replay", 2, "--url", app.url)
        assert (status, lines) == (0, [{"shard": REGION, "replay": [2]}])
        await dead(app, 4)
        status, lines, complaint = await everstep(root, "list", "--url", app.url, token="another-token-" + "x" * 32)
        assert (status, lines) == (1, [])
        assert "refuses: 401" in complaint
        status, _, complaint = await everstep(root, "drop", 4, "--url", app.url, "--shard", 77)
        assert status == 1
        assert "shard 77 does not run here" in complaint


async def test_a_world_that_stands_still_is_told_in_its_journal(root: Path, tmp_path: Path):
    kept = settings(server__data_dir=tmp_path, store__kind="sqlite")
    async with opened(kept, GAME) as app:
        write_to_nobody(app)
        await dead(app, 1, 2, 3)
        where = ("--game", "tests/gateway/glade.py", "--data", tmp_path)
        status, _, complaint = await everstep(root, "drop", 1, *where)
        assert status == 1
        assert "in use by process" in complaint
    status, lines, complaint = await everstep(root, "list", *where)
    assert (status, [line["number"] for line in lines]) == (0, [1, 2, 3]), complaint
    status, lines, complaint = await everstep(root, "drop", 1, 2, 9, *where)
    assert (status, lines) == (1, [])
    assert "no dead letter 9: nothing was done" in complaint
    status, lines, _ = await everstep(root, "drop", 1, 2, *where)
    assert (status, lines[0]["done"], lines[0]["left"]) == (0, [1, 2], [])
    async with opened(kept, GAME) as app:
        assert [letter.number for letter in app.machine.post.dead] == [3]
        assert app.machine.tick >= lines[0]["tick"]


async def test_dead_letters_of_a_world_of_two_regions(root: Path, tmp_path: Path):
    kept = settings(server__data_dir=tmp_path, store__kind="sqlite", world__columns=2)
    first, second = (str(REGION), str(REGION + 1))
    async with opened(kept, GAME) as app:
        region = app.regions[REGION]
        region.machine.post.send(REGION + 1, Lane.URGENT, 60_000, b"cargo")
        region.host.postman.release(region.machine.post.unacked(), [])
        await dead(app, 1)
    file = tmp_path / "world.toml"
    world = kept.world.model_dump() | {"columns": 2}
    lines = [f"{key} = {value}" for key, value in world.items() if isinstance(value, int | float)]
    file.write_text("[world]\n" + "\n".join(lines) + "\n")
    where = ("--config", file, "--game", "tests/gateway/glade.py", "--data", tmp_path)
    status, found, complaint = await everstep(root, "list", *where)
    assert (status, [(x["shard"], x["source"], x["destination"]) for x in found]) == (
        0,
        [(REGION, REGION, REGION + 1)],
    ), complaint
    status, _, complaint = await everstep(root, "drop", 1, *where)
    assert status == 1
    assert f"choose a shard: there are {first}, {second}" in complaint
    status, found, complaint = await everstep(root, "drop", 1, "--shard", first, *where)
    assert (status, found[0]["done"]) == (0, [1]), complaint
