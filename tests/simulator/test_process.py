"""Processes: how they leave, and that one which can't is told of."""

import asyncio

from tests.simulator.plan import calm_of
from tests.simulator.process import Process, track
from tests.simulator.simulate import simulate
from tests.support.virtual_loop import run


class Part:
    """What a process runs: it notes what it does."""

    def __init__(self, process):
        self.process = process
        self.done = []

    async def run(self):
        try:
            while True:
                self.done.append("turn")
                await self.process.sleep_until(self.process.now_s() + 1.0)
        finally:
            self.done.append("ended")

    async def drain(self):
        self.done.append("drain")
        await self.process.sleep_until(self.process.now_s() + 2.0)

    async def close(self):
        self.done.append("close")
        await self.process.sleep_until(self.process.now_s() + 5.0)
        self.done.append("closed")


def test_who_leaves_has_ended_what_it_runs_before_it_closes():
    async def main():
        asyncio.get_running_loop().set_task_factory(track)
        process = Process("n0")
        part = process.call(lambda: Part(process))
        process.run(part.run)
        await asyncio.sleep(0.5)
        process.leave(part.drain, part.close)
        await asyncio.sleep(10.0)
        assert part.done == ["turn", "drain", "turn", "turn", "ended", "close", "closed"]
        assert (process.alive, process.died_of) == (False, "left")

    run(main())


def test_who_is_told_to_leave_while_it_is_paused_hears_of_it_when_it_goes_on():
    async def main():
        asyncio.get_running_loop().set_task_factory(track)
        process = Process("n0")
        part = process.call(lambda: Part(process))
        process.run(part.run)
        await asyncio.sleep(0.5)
        process.pause(3.0)
        process.leave(part.drain, part.close)
        await asyncio.sleep(2.9)
        assert part.done == ["turn"]
        await asyncio.sleep(0.2)
        assert "drain" in part.done

    run(main())


async def _fails():
    raise ValueError("the last straw")


def test_a_process_that_ends_with_an_error_violates_what_must_hold():
    def prepare(cluster):
        asyncio.get_running_loop().call_later(3.0, lambda: cluster.nodes["n0"][0].run(_fails))

    assert simulate(calm_of(0, nodes=2), prepare=prepare).violation == "n0 ends with ValueError('the last straw')"
