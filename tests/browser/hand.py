"""A world that a test can reach into."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import uvloop

from config.settings import Settings
from server.app import Everstep
from server.sim import Game, World


class Hand:
    """A world on a thread of its own, and a hand that reaches into it between two ticks."""

    def __init__(self, settings: Settings, game: Game, files: Path | None = None) -> None:
        """`files`: a directory that the server shows under /files/, beside its own."""
        self.settings = settings
        self.files = files
        self.game = game
        self.url = ""
        self._wishes: queue.SimpleQueue[tuple[Callable[[World], Any], Future[Any]]] = queue.SimpleQueue()
        self._held: list[Callable[[World, int], None]] = []
        self._up = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name=f"world of {game.name}")

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait()
        assert self.url, "it did not start: its thread says why"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def change(self, how: Callable[[World], Any]) -> Any:
        """Do `how(world)` just before a tick, and return what it returns."""
        done: Future[Any] = Future()
        self._wishes.put((how, done))
        return done.result()

    def hold(self, how: Callable[[World, int], None]) -> None:
        """Do `how(world, number of the tick)` just before every tick from now on.

        Against what would go on by itself while a slow machine is still looking.
        """
        self._held.append(how)

    def column(self, component: str) -> Any:
        """The game's component of that name, to index a world by."""
        return next(kind for kind in self.game.components if kind.__name__ == component)

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._up.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with Everstep(self.settings, self.game) as app:
            if self.files is not None:
                app.http.files.roots = {"/files/": self.files, **app.http.files.roots}
            app.host.before_tick.append(lambda: self._grant(app.machine.world, app.machine.tick + 1))
            self.url = app.url.rstrip("/")
            self._up.set()
            await self._end.wait()

    def _grant(self, world: World, tick: int) -> None:
        for how in self._held:
            how(world, tick)
        while not self._wishes.empty():
            how, done = self._wishes.get()
            try:
                done.set_result(how(world))
            except Exception as error:  # noqa: BLE001  # the test's own, and the test's to hear of
                done.set_exception(error)
