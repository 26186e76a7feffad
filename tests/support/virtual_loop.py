"""An event loop on virtual time: when nobody has anything to do, it is at once the time of the next timer.

Whatever runs on it takes no time and goes the same way every run: minutes of a cluster pass in a moment. Threads would
break that, so what is handed to an executor, whichever, runs where it is called. Where nothing will ever happen again,
the loop says so instead of waiting for ever (as trio's `MockClock(autojump_threshold=0)` would have it).
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import selectors
import sys


class Stuck(Exception):
    """Nothing is scheduled and nobody can wake anybody."""


class Endless(Exception):
    """More happens than was to be expected, and no end is in sight."""


class _Selector(selectors.BaseSelector):
    """There is nothing to wait for."""

    def __init__(self):
        self._keys = {}

    def register(self, fileobj, events, data=None):
        self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj):
        return self._keys.pop(fileobj)

    def get_map(self):
        return self._keys

    def select(self, timeout=None):  # noqa: ARG002  # nobody will ever write
        return []

    def close(self):
        self._keys.clear()


class _Handle:
    """As asyncio's, which is made and run by more than what most handles here do."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context")

    def __init__(self, callback, args, context):
        self._callback, self._args = callback, args
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False

    def cancel(self):
        self._cancelled = True
        # What it holds need not wait for its time.
        self._callback = self._args = self._context = None

    def cancelled(self):
        return self._cancelled


class _Timer(_Handle):
    __slots__ = ("_when",)

    def when(self):
        return self._when


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` is `now_s`, which begins at 0. `handles_max`: callbacks that it runs before it raises Endless."""

    def __init__(self, *, handles_max=sys.maxsize):
        self.now_s = 0.0
        self._handles_left = handles_max
        # (when, number, handle): of several for one moment, the one that was asked for first.
        self._timers = []
        self._timer = 0
        super().__init__(_Selector())

    def time(self):
        return self.now_s

    def call_soon(self, callback, *args, context=None):
        handle = _Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = _Timer(callback, args, context)
        timer._when = when
        self._timer += 1
        heapq.heappush(self._timers, (when, self._timer, timer))
        return timer

    async def sleep(self, delay_s):
        """As `asyncio.sleep`, which asks each time which loop runs: a system call, and half of what it takes here."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken = self.create_future()
        timer = self.call_at(self.now_s + delay_s, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()

    def _run_once(self):
        # As asyncio's, until it is to stop: that one spends more on looking at files and clocks than most handles
        # here take.
        ready, timers = self._ready, self._timers
        pop = heapq.heappop
        while True:
            if not ready:
                while timers and timers[0][2]._cancelled:
                    pop(timers)
                if not timers:
                    raise Stuck(f"at {self.now_s:.3f} s")
                if timers[0][0] > self.now_s:
                    self.now_s = timers[0][0]
            while timers and timers[0][0] <= self.now_s:
                ready.append(pop(timers)[2])
            self._handles_left -= len(ready)
            if self._handles_left < 0:
                raise Endless(f"at {self.now_s:.3f} s")
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    try:
                        handle._context.run(handle._callback, *handle._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001  # as asyncio hands it over
                        self.call_exception_handler({"message": f"{handle._callback!r} failed", "exception": error})
            if self._stopping:
                return

    def run_in_executor(self, executor, func, *args):  # noqa: ARG002  # a pool of its own, or none: all the same
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # as a thread would hand it over
            future.set_exception(error)
        return future

    def call_soon_threadsafe(self, callback, *args, context=None):
        # There are no threads, and so nobody to be woken.
        return self.call_soon(callback, *args, context=context)


def _wake(future):
    if not future.done():
        future.set_result(None)


class LoopTime:
    """A Clock on the running loop's own time. `skew_s`: how wrong this one is."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.skew_s = skew_s

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() + self.skew_s

    async def sleep_until(self, due_s: float) -> None:
        await asyncio.sleep(max(0.0, due_s - self.now_s()))


def run(main):
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
