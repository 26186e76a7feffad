"""Plays games tick by tick on the real region machine: join, give orders, tick, look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from games.frontier import GAME
from games.frontier.components import Health, Position
from games.frontier.creatures import breed
from protocol.codec import decode_server
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, LEAVE, PRESENCE, PROCESSED, TickInput
from server.sim import Archetype, Component, Far, Game, Rows, Tick, World
from server.sim.game import FIRST_COMMAND, System

RATE_HZ = 20.0


def nothing(world: World, tick: Tick) -> None:
    """An empty world."""


def still_world(*, without: Sequence[System] = (), far: Far | None = None) -> Game:
    """The frontier with nothing in it, where nothing is born: tests put there what they are about.

    They look at what no player is near as if one were, but where they ask for `far`.
    """
    systems = tuple(s for s in GAME.systems if s is not breed and s not in without)
    return replace(GAME, setup=nothing, systems=systems, far=far)


class Play:
    """One region, driven by hand. Sessions are numbered from 1 in the order they join."""

    def __init__(
        self,
        game: Game | None = None,
        *,
        size: float = 256.0,
        seed: int = 7,
        entities_max: int = 20_000,
        x: float = 0.0,
    ) -> None:
        self.game = game or still_world()
        self.machine = RegionMachine(
            self.game, RegionSpec(0, x, 0.0, size, size, entities_max), seed=seed, tick_rate_hz=RATE_HZ
        )
        self.world = self.machine.world
        # (event name, arguments by name, sessions that hear it) of the latest tick.
        self.events: list[tuple[str, dict[str, Any], tuple[int, ...]]] = []
        self._kinds = {c.__name__: FIRST_COMMAND + i for i, c in enumerate(self.game.commands)}
        self._orders: dict[int, list[tuple[Any, ...]]] = {}
        self._seq: dict[int, int] = {}

    def join(self, *names: str) -> list[int]:
        """Have players join in one tick; returns the rows of their avatars."""
        first = len(self._seq) + 1
        for session, name in enumerate(names, first):
            self._seq[session] = 0
            self._order(JOIN, session, b"", name.encode())
        bound = self.tick().bound
        assert bound["session"].tolist() == list(range(first, first + len(names)))
        return [int(row) for row in bound["row"]]

    def order(self, session: int, command: str, *args: Any) -> None:
        """Give an order for the next tick."""
        self._order(self._kinds[command], session, *args)

    def leave(self, session: int) -> None:
        self._order(LEAVE, session)

    def presence(self, session: int, *, here: bool) -> None:
        self._order(PRESENCE, session, here)

    def tick(self, n: int = 1) -> Frame:
        """Make n ticks, the first with what was ordered; returns the last frame."""
        for _ in range(n):
            effects = self.machine.step(self._input())
            frame = Frame.decode(effects.frame, self.game.schema)
            self.events = [self._event(e.message, e.sessions) for e in frame.events]
        return frame

    def heard(self, name: str) -> list[dict[str, Any]]:
        """Arguments of the latest tick's events of this name."""
        return [args for event, args, _ in self.events if event == name]

    def put(self, archetype: Archetype, *places: tuple[float, float], **columns: Any) -> Rows:
        """Spawn things at places; `columns` are names of Component_column."""
        rows = self.world.spawn(archetype, len(places))
        self.move(rows, *places)
        for name, value in columns.items():
            component, column = name.split("_", 1)
            found = next(c for c in self.game.components if c.__name__ == component)
            getattr(self.world[found], column)[rows] = value
        return rows

    def move(self, rows: Sequence[int] | Rows, *places: tuple[float, float]) -> None:
        """Set things down elsewhere."""
        position = self.world[Position]
        for row, (x, y) in zip(rows, places, strict=True):
            position.x[row], position.y[row] = x, y

    def place(self, row: int) -> tuple[float, float]:
        position = self.world[Position]
        return float(position.x[row]), float(position.y[row])

    def hp(self, row: int) -> int:
        return int(self.world[Health].hp[row])

    def get(self, component: type[Component], column: str, row: int) -> Any:
        return getattr(self.world[component], column)[row].item()

    # -- inside --------------------------------------------------------------

    def _order(self, kind: int, session: int, *args: Any) -> None:
        self._seq[session] += 1
        self._orders.setdefault(kind, []).append((session, self._seq[session], *args))

    def _input(self) -> TickInput:
        batches = {
            kind: np.array(sorted(self._orders[kind], key=lambda o: o[:2]), self.machine.shapes[kind].dtype)
            for kind in sorted(self._orders)
        }
        self._orders = {}
        return TickInput(batches, np.array(sorted(self._seq.items()), PROCESSED))

    def _event(self, message: bytes, sessions: tuple[int, ...]) -> tuple[str, dict[str, Any], tuple[int, ...]]:
        decoded: Any = decode_server(message)
        kind = self.game.events[decoded.event]
        return kind.__name__, dict(zip((a.name for a in kind.args), decoded.args, strict=True)), sessions
