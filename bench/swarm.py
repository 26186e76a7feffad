"""The swarm: a process of many clients, cheap enough that the server is what is measured.

    python -m bench.swarm '{"port": ..., "clients": 1000, ...}'

Connects all, then sends inputs spread evenly over time until the parent ends it. Words it hears: "start"
(measure), "stop" (tell the result). Started by the commands, not by hand.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Final

import numpy as np
import uvloop

from bench.client import Client, Counts, FloorClient, StalledClient
from bench.frames import InputFrame, upgrade_request
from bench.processes import Line, arguments, failures_told, listen, settle_memory, tell
from bench.sample import Findings, SampleClient, connected

# Connections opening at once: below the listen backlog of any server.
_OPENING_MAX: Final = 48
_JOIN_TIMEOUT_S: Final = 120.0
# Inputs leave in slices this far apart; a finer clock would only cost more.
_SLICE_S: Final = 0.002
_CHECK_EVERY_S: Final = 1.0
# Every so many inputs of a sampled client is a turn like anyone's; the others are marks that it times.
_TURN_EVERY: Final = 5
# A prime, so that a client that takes every fifth turn takes them all.
TURNS: Final = 61
_HOST: Final = "127.0.0.1"
# A stalled client's receive buffer: the kernel's smallest, so that the server feels it soon.
_STALLED_BUFFER_BYTES: Final = 4096


class Swarm:
    """All clients of one run."""

    def __init__(self, told: Line) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        self.counts = Counts()
        self.findings = Findings(told["photograph_every_ticks"])
        self.ended = asyncio.Event()
        self._turns = turns(told["turn"])
        self._marks = [InputFrame(told["mark"], (value,)) for value in range(256)]
        self.clients: list[Client] = []
        self._sample: list[SampleClient] = []
        self._sent = 0
        self._began_s = 0.0
        self._measured_s = 0.0
        self._cpu_s = 0.0

    async def connect(self) -> None:
        """Bring all in, a few at a time. Raises ConnectionError when one does not get in."""
        told = self._told
        # Of several worlds each gets as many.
        ports = told.get("ports") or [told["port"]]
        upgrades = [upgrade_request(_HOST, port) for port in ports]
        count, sample, stalled = told["clients"], told["sample"], told["stalled"]
        # The special ones stand evenly among the others; the stalled are picked from those the sample left.
        sampled = {i * count // sample for i in range(sample)}
        rest = [i for i in range(count) if i not in sampled]
        stalls = {rest[i * len(rest) // stalled] for i in range(stalled)}
        room = asyncio.Semaphore(_OPENING_MAX)
        for number in range(count):
            upgrade = upgrades[number % len(ports)]
            if told["floor"]:
                client: Client = FloorClient(number, self.counts, upgrade)
            elif number in sampled:
                client = SampleClient(number, self.counts, upgrade, self.findings, self._marks)
                self._sample.append(client)
            else:
                client = (StalledClient if number in stalls else Client)(number, self.counts, upgrade)
            self.clients.append(client)
        opening = [
            self._loop.create_task(self._open(client, room, ports[client.number % len(ports)]))
            for client in self.clients
        ]
        await asyncio.gather(*opening)
        deadline_s = self._loop.time() + _JOIN_TIMEOUT_S
        while self.counts.joined < count:
            if self.counts.lost or self._loop.time() > deadline_s:
                raise ConnectionError(f"{self.counts.joined} of {count} clients joined: {self.counts.reasons}")
            await asyncio.sleep(0.02)

    async def _open(self, client: Client, room: asyncio.Semaphore, port: int) -> None:
        if joins_per_s := self._told.get("joins_per_s"):
            await asyncio.sleep(client.number / joins_per_s)
        async with room:
            ends = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            if isinstance(client, StalledClient):
                ends.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _STALLED_BUFFER_BYTES)
            ends.settimeout(0)
            await self._loop.sock_connect(ends, (_HOST, port))
            ends.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.create_connection(lambda: client, sock=ends)

    def run(self) -> None:
        """Begin to send."""
        settle_memory()
        self._began_s = time.perf_counter()
        self._slice()
        for i, client in enumerate(self._sample):
            self._loop.call_later(_CHECK_EVERY_S * (i + 1) / len(self._sample), self._check, client)

    def hear(self, word: str) -> None:
        """A word of the parent's."""
        if word == "start":
            self.counts.reset()
            self.findings.reset()
            self._cpu_s = time.process_time()
            self._measured_s = time.perf_counter()
        elif word == "stop":
            tell("result", **self.result())
        elif word == "end":
            self.ended.set()

    def result(self) -> Line:
        """What was seen since "start"; photographs go to a file."""
        counts, findings = self.counts, self.findings
        elapsed_s = time.perf_counter() - self._measured_s
        findings.on = False
        if self._told["photographs"]:
            _save(Path(self._told["photographs"]), self.findings)
        return {
            "elapsed_s": elapsed_s,
            "bytes": counts.bytes,
            "deltas": counts.deltas,
            "inputs": counts.inputs,
            "visible_mean": counts.seen / counts.looks if counts.looks else 0.0,
            "sample_visible_mean": findings.in_view / findings.views if findings.views else 0.0,
            "latency_ms": [round(v, 3) for v in findings.latency_ms],
            "checks": findings.checks,
            "mismatches": findings.mismatches,
            "lost": counts.lost,
            "refused": counts.refused,
            "reasons": counts.reasons,
            "swarm_cpu": (time.process_time() - self._cpu_s) / elapsed_s,
        }

    # -- pacing --------------------------------------------------------------------

    def _slice(self) -> None:
        """Send what is due: each client in turn, so that all are equally far apart."""
        due = int((time.perf_counter() - self._began_s) * self._told["inputs_per_s"] * len(self.clients))
        while self._sent < due:
            client = self.clients[self._sent % len(self.clients)]
            self._sent += 1
            if not connected(client):
                continue
            self.counts.inputs += 1
            if isinstance(client, SampleClient) and client.seq % _TURN_EVERY:
                client.mark()
            else:
                client.send(self._turns[(client.seq + client.number) % TURNS])
        self._loop.call_later(_SLICE_S, self._slice)

    def _check(self, client: SampleClient) -> None:
        if connected(client):
            client.check()
            self._loop.call_later(_CHECK_EVERY_S, self._check, client)


def turns(command: int) -> list[InputFrame]:
    """Moves in TURNS directions all around, in a shuffled order that never changes.

    Every client goes through all of them, so nobody drifts: a crowd that drifted would gather at the
    borders, and see more than it should.
    """
    angles = np.random.default_rng(1).permutation(TURNS) * (2 * np.pi / TURNS)
    return [InputFrame(command, (float(np.cos(a)), float(np.sin(a)))) for a in angles]


def _save(path: Path, findings: Findings) -> None:
    taken = findings.photographs
    np.savez(
        path,
        client=np.array([p.client for p in taken], np.int64),
        tick=np.array([p.tick for p in taken], np.int64),
        handle=np.array([p.handle for p in taken], np.int64),
        size=np.array([len(p.records) for p in taken], np.int64),
        records=np.frombuffer(b"".join([p.records for p in taken]), np.uint8),
    )


async def main() -> None:
    """One run."""
    swarm = Swarm(arguments())
    listen(swarm.hear)
    await swarm.connect()
    swarm.run()
    tell("joined", clients=len(swarm.clients))
    await swarm.ended.wait()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(main())
