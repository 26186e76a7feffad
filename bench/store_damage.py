"""Damage to a data directory: what comes back is a state that was, or a refusal that names the damage.

    write(directory) -> Written     two shards' lives, as a kill and as a clean stop leave them: SQLite's file, its log,
                                    checkpoints
    cut, flip, blank                what damages one of the files
    judge(directory, written)       what a server that starts on it finds

The shards are regions of the crowd's game, so what comes back is held against the digest of its very tick.
`bench/store_damage_run.py` does it many times; `tests/store/test_store_damage.py` a few.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from bench.crowd_game import GAME, MOVE
from server.host.clock import LoopClock
from server.host.errors import RecoveryError
from server.host.recovery import recover
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.checkpoint import encode
from server.shard.errors import ShardError
from server.shard.journal import JournalRecord
from server.shard.machine import JOIN, NOTHING, PROCESSED, Records, TickInput
from server.sim.component import I64
from server.store.checkpoint_files import DIRECTORY_NAME, FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME

SHARDS: Final = (1, 2)
LOG_NAME: Final = f"{FILE_NAME}-wal"
# Records of each shard; the first half ends up in SQLite's file, the second in its log.
RECORDS: Final = 24
# After so many of them a checkpoint is taken. None in the second half: it would know of records that a log
# cut before it has lost, and every such cut would be refused.
_CHECKPOINTS: Final = (4, 11)
# Avatars in each region, and how many of them join in one tick: a record of several pages.
_AVATARS: Final = 40
_JOINS: Final = 20


@dataclass(frozen=True, slots=True)
class Written:
    """What was there before the damage."""

    # "killed", "stopped" -> name below the data directory -> bytes. Much of the killed one's journal lies in the log.
    left: dict[str, dict[str, bytes]]
    records: dict[int, list[JournalRecord]]
    # Shard -> tick -> digest of the state, of every tick made.
    digests: dict[int, dict[int, int]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    # "whole", "prefix", "refused"; "diverged" is what must not be.
    kind: str
    # The refusal's words, or at which ticks the shards are.
    words: str


async def write(directory: Path) -> Written:
    """Live, and be killed: every byte of what is returned was durable."""
    machines = {shard: _machine(shard) for shard in SHARDS}
    records: dict[int, list[JournalRecord]] = {shard: [] for shard in SHARDS}
    digests = {shard: {0: machine.digest()} for shard, machine in machines.items()}
    checkpoints = FileCheckpoints(directory)
    half = RECORDS // 2
    for epoch, numbers in ((1, range(half)), (2, range(half, RECORDS))):
        journal = await SqliteJournal.open(directory)
        for shard in SHARDS:
            await journal.claim(shard)
        for number in numbers:
            for shard, machine in machines.items():
                record = _tick(machine, number, epoch, records[shard], digests[shard])
                await _durable(journal, record)
                if number + 1 in _CHECKPOINTS:
                    await _checkpoint(checkpoints, machine, record)
        if epoch == 1:
            await journal.close()
    await checkpoints.close()
    # While it is open it is what a kill leaves.
    left = {"killed": _files(directory)}
    await journal.close()
    left["stopped"] = _files(directory)
    return Written(left, records, digests)


def lay_out(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make a data directory of what was left."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / DIRECTORY_NAME).mkdir(parents=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)


async def judge(directory: Path, written: Written) -> Outcome:
    """Bring every shard back, as a server that starts would, then read what is left of the journal."""
    at: list[str] = []
    cut = False
    try:
        journal = await SqliteJournal.open(directory)
    except StoreError as error:
        return Outcome("refused", str(error))
    checkpoints = FileCheckpoints(directory)
    try:
        for shard in SHARDS:
            back = await recover(partial(_machine, shard), journal, checkpoints, LoopClock())
            tick, last_tick = back.machine.tick, written.records[shard][-1].tick
            at.append(f"tick {tick} of {last_tick}")
            cut |= tick < last_tick
            # What whoever inspects the journal asks for first.
            await journal.spans()
            if back.machine.digest() != written.digests[shard].get(tick):
                return Outcome("diverged", f"shard {shard} came back as what it never was, at tick {tick}")
            found: list[JournalRecord] = []
            # Damage before the checkpoint that it began with is refused only to those who ask for what was then.
            with contextlib.suppress(ShardError):
                async for record in journal.read(shard, 0):
                    found.append(record)  # noqa: PERF401  # what came before the damage counts
            if found != written.records[shard][: len(found)]:
                return Outcome("diverged", f"shard {shard}: {len(found)} records that nobody wrote so")
            if found and found[-1].tick > back.claim.tick:
                return Outcome("diverged", f"shard {shard}: claimed after tick {back.claim.tick}, with one after it")
    except (StoreError, ShardError, RecoveryError) as error:
        return Outcome("refused", str(error))
    finally:
        await checkpoints.close()
        await journal.close()
    return Outcome("prefix" if cut else "whole", ", ".join(at))


# -- damage ----------------------------------------------------------------------------------------


def cut(data: bytes, at: int) -> bytes:
    """The file ends there."""
    return data[:at]


def flip(data: bytes, bit: int) -> bytes:
    """One bit is another."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def blank(data: bytes, at: int) -> bytes:
    """A sector of 512 bytes was never written."""
    begin = at - at % 512
    return data[:begin] + bytes(len(data[begin : begin + 512])) + data[begin + 512 :]


# -- a life ------------------------------------------------------------------------------------------


def _machine(shard: int) -> RegionMachine:
    return RegionMachine(GAME, RegionSpec(shard, 0.0, 0.0, 160.0, 160.0, 64), seed=shard, tick_rate_hz=20.0)


def _files(directory: Path) -> dict[str, bytes]:
    paths = [directory / FILE_NAME, directory / LOG_NAME, *sorted((directory / DIRECTORY_NAME).iterdir())]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths if path.exists()}


def _tick(
    machine: RegionMachine, number: int, epoch: int, records: list[JournalRecord], digests: dict[int, int]
) -> JournalRecord:
    """Ticks without input, then one with: from a heartbeat's to a crowd's worth."""
    rng = np.random.default_rng((machine.shard, number))
    for _ in range(int(rng.integers(0, 3)) if number else 0):
        machine.replay(NOTHING)
        digests[machine.tick] = machine.digest()
    joins = number * _JOINS < _AVATARS
    taken = np.arange(_JOINS) + number * _JOINS if joins else np.flatnonzero(rng.random(_AVATARS) < rng.random())
    inputs = _inputs(machine, number, taken, rng, joins=joins)
    digest = machine.digest() if not len(taken) or number % 7 == 0 else None
    payload = b"" if inputs.empty else inputs.encode()
    previous = records[-1].tick if records else 0
    record = JournalRecord(machine.shard, machine.tick + 1, epoch, GAME.version, payload, previous, digest)
    machine.replay(inputs)
    digests[machine.tick] = machine.digest()
    records.append(record)
    return record


def _inputs(machine: RegionMachine, number: int, sessions: I64, rng: np.random.Generator, *, joins: bool) -> TickInput:
    if not len(sessions):
        return NOTHING
    kind = JOIN if joins else MOVE
    batch: Records = np.zeros(len(sessions), machine.shapes[kind].dtype)
    batch["session"], batch["seq"] = sessions + 1, number
    if joins:
        batch["name"] = [f"avatar {session}" for session in sessions]
    else:
        batch["dx"], batch["dy"] = rng.uniform(-1, 1, (2, len(sessions)))
    processed = np.zeros(len(sessions), PROCESSED)
    processed["session"], processed["seq"] = batch["session"], batch["seq"]
    return TickInput({kind: batch}, processed)


async def _durable(journal: SqliteJournal, record: JournalRecord) -> None:
    told = asyncio.Event()
    journal.append(record, told.set)
    await told.wait()


async def _checkpoint(checkpoints: FileCheckpoints, machine: RegionMachine, last: JournalRecord) -> None:
    manifest, chunks = encode(
        machine.capture(), shard=machine.shard, epoch=last.epoch, previous=last.tick, digest=machine.digest()
    )
    await checkpoints.write(manifest, chunks)
