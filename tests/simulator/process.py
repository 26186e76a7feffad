"""A process: it can be killed before or after any of its effects, and paused for long, and its clock is wrong."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

# Whose code runs: tasks and timers inherit it, so that everything a process began ends with it.
_running: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Crashed(BaseException):
    """The process is dead: whoever of it still runs gets this at its next effect."""


class _Effect:
    """What `Process.effect` returns. Raises Crashed where the process dies of it, before or after."""

    __slots__ = ("_detail", "_dies", "_number", "_process", "_what")

    def __init__(self, process: Process, what: str, detail: object) -> None:
        self._process, self._what, self._detail = process, what, detail

    def __enter__(self) -> None:
        process = self._process
        process.check()
        process.effects += 1
        self._number = process.effects
        if process.pauses_at is not None and process.effects >= process.pauses_at[0]:
            process.pause(process.pauses_at[1])
            process.pauses_at = None
        if process.observer is not None:
            self._observe(done=False)
        self._dies = process.dies_at is not None and process.effects >= process.dies_at[0]
        if self._dies and not process.dies_at[1]:
            process.crash(f"before {self._what}")
            raise Crashed

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            if self._process.observer is not None:
                self._observe(done=True)
            if self._dies:
                self._process.crash(f"after {self._what}")
                raise Crashed

    def _observe(self, *, done: bool) -> None:
        process = self._process
        process.observer(process, self._number, self._what, self._detail, done=done)
        process.check()


class Process:
    """One incarnation. `skew_s`, `rate`: how its clock differs from the world's, at its beginning and from then on."""

    def __init__(self, name: str, skew_s: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.skew_s, self.rate = skew_s, rate
        self.alive = True
        # Effects so far, and the one at which it dies: (number, before or after it).
        self.effects = 0
        self.dies_at: tuple[int, bool] | None = None
        # The effect at which it is paused, and for how many seconds: in the middle of what it was doing.
        self.pauses_at: tuple[int, float] | None = None
        # Told of each effect: (process, its number, what, of what, done=whether it is done by now).
        self.observer: Callable[..., None] | None = None
        self.awake_s = 0.0
        # Kept: to ask which loop runs is a system call.
        self.loop = asyncio.get_running_loop()
        self.on_crash: list[Callable[[], None]] = []
        # In order of their beginning.
        self.tasks: dict[asyncio.Task, None] = {}
        # What it does for as long as it is to be there, and what that, or leaving, ended with: a real one would, too.
        self._running: asyncio.Task | None = None
        self.failure: Exception | None = None
        self._context = contextvars.copy_context()
        self._context.run(_running.set, self)
        # What it was doing when it died.
        self.died_of = ""

    def effect(self, what: str, detail: object = None) -> _Effect:
        """Around everything that others could notice, or that comes from others."""
        return _Effect(self, what, detail)

    def check(self) -> None:
        if not self.alive:
            raise Crashed

    def crash(self, why: str = "killed") -> None:
        if self.alive:
            self.alive = False
            self.died_of = why
            for told in self.on_crash:
                told()
            for task in tuple(self.tasks):
                task.cancel()

    @property
    def paused(self) -> bool:
        """Whether it stands still. What it still does now, without a moment in between, it does when it wakes up."""
        return self.loop.now_s < self.awake_s

    def pause(self, seconds: float) -> None:
        """Nothing of it runs for so long; what comes meanwhile waits."""
        self.awake_s = max(self.awake_s, self.loop.time() + seconds)

    def when_awake(self, do: Callable[[], None]) -> None:
        """Call it now, or when the pause is over; never if the process is dead by then."""
        if not self.alive:
            return
        if self.paused:
            self.loop.call_at(self.awake_s, self.when_awake, do)
            return
        try:  # noqa: SIM105  # called for every message: a context manager takes twice as long
            self._context.run(do)
        except Crashed:
            pass

    async def awake(self) -> None:
        """Return when it runs. Raises Crashed, in its stead waits for ever: a dead process's tasks are cancelled."""
        while self.paused:  # the pause may be made longer meanwhile
            await self.loop.sleep(self.awake_s - self.loop.now_s)
        self.check()

    def call(self, do):
        """What `do` returns, called as code of this process."""
        return self._context.run(do)

    def spawn(self, coroutine) -> asyncio.Task:
        """A task of this process."""
        return self.loop.create_task(coroutine, context=self._context.copy())

    def run(self, do: Callable[[], Awaitable[None]]) -> None:
        """Do this until it leaves."""
        self._running = self.spawn(self._noted(do))

    def leave(self, drain: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]) -> None:
        """End in order."""
        self.spawn(self._noted(lambda: self._leave(drain, close)))

    async def _leave(self, drain: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]) -> None:
        """As server/cluster_cli.py has it, but for the time that it may take."""
        # A signal, too, is heard when a pause is over.
        await self.awake()
        await drain()
        # A node whose turns went on would end a shard whose lease it has lost while `close` is ending it.
        self._running.cancel()
        await asyncio.wait([self._running])
        await close()
        self.crash("left")

    async def _noted(self, do: Callable[[], Awaitable[None]]) -> None:
        try:
            await do()
        except Exception as error:  # noqa: BLE001  # whatever it is, the process would be no more
            self.failure = error

    # -- its clock (a Clock of server/shard/ports.py) ------------------------------

    def now_s(self) -> float:
        return self.loop.now_s * self.rate + self.skew_s

    async def sleep_until(self, due_s: float) -> None:
        await self.loop.sleep((due_s - self.now_s()) / self.rate)
        if self.paused or not self.alive:
            await self.awake()


def track(loop, coroutine, **options):
    """A task factory: notes whose each task is."""
    task = asyncio.Task(coroutine, loop=loop, **options)
    process = (options.get("context") or contextvars.copy_context()).get(_running)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: _ended(process, done))
    return task


def _ended(process: Process, task: asyncio.Task) -> None:
    process.tasks.pop(task, None)
    if not task.cancelled():
        # Asked for, so that the loop does not complain: a crash ends tasks in the middle of anything.
        error = task.exception()
        if isinstance(error, Crashed):
            process.crash()
