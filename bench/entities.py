"""`bench entities`: one region's tick, from step to encoded frame, and a replica's day with it."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Final

from bench.crowd_game import CELL_UNITS, NEAR_CELLS
from bench.entities_game import WORLD_UNITS, entities_game
from bench.figures import percentile
from bench.floor import SERVER_CORE
from bench.processes import Line, pin
from server.gateway.interest import Interest, ViewSpec
from server.gateway.replica import Replica
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import NOTHING

SEED: Final = 1
HZ: Final = 20.0
# The first ticks meet memory that was never touched.
WARM_UP_TICKS: Final = 20


@dataclass(frozen=True, slots=True)
class EntitiesRun:
    """Figures for the last line, and every tick for the report."""

    figures: Line
    # Milliseconds, in order of ticks: step with frame, and the replica's taking it in.
    step_ms: list[float]
    replica_ms: list[float]


def run(count: int, ticks: int) -> EntitiesRun:
    """`ticks` ticks of `count` entities. Raises AssertionError when a frame does not show nearly all moving."""
    pin(SERVER_CORE)
    game = entities_game(count)
    region = RegionSpec(1, 0.0, 0.0, WORLD_UNITS, WORLD_UNITS, count)
    machine = RegionMachine(game, region, seed=SEED, tick_rate_hz=HZ)
    view = ViewSpec(CELL_UNITS, NEAR_CELLS, NEAR_CELLS, 1, 0.0)
    replica = Replica(game.schema, Interest(view, game.schema, WORLD_UNITS, WORLD_UNITS), count, region.handle)
    replica.apply(Frame.decode(machine.keyframe(), game.schema))
    step_ms: list[float] = []
    replica_ms: list[float] = []
    frame_bytes = 0
    gc.collect()
    gc.disable()
    try:
        for i in range(WARM_UP_TICKS + ticks):
            began_s = time.perf_counter()
            effects = machine.step(NOTHING)
            stepped_s = time.perf_counter()
            frame = Frame.decode(effects.frame, game.schema)
            replica.apply(frame)
            applied_s = time.perf_counter()
            # Outside the measure: a fast frame that leaves many out would be no frame. Only who turns
            # around at a border may happen to stay where it was.
            moved = frame.changes[0][0].size
            assert moved >= count * 0.99, f"{moved} of {count} moved"
            if i >= WARM_UP_TICKS:
                step_ms.append((stepped_s - began_s) * 1000)
                replica_ms.append((applied_s - stepped_s) * 1000)
                frame_bytes += len(effects.frame)
    finally:
        gc.enable()
    figures = {
        "count": count,
        "step_frame_ms_p50": percentile(step_ms, 50),
        "step_frame_ms_p99": percentile(step_ms, 99),
        "digest": f"{machine.digest():016x}",
        "ticks": ticks,
        "step_frame_ms_max": max(step_ms),
        "replica_ms_p50": percentile(replica_ms, 50),
        "replica_ms_p99": percentile(replica_ms, 99),
        "frame_bytes_per_entity": frame_bytes / ticks / count,
    }
    return EntitiesRun(figures, step_ms, replica_ms)
