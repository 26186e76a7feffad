"""Damage to a data directory, many times: every cut of its files' ends, bit flips, sectors never written.

Each attempt lays the directory out anew in memory (tmpfs, where there is one), damages one file, and has a server's
recovery judge it. The attempts are shared out among processes.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import structlog
import uvloop

from bench.processes import Line
from bench.store_damage import Outcome, Written, blank, cut, flip, judge, lay_out, write
from server.store.sqlite_file import FILE_NAME

# Of each file the last so many bytes are cut, byte by byte.
CUT_BYTES: Final = 64 * 1024
SECTOR_BYTES: Final = 512
# Attempts handed to a process at a time.
_BATCH: Final = 200
_OUTCOMES: Final = ("whole", "prefix", "refused", "diverged", "crashed")
_DAMAGES: Final[dict[str, Callable[[bytes, int], bytes]]] = {"cut": cut, "flip": flip, "blank": blank}


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to one file."""

    # Of _DAMAGES.
    kind: str
    # Of Written.left, and of a file there.
    left: str
    name: str
    # Byte, or bit of a flip.
    at: int

    def __str__(self) -> str:
        """In words."""
        place = f"bit {self.at % 8} of byte {self.at // 8}" if self.kind == "flip" else f"byte {self.at}"
        return f"{self.kind} at {place} of {self.name}, {self.left}"

    def lay_out(self, directory: Path, written: Written) -> None:
        """Make the damaged data directory."""
        files = written.left[self.left]
        lay_out(directory, {**files, self.name: _DAMAGES[self.kind](files[self.name], self.at)})


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to do."""

    # Cuts: all of the last CUT_BYTES of every file, or so many of them; sectors likewise.
    cuts: int | None
    flips: int
    sectors: int | None
    seed: int = 1

    def damages(self, written: Written) -> Iterator[Damage]:
        """All of it, by seed."""
        rng = random.Random(self.seed)  # noqa: S311  # seeded, to be repeated
        # Checkpoints are the same killed or stopped.
        files = [("killed", name, len(data)) for name, data in written.left["killed"].items()]
        files.append(("stopped", FILE_NAME, len(written.left["stopped"][FILE_NAME])))
        cuts = [Damage("cut", left, name, at) for left, name, n in files for at in range(max(0, n - CUT_BYTES), n)]
        sectors = [Damage("blank", left, name, at) for left, name, n in files for at in range(0, n, SECTOR_BYTES)]
        yield from cuts if self.cuts is None else rng.sample(cuts, min(self.cuts, len(cuts)))
        yield from sectors if self.sectors is None else rng.sample(sectors, min(self.sectors, len(sectors)))
        # The checkpoints together have as many as the log, or the file; they are a hundredth of its size.
        groups = [[file] for file in files if file[1].startswith(FILE_NAME)]
        groups.append([file for file in files if not file[1].startswith(FILE_NAME)])
        for number in range(self.flips):
            left, name, n = rng.choice(groups[number % len(groups)])
            yield Damage("flip", left, name, rng.randrange(n * 8))


def run(plan: Plan, workers: int, tell: Callable[[str], None], progress: Callable[[int, int], None]) -> Line:
    """Do it. `tell` hears of each attempt that failed, with where its files were left."""
    began_s = time.monotonic()
    with scratch() as directory:
        written = uvloop.run(write(directory))
    damages = list(plan.damages(written))
    counted: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in _DAMAGES}
    batches = [damages[at : at + _BATCH] for at in range(0, len(damages), _BATCH)]
    done = 0
    # Spawned: a fork would share this one's threads.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (written,)) as pool:
        for batch, outcomes in zip(batches, pool.map(attempts, batches), strict=True):
            for damage, outcome in zip(batch, outcomes, strict=True):
                counted[damage.kind][outcome.kind] += 1
                if outcome.kind in ("diverged", "crashed"):
                    tell(f"{damage}: {outcome.kind}: {outcome.words}; left in {_left(written, damage)}")
            done += len(batch)
            progress(done, len(damages))
    return {
        "attempts": len(damages),
        **{kind: sum(counter[kind] for counter in counted.values()) for kind in _OUTCOMES},
        **{f"{damage}s": counter.total() for damage, counter in counted.items()},
        "by_damage": {damage: dict(counter) for damage, counter in counted.items()},
        "file_bytes": {left: {name: len(data) for name, data in files.items()} for left, files in written.left.items()},
        "records": sum(len(records) for records in written.records.values()),
        "seconds": time.monotonic() - began_s,
    }


# -- in a process of the pool ------------------------------------------------------------------------

_written: Written | None = None


def _begin(written: Written) -> None:
    global _written  # noqa: PLW0603  # how a pool hands its processes what all of their work needs
    _written = written
    # What is passed over and refused is what we are after.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def attempts(damages: Sequence[Damage]) -> list[Outcome]:
    """What comes of each."""
    assert _written is not None, "the pool's initializer brings it"
    return uvloop.run(_attempts(_written, damages))


async def _attempts(written: Written, damages: Sequence[Damage]) -> list[Outcome]:
    with scratch() as directory:
        return [await attempt(directory / "data", written, damage) for damage in damages]


async def attempt(directory: Path, written: Written, damage: Damage) -> Outcome:
    """Lay out, damage, judge. A fault that nobody foresaw is an outcome, too."""
    damage.lay_out(directory, written)
    try:
        outcome = await judge(directory, written)
    except Exception as error:  # noqa: BLE001  # whatever it is, an operator would meet it as a traceback
        return Outcome("crashed", repr(error))
    if outcome.kind == "refused" and not any(word in outcome.words for word in (*written.left["killed"], "shard ")):
        return Outcome("crashed", f"a refusal that names neither file nor shard: {outcome.words}")
    return outcome


def _left(written: Written, damage: Damage) -> Path:
    """The damaged directory, for whoever wants to know."""
    directory = Path(tempfile.mkdtemp(prefix="everstep-damaged-"))
    damage.lay_out(directory, written)
    return directory


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that costs no disk, where there is such."""
    memory = Path("/dev/shm")  # noqa: S108  # in it a directory with a name that nobody guesses
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**28
    with tempfile.TemporaryDirectory(prefix="everstep-", dir=memory if roomy else None) as name:
        yield Path(name)
