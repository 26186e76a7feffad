"""`bench far`: what it saves that creatures far from every player go in fewer steps.

Two worlds of the sample game, one as it is and one whose game leaves it out, with the same players standing where they
came in. They are stepped in turn, tick by tick, so that what else the machine does falls on both.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from bench.entities import HZ, SEED
from bench.floor import SERVER_CORE
from bench.processes import Line, pin
from bench.replay import sample_game
from games.frontier.components import CREATURES
from server.gateway.interest import Interest, ViewSpec
from server.gateway.replica import Replica
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, NOTHING, PROCESSED, TickInput
from server.sim.game import Game

# Until herds have spread from where setup put them.
WARM_UP_TICKS: Final = 100
# More than 16 bits of the frontier's scale span.
EDGE_UNITS: Final = 1023.0
ENTITIES_MAX: Final = 20_000
VIEW: Final = ViewSpec(32.0, 2, 4, 4, 4.0)


@dataclass
class Side:
    """One of the worlds, and what was measured of it: milliseconds of CPU time per tick."""

    machine: RegionMachine
    replica: Replica
    step_ms: list[float] = field(default_factory=list)
    replica_ms: list[float] = field(default_factory=list)
    frame_bytes: int = 0

    @classmethod
    def of(cls, game: Game, players: int) -> Side:
        """With all players in."""
        region = RegionSpec(1, 0.0, 0.0, EDGE_UNITS, EDGE_UNITS, ENTITIES_MAX)
        machine = RegionMachine(game, region, seed=SEED, tick_rate_hz=HZ)
        joins = [(session, 0, b"", b"player %d" % session) for session in range(1, players + 1)]
        machine.step(TickInput({JOIN: np.array(joins, machine.shapes[JOIN].dtype)}, np.zeros(0, PROCESSED)))
        interest = Interest(VIEW, game.schema, EDGE_UNITS, EDGE_UNITS)
        replica = Replica(game.schema, interest, ENTITIES_MAX, region.handle)
        replica.apply(Frame.decode(machine.keyframe(), game.schema))
        return cls(machine, replica)

    def tick(self, *, measured: bool) -> None:
        """One more, step and frame, and a gateway's taking it in."""
        began_s = time.thread_time()
        effects = self.machine.step(NOTHING)
        stepped_s = time.thread_time()
        self.replica.apply(Frame.decode(effects.frame, self.machine.game.schema))
        applied_s = time.thread_time()
        if measured:
            self.step_ms.append((stepped_s - began_s) * 1000)
            self.replica_ms.append((applied_s - stepped_s) * 1000)
            self.frame_bytes += len(effects.frame)


@dataclass(frozen=True, slots=True)
class FarRun:
    """Figures for the last line, and every tick for the report."""

    figures: Line
    # As the game is, and with everyone near.
    far: Side
    near: Side


def run(players: int, ticks: int) -> FarRun:
    """`ticks` ticks of both worlds, after a warm-up."""
    pin(SERVER_CORE)
    game = sample_game()
    assert game.far is not None, f"{game.name} has nobody far"
    far, near = Side.of(game, players), Side.of(replace(game, far=None), players)
    gc.collect()
    gc.disable()
    try:
        for i in range(WARM_UP_TICKS + ticks):
            for side in (far, near):
                side.tick(measured=i >= WARM_UP_TICKS)
    finally:
        gc.enable()
    turns = game.far.turns(far.machine.world, game.position, far.machine.tick, far.machine.dt)
    creatures = far.machine.world.rows_of(*CREATURES)
    return FarRun(
        {
            "players": players,
            "entities": far.machine.world.count,
            "far": float(np.mean(turns.far[creatures])),
            "step_ratio": sum(far.step_ms) / sum(near.step_ms),
            "frame_bytes_ratio": far.frame_bytes / near.frame_bytes,
            "replica_ratio": sum(far.replica_ms) / sum(near.replica_ms),
            "step_ms": sum(far.step_ms) / ticks,
            "step_ms_all_near": sum(near.step_ms) / ticks,
            "frame_bytes": far.frame_bytes / ticks,
            "frame_bytes_all_near": near.frame_bytes / ticks,
            "digest": f"{far.machine.digest():016x}",
            "digest_all_near": f"{near.machine.digest():016x}",
        },
        far,
        near,
    )
