"""`everstep replay` and `everstep inspect`: what happened, from what was kept. Neither changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import typer

from protocol.schema import UTF8
from server.commands.kept import Kept
from server.host.recovery import Report
from server.regions.machine import RegionMachine
from server.shard.checkpoint import decode
from server.shard.errors import CheckpointDamaged
from server.shard.machine import JOIN, NOTHING, Records, TickInput, command_shapes
from server.sim.world import World


async def replay(
    kept: Kept, shard: int | None, to_tick: int | None, *, every_digest: bool, export: Path | None
) -> None:
    """Replay to a tick, print how it went, and write the entities there to `export` as JSON lines."""

    def show(machine: RegionMachine) -> None:
        typer.echo(f"{machine.tick} {machine.digest():016x}")

    shard = await kept.only_shard(shard)
    machine, report = await kept.at(shard, to_tick, show if every_digest else None)
    if export is not None:
        with export.open("wb") as file:
            for row in np.flatnonzero(machine.world.alive).tolist():
                file.write(orjson.dumps(entity(machine.world, row)) + b"\n")
    typer.echo(_text(summary(machine, report)))


def summary(machine: RegionMachine, report: Report) -> dict[str, Any]:  # Any: JSON
    """What a replay came to."""
    game_s = report.ticks_replayed * machine.dt
    return {
        "shard": machine.shard,
        "game": machine.game.name,
        "version": machine.game.version,
        "tick": machine.tick,
        "digest": f"{machine.digest():016x}",
        "entities": machine.world.count,
        "sessions": len(machine.sessions),
        "from_checkpoint": report.checkpoint_tick,
        "passed_over": report.passed_over,
        "ticks_replayed": report.ticks_replayed,
        "records_replayed": report.records_replayed,
        "digests_checked": report.digests_checked,
        "seconds": round(report.load_s + report.replay_s, 3),
        "times_real_time": round(game_s / report.replay_s, 1) if report.replay_s > 0 else None,
    }


async def inspect_journal(kept: Kept, shard: int | None, *, records: bool) -> None:
    """What the journal holds: a line per shard, or one per record."""
    shapes = command_shapes(kept.game.schema)
    wanted = None if shard is None else await kept.only_shard(shard)
    for number, span in (await kept.journal.spans()).items():
        if wanted not in (None, number):
            continue
        size, epochs, versions, digests = 0, set(), set(), 0
        async for record in kept.journal.read(number, span.after_tick):
            size += len(record.payload)
            epochs.add(record.epoch)
            versions.add(record.simulation)
            digests += record.digest is not None
            if records:
                inputs = TickInput.decode(record.payload, shapes, record.format) if record.payload else NOTHING
                line: dict[str, Any] = {
                    "tick": record.tick,
                    "epoch": record.epoch,
                    "version": record.simulation,
                    "bytes": len(record.payload),
                    "digest_before": None if record.digest is None else f"{record.digest:016x}",
                    "commands": {shapes[kind].name: len(batch) for kind, batch in inputs.batches.items()},
                    "letters": len(inputs.mail),
                }
                typer.echo(orjson.dumps(line))
        if not records:
            line = {
                "shard": number,
                "after_tick": span.after_tick,
                "last_tick": span.last_tick,
                "records": span.records,
                "input_bytes": size,
                "epochs": sorted(epochs),
                "versions": sorted(versions),
                "digests": digests,
            }
            typer.echo(orjson.dumps(line))


async def inspect_checkpoints(kept: Kept) -> None:
    """A line per checkpoint; every byte of it is read and judged."""
    for manifest in await kept.manifests():
        damage = None
        try:
            decode(manifest, await kept.chunks(manifest))
        except CheckpointDamaged as error:
            damage = str(error)
        line = {
            "shard": manifest.shard,
            "tick": manifest.tick,
            "epoch": manifest.epoch,
            "game": manifest.game,
            "version": manifest.simulation,
            "digest": f"{manifest.digest:016x}",
            "chunks": len(manifest.chunks),
            "raw_bytes": sum(c.raw_bytes for c in manifest.chunks),
            "stored_bytes": manifest.stored_bytes,
            "made_under": dict(manifest.terms),
            "fingerprint": dict(manifest.fingerprint),
            "damage": damage,
        }
        typer.echo(orjson.dumps(line))


async def inspect_entity(kept: Kept, shard: int | None, to_tick: int | None, who: int) -> None:
    """All that an entity is, at a tick. `who`: its handle, or its number, which commands name it by."""
    machine, _ = await kept.at(await kept.only_shard(shard), to_tick)
    world = machine.world
    by_handle = 0 <= who < 2**32
    ids = world.who_has(np.array([who])) if by_handle else np.array([who % 2**64], np.uint64)
    (row,) = world.rows_by_id(world.named(ids)).tolist()
    if row < 0:
        name = "handle" if by_handle else "number"
        typer.echo(
            f"everstep: at tick {machine.tick} no entity of shard {machine.shard} has the {name} {who}", err=True
        )
        raise typer.Exit(1)
    typer.echo(_text({"tick": machine.tick, **entity(world, row)}))


async def inspect_inputs(kept: Kept, shard: int | None, player: str | None, session: int | None) -> None:
    """Every input of a player's sessions, or of one session, that the journals still hold; a line each.

    Of one shard, or of all, one after the other: who went over a border goes on in the next one's journal.
    """
    numbers = await kept.shards() if shard is None else [await kept.only_shard(shard)]
    wanted = set() if session is None else {session}
    if player is not None:
        wanted |= await _sessions_of(kept, player)
        if not wanted:
            typer.echo(f"everstep: nothing that is kept knows a session of the account {player!r}", err=True)
            raise typer.Exit(1)
    shapes = command_shapes(kept.game.schema)
    for number in numbers:
        async for tick, inputs in _inputs(kept, number):
            for kind, batch in inputs.items():
                for line in _lines(tick, shapes[kind].name, batch, wanted):
                    typer.echo(orjson.dumps({"shard": number, **line}))


async def _sessions_of(kept: Kept, player: str) -> set[int]:
    """Of an account, wherever it joined."""
    found: set[int] = set()
    account = player.encode()
    for number in await kept.shards():
        # Those who joined before the journal begins stand in the checkpoints.
        for manifest in await kept.checkpoints.manifests(number):
            arrays = decode(manifest, await kept.chunks(manifest)).arrays
            found |= set(arrays["@sessions.session"][arrays["@sessions.player"] == account].tolist())
        async for _, inputs in _inputs(kept, number):
            if (joined := inputs.get(JOIN)) is not None:
                found |= set(joined["session"][joined["player"] == account].tolist())
    return found


async def _inputs(kept: Kept, shard: int) -> AsyncIterator[tuple[int, Mapping[int, Records]]]:
    """(tick, its batches) of every tick of a shard that had commands."""
    shapes = command_shapes(kept.game.schema)
    span = (await kept.journal.spans()).get(shard)
    async for record in kept.journal.read(shard, span.after_tick if span else 0):
        if record.payload:
            yield record.tick, TickInput.decode(record.payload, shapes, record.format).batches


def entity(world: World, row: int) -> dict[str, Any]:  # Any: JSON
    """An entity's columns, as JSON takes them."""
    archetype = world.archetypes[int(world.archetype[row])]
    found: dict[str, Any] = {
        "handle": row,
        "number": int(world.id_of(np.array([row]))[0]),
        "generation": int(world.generation[row]),
        "archetype": archetype.name,
        "session": int(world.owner[row]),
    }
    for component in archetype.components:
        found[component.__name__] = {name: plain(array[row]) for name, array in world[component].arrays()}
    return found


def _lines(tick: int, name: str, batch: Records, sessions: set[int]) -> Iterator[dict[str, Any]]:
    names = batch.dtype.names or ()
    for record in batch:
        if int(record["session"]) in sessions:
            yield {"tick": tick, "command": name, **{field: plain(record[field]) for field in names}}


def plain(value: Any) -> Any:  # Any: a number, bytes or an array of numpy's, and its like in JSON
    """One value of a column or a command, as JSON takes it."""
    if isinstance(value, bytes):
        return value.decode(UTF8, "replace")
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _text(tree: dict[str, Any]) -> str:
    return orjson.dumps(tree, option=orjson.OPT_INDENT_2).decode()
