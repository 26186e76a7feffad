"""Damage to the files of a SQLite journal: what is read afterwards is an exact prefix, or a refusal that names it.

    write(directory)                      a journal, part of it in the file and part in the log
    damage(directory, seed) -> str        one flip, cut or hole; says which
    judge(directory, written) -> Outcome  what a server that starts on it finds

`attempt` does the three on a copy. `tests/store/test_store_damage.py` runs some seeds; many are run with

    python -m bench.store_damage --seeds 10000
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.shard.errors import JournalDamaged
from server.shard.journal import JournalRecord
from server.store.errors import StoreDamaged, StoreFailed
from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME

SHARDS: Final = (1, 2)
_FILES: Final = (FILE_NAME, f"{FILE_NAME}-wal")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a damaged journal."""

    # "whole", "prefix", "refused"; "diverged" is what must not be.
    kind: str
    # The refusal's words, or how much is left.
    words: str


def records(shard: int, ticks: int, *, seed: int = 7) -> list[JournalRecord]:
    """A shard's records: sizes as ticks have them, from a heartbeat's to a crowd's."""
    rng = random.Random(seed * 1000 + shard)  # noqa: S311  # seeded, to be repeated
    made: list[JournalRecord] = []
    tick = 0
    for _ in range(ticks):
        previous, tick = tick, tick + rng.choice((1, 1, 1, 2, 9))
        size = rng.choice((0, 40, 300, 1200, 5000))
        digest = rng.getrandbits(64) if rng.random() < 0.1 else None
        made.append(JournalRecord(shard, tick, 1, 3, rng.randbytes(size), previous, digest))
    return made


async def write(directory: Path, *, ticks: int = 60) -> dict[int, list[JournalRecord]]:
    """Write a journal and leave it as a killed process does: some in the file, some in the log, all of it durable.

    Returns what was written, by shard.
    """
    written = {shard: records(shard, ticks) for shard in SHARDS}
    live = directory / "live"
    journal = await SqliteJournal.open(live)
    for shard in SHARDS:
        await journal.claim(shard)
    half = ticks // 2
    await _durable(journal, [r for shard in SHARDS for r in written[shard][:half]], one_by_one=False)
    await journal.close()
    journal = await SqliteJournal.open(live)
    for shard in SHARDS:
        await journal.claim(shard, 2)
        written[shard][half:] = [_of_epoch(r, 2) for r in written[shard][half:]]
    rest = [r for pair in zip(*(written[shard][half:] for shard in SHARDS), strict=True) for r in pair]
    await _durable(journal, rest, one_by_one=True)
    # Copied while it is open: what a kill leaves, for every byte of it has been written.
    for name in _FILES:
        shutil.copyfile(live / name, directory / name)
    await journal.close()
    shutil.rmtree(live)
    return written


def damage(directory: Path, seed: int) -> str:
    """Flip a bit, cut the end off, or blank a sector, somewhere in the files; returns what was done in words."""
    rng = random.Random(seed)  # noqa: S311  # seeded, to be repeated
    name = rng.choice(_FILES)
    data = bytearray((directory / name).read_bytes())
    at = rng.randrange(len(data))
    kind = rng.choices(("flip", "cut", "blank"), (8, 1, 1))[0]
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    else:
        at -= at % 512
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    (directory / name).write_bytes(data)
    return f"{kind} at byte {at} of {name}"


async def judge(directory: Path, written: dict[int, list[JournalRecord]]) -> Outcome:
    """Open, read and claim every shard, as a server that starts would."""
    left = []
    try:
        journal = await SqliteJournal.open(directory)
    except (StoreDamaged, StoreFailed) as error:
        return Outcome("refused", str(error))
    try:
        for shard, whole in written.items():
            found = [record async for record in journal.read(shard, 0)]
            if found != whole[: len(found)]:
                return Outcome("diverged", f"shard {shard}: {len(found)} records that nobody wrote so")
            claim = await journal.claim(shard)
            if claim.tick != (found[-1].tick if found else 0):
                return Outcome("diverged", f"shard {shard}: claimed after tick {claim.tick}")
            left.append(f"{len(found)} of {len(whole)}")
            if len(found) < len(whole):
                left.append("cut")
    except (JournalDamaged, StoreFailed) as error:
        return Outcome("refused", str(error))
    finally:
        await journal.close()
    return Outcome("prefix" if "cut" in left else "whole", " and ".join(n for n in left if n != "cut"))


async def attempt(source: Path, written: dict[int, list[JournalRecord]], seed: int) -> tuple[str, Outcome]:
    """Damage a copy of what `write` left in `source`; returns what was done and what came of it."""
    with tempfile.TemporaryDirectory(prefix="everstep-damage-") as name:
        directory = Path(name)
        for file in _FILES:
            shutil.copyfile(source / file, directory / file)
        done = damage(directory, seed)
        return done, await judge(directory, written)


async def attempts(seeds: Sequence[int]) -> dict[str, int]:
    """Outcomes of many seeds, counted; each divergence is printed."""
    counted: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="everstep-damage-") as name:
        written = await write(Path(name))
        for seed in seeds:
            done, outcome = await attempt(Path(name), written, seed)
            counted[outcome.kind] += 1
            if outcome.kind == "diverged":
                print(f"seed {seed}: {done}: {outcome.words}", flush=True)  # noqa: T201  # its output
    return dict(counted)


def main() -> None:
    """Run the seeds given on the command line. The last line is JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from-seed", type=int, default=0)
    options = parser.parse_args()
    counted = asyncio.run(attempts(range(options.from_seed, options.from_seed + options.seeds)))
    print(json.dumps({"damaged": options.seeds, **counted}))  # noqa: T201  # its output


def _of_epoch(record: JournalRecord, epoch: int) -> JournalRecord:
    return JournalRecord(
        record.shard, record.tick, epoch, record.simulation, record.payload, record.previous, record.digest
    )


async def _durable(journal: SqliteJournal, entries: Sequence[JournalRecord], *, one_by_one: bool) -> None:
    for at, record in enumerate(entries):
        told = asyncio.Event()
        journal.append(record, told.set)
        if one_by_one or at == len(entries) - 1:
            await told.wait()


if __name__ == "__main__":
    main()
