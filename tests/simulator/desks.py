"""Gateways: the server's own, in processes that die and are paused as nodes are; connections without sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random

import jwt

import server.gateway.gateway as gateway_module
from protocol.errors import CloseCode
from server.gateway.auth import Authenticator
from server.gateway.gateway import Gateway, GatewayOptions
from server.gateway.interest import ViewSpec
from server.gateway.router import Router
from server.gateway.stream import RegionStream
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.shard.envelope import unseal
from tests.simulator import game
from tests.simulator.network import Network, SimBus
from tests.simulator.plan import GRACE_S
from tests.simulator.process import Process

FLUSH_S, SWEEP_S = 0.1, 1.0
# Seconds for which a gateway has to believe that a region's newest owner is its owner, though it hears nothing more.
BELIEVED_S = 4.9
# Seconds that a message takes over a connection, and writes that it holds while nobody reads.
WIRE_S = 0.005
HOLDS = 2
VIEW = ViewSpec(16.0, 1, 2, 2, 2.0)
OPTIONS = GatewayOptions(
    connections_max=1000,
    connections_per_address_max=1000,
    loopback_exempt=True,
    handshake_timeout_s=5.0,
    idle_timeout_s=1e9,
    frame_bytes_max=4096,
    receive_bytes_per_s=1e9,
    receive_burst_bytes=1_000_000,
    inputs_per_s=1000.0,
    inputs_burst=1000,
    flood_strikes_max=200,
    malformed_max=10,
    lag_timeout_s=4.0,
    send_buffer_bytes=65_536,
    receipts_max=256,
    events_per_write_max=64,
    grace_s=GRACE_S,
    quiet_ticks_max=3,
    inputs_unacked_max=256,
    crossing_hold_ticks=8,
    watch_linger_s=0.5,
    tick_rate_hz=game.TICK_RATE_HZ,
    link_max=500,
)


_SECRET = "everyone's accounts" * 2


def account_token(name: str) -> str:
    """What proves to gateways that it is this account."""
    return jwt.encode({"sub": name, "exp": 4_102_444_800}, _SECRET)


class Numbers:
    """In the place of `secrets`, for a gateway draws the numbers of sessions and of itself from there."""

    def __init__(self, seed: int) -> None:
        self.randbits = Random(f"numbers {seed}").getrandbits


class Wire:
    """A connection, as a gateway knows its sockets. What is sent comes in order, or the connection has ended."""

    address = "local"
    fault = None

    def __init__(self, desk: Desk, player) -> None:
        self.desk, self.player = desk, player
        self.session = None
        self.ending = False
        # Whether it has ended for the player, and for the gateway.
        self.hung_up = self.lost = False
        # Whether its player reads; and what is on its way to it, of which so much has come.
        self.reading = True
        self._coming: deque[bytes] = deque()
        self._come_in = 0
        # Whether the gateway has opened it: before that nobody can say anything over it. And whether anybody has.
        self.open = self.used = False
        desk.wires[self] = None
        desk.hear(self, self._open)

    def _open(self) -> None:
        self.desk.gateway.opened(self)
        self._later(self._stands)

    def _stands(self) -> None:
        self.open = True

    # -- the gateway's end ---------------------------------------------------------

    def write(self, frames: bytes) -> bool:
        with self.desk.process.effect("write"):
            if self.lost or self.ending or self.stalled():
                return False
            self._coming.append(frames)
            self._later(self._come)
            return True

    def stalled(self) -> bool:
        return not self.reading and len(self._coming) > HOLDS

    def end(self, farewell: bytes, code: CloseCode, reason: str) -> None:  # noqa: ARG002  # the farewell says so
        if not self.ending:
            self._coming.append(farewell)
            self.ending = True
            self._later(self._come)
            self._later(self.broke)
            self._later(lambda: self.desk.hear(self, self._forget))

    def _later(self, do) -> None:
        process = self.desk.process
        process.loop.call_at(max(process.loop.time() + WIRE_S, process.awake_s), do)

    def _come(self) -> None:
        self._come_in += 1
        self._read()

    def _read(self) -> None:
        while self.reading and self._come_in and not self.hung_up:
            self._come_in -= 1
            self.player.heard(self, self._coming.popleft())

    def _forget(self) -> None:
        if not self.lost:
            self.lost = True
            self.desk.wires.pop(self, None)
            self.desk.gateway.lost(self)

    # -- the player's end ----------------------------------------------------------

    def send(self, message: bytes) -> None:
        self.used = True
        self.desk.process.loop.call_later(
            WIRE_S, lambda: self.desk.hear(self, lambda: self.desk.gateway.received(self, message))
        )

    def stop_reading(self, seconds: float) -> None:
        """For so long; then all is read that came meanwhile."""
        self.reading = False
        self.desk.process.loop.call_later(seconds, self._read_again)

    def _read_again(self) -> None:
        self.reading = True
        self._read()

    def hang_up(self, noticed_s: float) -> None:
        """The gateway hears of it so much later."""
        self.hung_up = True
        self.desk.process.loop.call_later(noticed_s, lambda: self.desk.hear(self, self._forget))

    def broke(self) -> None:
        """The gateway closed it, or is no more."""
        if not self.hung_up:
            self.hung_up = True
            self.player.broke(self)


class Ears(SimBus):
    """A gateway's end of the bus: it notes whose frames are shown, of the owners that a region has had."""

    def __init__(self, network: Network, process: Process, broken: list[str]) -> None:
        super().__init__(network, process)
        self.router: Router | None = None
        self._broken = broken
        # Region -> its stream, the newest owner's epoch that was heard there, and when.
        self._newest: dict[int, tuple[RegionStream, int, float]] = {}

    def _receive(self, topic, payload):
        kind, _, region = topic.partition("/")
        stream = self.router.streams.get(int(region)) if kind == "frames" and self.router is not None else None
        if stream is None:
            super()._receive(topic, payload)
            return
        before = stream.tick
        super()._receive(topic, payload)
        epoch, now_s = unseal(payload)[0], self.process.now_s()
        known, newest, heard_s = self._newest.get(stream.region.id, (None, 0, 0.0))
        if known is not stream or epoch >= newest:
            self._newest[stream.region.id] = stream, epoch, now_s
        elif stream.tick != before and now_s - heard_s < BELIEVED_S:
            self._broken.append(f"region {region} is shown as epoch {epoch} has it, after epoch {newest}")


class Desk:
    """One life of a gateway."""

    def __init__(self, cluster, process: Process, metrics: Metrics) -> None:
        self.process = process
        self.wires: dict[Wire, None] = {}
        ears = Ears(cluster.network, process, cluster.crowd.broken)
        auth = Authenticator(guests=True, jwt_secret=_SECRET, jwt_algorithms=("HS256",), resume_secret="everyone's" * 4)
        self.gateway: Gateway = process.call(
            lambda: Gateway(
                game.GAME.schema,
                cluster.atlas,
                VIEW,
                ears,
                process,
                auth,
                OPTIONS,
                metrics,
                Health(process.now_s),
            )
        )
        ears.router = self.gateway.router
        process.on_crash.append(self._died)
        process.run(self._run)

    async def _run(self) -> None:
        """As server/roles/gateway.py has it."""
        sweep_s = self.process.now_s() + SWEEP_S
        while True:
            await self.process.sleep_until(self.process.now_s() + FLUSH_S)
            self.gateway.flush()
            if self.process.now_s() >= sweep_s:
                sweep_s += SWEEP_S
                self.gateway.sweep()

    def hear(self, wire: Wire, do) -> None:
        """Something comes in over a connection."""

        def heard() -> None:
            with self.process.effect("hear"):
                if not wire.lost:
                    do()

        self.process.when_awake(heard)

    async def drain(self) -> None:
        """There is nothing to give away."""

    async def close(self) -> None:
        """As server/roles/gateway.py has it: everybody is told, and comes back elsewhere."""
        self.gateway.farewell()
        await self.process.sleep_until(self.process.now_s() + FLUSH_S)
        self.gateway.close()

    def _died(self) -> None:
        for wire in tuple(self.wires):
            wire.lost = True
            asyncio.get_running_loop().call_later(WIRE_S, wire.broke)
        self.wires.clear()


def number(seed: int):
    """Have gateways draw their numbers from this seed; returns what ends it."""
    before, gateway_module.secrets = gateway_module.secrets, Numbers(seed)

    def end() -> None:
        gateway_module.secrets = before

    return end
