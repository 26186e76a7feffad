"""`bench replay`: how many times faster than it was played a stretch of play is replayed.

Bots play the sample game through real clients; the host journals what they do; the server is killed. What it left is
replayed as recovery would, every digest on the way checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bench import progress
from bench.figures import percentile
from bench.floor import SERVER_CORE, SWARM_CORE
from bench.processes import Line, Worker, WorkerError, pin
from config.settings import Settings, load
from server.host.clock import LoopClock
from server.host.recovery import Report, rebuild
from server.regions.machine import RegionMachine
from server.roles.world import data_directory, region_machine
from server.sim.game import Game, System, Tick
from server.sim.world import World
from server.store.checkpoint_files import FileCheckpoints
from server.store.sqlite_reader import SqliteReader

GAME: Final = "games.frontier"
SEED: Final = 1
# So that the one checkpoint is the one that a new world begins with, and all play comes after it.
_NO_CHECKPOINT_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is asked for."""

    players: int
    # Of play with all players in.
    seconds: float
    # Edge of the square world; the game fills it in proportion.
    edge_units: float = 1024.0
    # Where a recording is kept, and taken from if there is one. None: a new one that is thrown away.
    data: Path | None = None


@dataclass
class Stretch:
    """What a replay notes on its way."""

    # Whether the last player is in.
    on: bool = False
    # End of the tick before.
    ended_s: float = 0.0
    # Milliseconds per tick since, in order; reading the journal and checking digests is in them.
    tick_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """Figures for the last line, and every tick for the report."""

    figures: Line
    tick_ms: list[float]


def run(options: ReplayOptions) -> ReplayRun:
    """Record, where there is no recording yet, and replay twice. Raises RecoveryDiverged where a digest differs.

    The second replay has a stopwatch in every system; its time is not the figure.
    """
    keep = contextlib.nullcontext(options.data) if options.data else tempfile.TemporaryDirectory(prefix="bench")
    with keep as place:
        settings, game = settings_for(options, Path(place)), sample_game()
        if not data_directory(settings, game).exists():
            _record(options, settings)
        pin(SERVER_CORE)
        machine, report, stretch = asyncio.run(_replay(settings, game, options.players))
        took_s: defaultdict[str, float] = defaultdict(float)
        clocked, again, _ = asyncio.run(_replay(settings, with_stopwatch(game, took_s), options.players))
    if (clocked.tick, clocked.digest()) != (machine.tick, machine.digest()):
        raise WorkerError(f"two replays of one journal differ: {report}, {again}")
    longest_first = sorted(took_s.items(), key=lambda item: -item[1])
    seconds = sum(stretch.tick_ms) / 1000
    figures = {
        "times_real_time": len(stretch.tick_ms) * machine.dt / seconds,
        "entities": machine.world.count,
        "players": len(machine.sessions),
        "ticks": len(stretch.tick_ms),
        "seconds": seconds,
        "tick_ms_p50": percentile(stretch.tick_ms, 50),
        "tick_ms_p99": percentile(stretch.tick_ms, 99),
        "records": report.records_replayed,
        "digests_checked": report.digests_checked,
        "digest": f"{machine.digest():016x}",
        "system_us_per_tick": {name: round(s * 1e6 / again.ticks_replayed) for name, s in longest_first},
    }
    return ReplayRun(figures, stretch.tick_ms)


def settings_for(options: ReplayOptions, place: Path) -> Settings:
    """As anyone's, but for the size of the world and the checkpoints."""
    return load(overrides=_overrides(options, place), environment={})


def _overrides(options: ReplayOptions, place: Path) -> dict[str, Any]:  # Any: checked by the settings
    return {
        "server.port": 0,
        "server.data_dir": str(place),
        "world.width": options.edge_units,
        "world.height": options.edge_units,
        "store.checkpoint_every_s": _NO_CHECKPOINT_S,
        "log.level": "warning",
    }


def sample_game() -> Game:
    """The game that is played."""
    game: Game = importlib.import_module(GAME).GAME
    return game


def _record(options: ReplayOptions, settings: Settings) -> None:
    told = {"game": GAME, "settings": _overrides(options, settings.server.data_dir), "sessions": options.players}
    with Worker("bench.kept_server", told, SERVER_CORE) as server:
        url = server.expect("listening")["url"]
        with Worker("bench.bots", {"game": GAME, "url": url, "count": options.players, "seed": SEED}, SWARM_CORE):
            with progress.steps("recording") as step:
                step(f"{options.players} players come")
                server.expect("full")
            progress.measure("recording", options.seconds, lambda: f"{options.players} players")
            # As a power cut leaves it: a clean end would leave a checkpoint with nothing after it to replay.
            server.kill()


async def _replay(settings: Settings, game: Game, players: int) -> tuple[RegionMachine, Report, Stretch]:
    """From the first tick to the last; the stretch is that with all players in."""
    directory, stretch = data_directory(settings, game), Stretch()
    journal, checkpoints = SqliteReader(directory), FileCheckpoints(directory)

    def note(machine: RegionMachine) -> None:
        now_s = time.perf_counter()
        if stretch.on:
            stretch.tick_ms.append((now_s - stretch.ended_s) * 1000)
        stretch.on = stretch.on or len(machine.sessions) >= players
        stretch.ended_s = now_s

    try:
        make = functools.partial(region_machine, settings, game)
        machine, report = await rebuild(make, journal, checkpoints, LoopClock(), on_tick=note)
    finally:
        await checkpoints.close()
        journal.close()
    if not stretch.tick_ms:
        raise WorkerError(f"the recording never has {players} players; it ends at tick {machine.tick}")
    return machine, report, stretch


def with_stopwatch(game: Game, took_s: defaultdict[str, float]) -> Game:
    """The same game, which adds up the seconds that each system takes."""

    def clocked(system: System) -> System:
        # The name stays: a system's random numbers are drawn under it.
        @functools.wraps(system)
        def run_clocked(world: World, tick: Tick) -> None:
            began_s = time.perf_counter()
            system(world, tick)
            took_s[system.__name__] += time.perf_counter() - began_s

        return run_clocked

    return replace(game, systems=tuple(clocked(system) for system in game.systems))
