"""A server whose world is kept, as `everstep run` has it, for benches that kill it: it says what its start took.

    python -m bench.kept_server '{"game": "games.frontier", "settings": {...}, "sessions": 200}'

Says "listening" once clients may come, "ready" after its first tick, "full" when so many sessions are in the world.
Words it hears: "start" (note ticks from here), "stop" (tell them, and the sum of the column "tally"). Started by the
commands, not by hand.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from dataclasses import asdict

# Before the rest is imported: the import is a part of what a start takes.
_RUNNING_S = time.monotonic()

import numpy as np  # noqa: E402
import uvloop  # noqa: E402
from prometheus_client import Histogram  # noqa: E402

from bench.processes import Line, arguments, failures_told, listen, tell  # noqa: E402
from bench.ticks import TickLog  # noqa: E402
from config.settings import load  # noqa: E402
from server.app import Everstep, opened  # noqa: E402
from server.host.pacer import TickTime  # noqa: E402
from server.observe.logs import configure  # noqa: E402
from server.sim.game import Game  # noqa: E402
from server.sim.world import World  # noqa: E402


def game_of(told: Line) -> Game:
    """The GAME of the module that was named, or what its `game` makes of "count"."""
    module = importlib.import_module(told["game"])
    game: Game = module.game(told["count"]) if "count" in told else module.GAME
    return game


def tally(world: World, column: str) -> int:
    """The sum of a column of integers, `Component.field`, over all who are alive."""
    component, _, field = column.partition(".")
    kind = next(kind for kind in world.components if kind.__name__ == component)
    return int(getattr(world[kind], field)[world.rows(kind)].sum(dtype=np.int64))


def _sum(histogram: Histogram) -> float:
    return sum(s.value for family in histogram.collect() for s in family.samples if s.name.endswith("_sum"))


class Notebook:
    """What each tick took, and what is said when."""

    def __init__(self, app: Everstep, sessions: int | None) -> None:
        self.log = TickLog()
        # Places in the log of the ticks that a checkpoint was taken in or written beside; milliseconds of each copy.
        self.beside: list[int] = []
        self.capture_ms: list[float] = []
        self._copying_s = 0.0
        self._busy = False
        self._app = app
        self._sessions = sessions
        self._first = True

    def note(self, times: TickTime, took_s: float) -> None:
        """After a tick."""
        machine = self._app.machine
        if self._first:
            self._first = False
            tell("ready", at_s=time.monotonic(), tick=machine.tick)
        if self._sessions is not None and len(machine.sessions) >= self._sessions:
            self._sessions = None
            tell("full", tick=machine.tick)
        if self.log.on and self._app.checkpoints is not None:
            self._note_checkpoint(busy=self._app.checkpoints.busy)
        self.log.note(times.due_s, times.start_s, took_s)

    def start(self) -> None:
        """Forget what was; note from here."""
        self.beside.clear()
        self.capture_ms.clear()
        self.log.start()

    def _note_checkpoint(self, *, busy: bool) -> None:
        if busy and not self._busy:
            before_s, self._copying_s = self._copying_s, _sum(self._app.metrics.checkpoint_capture_seconds)
            self.capture_ms.append((self._copying_s - before_s) * 1000)
        if busy or self._busy:
            self.beside.append(len(self.log.took_ms))
        self._busy = busy


async def serve(told: Line) -> None:
    """Run until the parent goes, or kills."""
    settings = load(overrides=told["settings"], environment={})
    configure(settings.log.level, settings.log.format)
    game = game_of(told)
    ended = asyncio.Event()
    imported_s = time.monotonic()
    async with opened(settings, game) as app:
        listening_s = time.monotonic()
        notebook = Notebook(app, told.get("sessions"))
        app.host.after_tick.append(notebook.note)

        def hear(word: str) -> None:
            if word == "start":
                notebook.start()
            elif word == "stop":
                facts: Line = {"tick": app.machine.tick, "durable_tick": app.host.durable_tick}
                facts |= {"beside": notebook.beside, "capture_ms": notebook.capture_ms}
                if "tally" in told:
                    facts["tally"] = tally(app.machine.world, told["tally"])
                tell("ticks", **facts, **notebook.log.stop())
            elif word == "end":
                ended.set()

        listen(hear)
        stamps = {"running_s": _RUNNING_S, "imported_s": imported_s, "listening_s": listening_s}
        tell("listening", port=app.port, url=app.ws_url, recovered=asdict(app.report) if app.report else None, **stamps)
        failed = asyncio.create_task(app.run())
        await asyncio.wait([failed, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(serve(arguments()))
