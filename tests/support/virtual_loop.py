"""An event loop on virtual time: when nobody has anything to do, it is at once the time of the next timer.

Whatever runs on it takes no time and goes the same way every run: minutes of a cluster pass in a moment. Threads would
break that, so what is handed to an executor, whichever, runs where it is called. Where nothing will ever happen again,
the loop says so instead of waiting for ever (as trio's `MockClock(autojump_threshold=0)` would have it).
"""

from __future__ import annotations

import asyncio
import selectors


class Stuck(Exception):
    """Nothing is scheduled and nobody can wake anybody."""


class _Selector(selectors.BaseSelector):
    """Waits for nothing but time, and that is quick."""

    def __init__(self):
        self.loop = None
        self._keys = {}

    def register(self, fileobj, events, data=None):
        self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj):
        return self._keys.pop(fileobj)

    def get_map(self):
        return self._keys

    def select(self, timeout=None):
        if timeout is None:
            raise Stuck(f"at {self.loop.now_s:.3f} s")
        self.loop.now_s += max(0.0, timeout)
        return []

    def close(self):
        self._keys.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` is `now_s`, which begins at 0."""

    def __init__(self):
        selector = _Selector()
        self.now_s = 0.0
        super().__init__(selector)
        selector.loop = self

    def time(self):
        return self.now_s

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
