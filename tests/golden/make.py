"""Golden journals: what a released version keeps of a small world, for every later one to replay.

    python -m tests.golden.make VERSION             at a release, of that release: both games
    python -m tests.golden.make VERSION frontier    when the frontier's version was raised: its golden alone
    python -m tests.golden.make VERSION vale        when the rules between regions were raised: theirs alone

A directory is a data directory as a user's: journal and checkpoints, killed in mid-play; and beside it
`digests.json`, the digest of the state after each tick. Directories of older releases stay as they are.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import msgpack

from games import frontier
from protocol.schema import CommandSchema
from server.regions.borders import RULES
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.journal import FORMAT
from server.store.checkpoint_files import FileCheckpoints
from server.store.directory import LOCK_NAME
from server.store.sqlite import SqliteJournal
from tests.golden import glen, vale
from tests.support.country import Country
from tests.support.life import SHARD, Life
from tests.support.orders import Order

HERE = Path(__file__).parent
DIGESTS = "digests.json"
VALE = "vale.bin"
TICKS = 150
CHECKPOINTS = (60, 110)
SESSIONS = (3, 5, 2**63 + 9)


def frontier_region() -> RegionMachine:
    """A small frontier at its first tick."""
    return RegionMachine(frontier.GAME, RegionSpec(SHARD, 0.0, 0.0, 128.0, 128.0, 512), seed=4, tick_rate_hz=20.0)


# Name of the directory -> a fresh machine.
WORLDS: dict[str, Callable[[], RegionMachine]] = {"glen": glen.region, "frontier": frontier_region}


def orders(rng: random.Random, machine: RegionMachine, tick: int) -> list[Order]:
    """What three players do: every command of the game, with arguments as any client might send them."""
    found: list[Order] = []
    for at, session in enumerate(SESSIONS):
        seq = 8 * tick + at
        if tick == 2 + 9 * at:
            found.append(("join", session, 0, b"account %d" % at, f"Zoë {at}".encode()))
        elif tick in (70, 90) and at == 1:
            found.append(("presence", session, seq, int(tick == 90)))
        elif tick == 120 and at == 2:
            found.append(("leave", session, seq))
        elif tick % 25 < 18 and rng.random() < 0.6:
            command = rng.choice(machine.game.schema.commands)
            found.append((command.name, session, seq, *arguments(rng, command, machine)))
    return found


def arguments(rng: random.Random, command: CommandSchema, machine: RegionMachine) -> list[object]:
    """One of each argument, in its bounds."""
    made: list[object] = []
    for a in command.args:
        if a.type == "utf8":
            made.append(b"a word"[: a.size])
        elif a.type == "entity":
            made.append(rng.randrange(machine.world.high_water))
        elif a.type.startswith("f"):
            made.append(rng.uniform(-1.0 if a.minimum is None else a.minimum, 1.0 if a.maximum is None else a.maximum))
        else:
            made.append(rng.randint(int(a.minimum or 0), int(9 if a.maximum is None else a.maximum)))
    return made


async def write(directory: Path, make: Callable[[], RegionMachine]) -> None:
    """Play it, and leave it as a kill does."""
    rng = random.Random(7)
    journal, checkpoints = await SqliteJournal.open(directory), FileCheckpoints(directory)
    async with Life(make, journal=journal, checkpoints=checkpoints, retain_ticks=TICKS) as life:
        # A new world begins with one.
        assert await life.checkpoints.take()
        for tick in range(1, TICKS + 1):
            life.tick(*orders(rng, life.machine, tick))
            if tick in CHECKPOINTS:
                assert await life.checkpoints.take()
    await checkpoints.close()
    # Every record is durable then, and none follows that a kill would have had no time for.
    await journal.close()
    (directory / LOCK_NAME).unlink()
    told = {
        "game": life.machine.game.name,
        "version": life.machine.game.version,
        "digests": {str(tick): f"{digest:016x}" for tick, digest in life.digests.items()},
    }
    (directory / DIGESTS).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


class Played(Country):
    """The vale, and the digest of each region after each of its ticks."""

    def __init__(self) -> None:
        super().__init__(vale.ATLAS, vale.region, seed=7)
        self.digests: dict[int, list[int]] = {number: [] for number in self.machines}

    def tick(self, number: int, *orders: Order, sync: bool = True) -> Frame:
        """As ever."""
        frame = super().tick(number, *orders, sync=sync)
        self.digests[number].append(self.machines[number].digest())
        return frame

    def play(self) -> None:
        """Every kind of order, over a bus that loses, repeats and keeps messages back."""
        rng, first = random.Random(11), vale.ATLAS.regions[0].id
        for tick in range(1, TICKS + 1):
            orders: dict[int, list[Order]] = {number: [] for number in self.machines}
            for at, session in enumerate(SESSIONS):
                seq = 8 * tick + at
                if tick == 3 + 9 * at:
                    orders[first + at].append(("join", session, 0, b"account %d" % at, b"Zoe"))
                for number, machine in self.machines.items():
                    if machine.find(session, b"") is None:
                        continue
                    whom = rng.choice((*machine.world.id_of(machine.world.rows()).tolist(), first << 48 | 3, 0))
                    some = ("Go", session, seq, *rng.choice(((1, 0.5), (-1, -0.5), (0.5, -1), (-1, 1))))
                    orders[number].append(some if rng.random() < 0.6 else ("Give", session, seq, whom))
                    if (tick, at) == (130, 2):
                        orders[number].append(("leave", session, seq))
            if tick in (40, 95):
                orders[first].append(("divide", 0, 1, int(tick == 40)))
            self.round(**{f"r{number}": some for number, some in orders.items()})
            self.carry(lost=0.1, repeated=0.2, late=0.3)
            if tick % 3 == 0:
                for number in self.machines:
                    self.send_again(number)


def write_vale(directory: Path) -> None:
    """Play it; what a journal has of each tick, and the digests."""
    played = Played()
    played.play()
    told = {"rules": RULES, "format": FORMAT, "journals": played.journals, "digests": played.digests}
    directory.mkdir(parents=True)
    (directory / VALE).write_bytes(zlib.compress(msgpack.packb(told), 9))


def main() -> None:
    """Make what the command line names, anew."""
    version, *names = sys.argv[1:]
    if not names or "vale" in names:
        shutil.rmtree(HERE / version / "vale", ignore_errors=True)
        write_vale(HERE / version / "vale")
    for name in [name for name in names if name in WORLDS] if names else WORLDS:
        directory = HERE / version / name
        shutil.rmtree(directory, ignore_errors=True)
        asyncio.run(write(directory, WORLDS[name]))
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        print(f"{directory}: {size:,} bytes")


if __name__ == "__main__":
    main()
