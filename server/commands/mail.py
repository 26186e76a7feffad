"""`everstep mail`: letters between regions that nobody could use; to be read, sent again, or dropped.

An operator's word is input like a player's: a tick takes it, and the journal has it. To a world that runs it goes over
HTTP (server/api/mailroom.py). One that stands still makes the one tick here.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import orjson
import typer

from config.settings import Settings
from server.api.mailroom import described, order
from server.commands.kept import Kept, WallClock
from server.host.recovery import recover
from server.regions.machine import RegionMachine
from server.shard.journal import JournalRecord
from server.shard.machine import NOTHING, TickInput, decode_batches
from server.sim.game import Game
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite import SqliteJournal

_TIMEOUT_S: Final = 10.0


async def list_kept(kept: Kept, shard: int | None) -> None:
    """Print the dead letters of a shard, or of all, as of the last tick that is kept: a JSON line each."""
    for number in await kept.shards() if shard is None else [await kept.only_shard(shard)]:
        machine, _ = await kept.at(number, None)
        for letter in described(machine.post):
            typer.echo(orjson.dumps(letter))


async def act_on_kept(
    directory: Path, game: Game, settings: Settings, shard: int | None, action: str, numbers: Sequence[int]
) -> dict[str, Any]:  # Any: JSON
    """Make one tick of a world that stands still, with the operator's word as its input; returns what came of it.

    Raises StoreInUse where a server has the directory, StoreError where no letter has such a number, and what `recover`
    raises.
    """
    if settings.store.kind != "sqlite":
        # There a claim would stop the server that runs the shard.
        raise StoreError(f'store.kind is "{settings.store.kind}": tell the server that runs, with --url')
    if not directory.is_dir():  # noqa: ASYNC240  # nothing else waits in this program
        raise StoreError(f"{directory} does not exist")
    journal, checkpoints = await SqliteJournal.open(directory), FileCheckpoints(directory)
    try:
        kept = Kept(journal, checkpoints, game, settings)
        number = await kept.only_shard(shard)
        make = await kept.make(number, RegionMachine)
        recovered = await recover(make, journal, checkpoints, WallClock())
        if recovered.report.upgraded:
            raise StoreError("start the server first: the world was kept by another version, or on another machine")
        machine, claim = recovered.machine, recovered.claim
        before = {dead.number for dead in machine.post.dead}
        if unknown := [str(letter) for letter in numbers if letter not in before]:
            raise StoreError(f"shard {number} has no dead letter {', '.join(unknown)}: nothing was done")
        inputs = TickInput(decode_batches(order(action, numbers), machine.shapes), NOTHING.processed)
        digest, tick = machine.digest(), machine.tick + 1
        record = JournalRecord(number, tick, claim.epoch, game.version, inputs.encode(), claim.tick, digest)
        journal.append(record, lambda: None)
        machine.step(inputs)
    finally:
        await checkpoints.close()
        # What was appended is durable when it returns, or it says why not.
        await journal.close()
    if journal.failure is not None:
        raise journal.failure
    after = {dead.number for dead in machine.post.dead}
    return {"shard": number, "tick": tick, "done": sorted(before - after), "left": sorted(after & set(numbers))}


def ask(url: str, token: str, asked: str) -> bytes:
    """The answer of a server that runs to a request target. Raises StoreError with its reason where it refuses."""
    if not (token.isascii() and token.isprintable()):
        # Told here: the library would show it.
        raise StoreError(f"{url} can't be asked: operator.token has what no header can hold")
    try:
        request = urllib.request.Request(  # noqa: S310  # an operator's own server
            url.rstrip("/") + asked, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # the same
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        raise StoreError(f"{url} refuses: {error.code} {error.read().decode(errors='replace').strip()}") from None
    except (OSError, ValueError, HTTPException) as error:
        # Nobody is there; it is no address; who is there speaks no HTTP.
        raise StoreError(f"{url} can't be asked: {error}") from None
