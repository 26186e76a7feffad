"""A world of several regions: its real hosts, a real gateway, players on pipes; time stands still between ticks.

`Land.tick` makes one tick of every region, in the order that is asked for, and has every player read what came.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clients.python.view import View, Views
from protocol.codec import decode_server, encode_check, encode_hello, encode_input
from protocol.errors import CloseCode
from protocol.messages import Ack, Cross, Receipt, ServerMessage, ViewDigest, Welcome, You
from server.bus.memory import MemoryBus
from server.gateway.auth import Authenticator
from server.gateway.gateway import Gateway, GatewayOptions
from server.gateway.interest import ViewSpec
from server.gateway.session import Session
from server.host.host import HostOptions, ShardHost
from server.host.recovery import recover
from server.host.worldtime import WorldTime
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.ports import Bus, Claim
from server.sim.game import Game
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.gateway.glade import GAME, Position
from tests.gateway.meadow import Pipe, messages
from tests.support.clock import VirtualClock

TICK_S = 0.05
# Signs accounts' tokens.
SECRET = "a secret of the borderland, long enough"
VIEW = ViewSpec(16.0, 1, 3, 4, 2.0)
WHOLE = ViewSpec(16.0, 2, 2, 4, 2.0)
# 64 by 64 units each, unless asked otherwise.
FIRST = RegionSpec(5, -100.0, 40.0, 128.0, 64.0, 4096, 8.0)


class Wire(Pipe):
    """A connection in memory, as the gateway knows them."""

    def __init__(self, address: str = "local") -> None:
        super().__init__()
        self.address = address
        self.session: Any = None  # Any: the gateway's to set
        self.ended: tuple[CloseCode, str] | None = None
        self.fault: str | None = None

    @property
    def ending(self) -> bool:
        return self.ended is not None

    def end(self, farewell: bytes, code: CloseCode, reason: str) -> None:
        if self.ended is None:
            self.taken += farewell
            self.ended = (code, reason)


Key = tuple[int, int]


class Player:
    """A client: what it says, and what it makes of what it hears, message by message."""

    def __init__(
        self,
        land: Land,
        name: str,
        *,
        resume: str | None = None,
        gateway: int = 0,
        token: str | None = None,
        hello: bool = True,
    ) -> None:
        self.land = land
        self.seq = 0
        self.acked = 0
        self.receipts: list[int] = []
        self.digests = 0
        # Every message, in order; `told`: those of the last reading.
        self.log: list[ServerMessage] = []
        self.told: list[ServerMessage] = []
        self.views: Views | None = None
        self.welcomes = 0
        # HELLOs so far: as many WELCOMEs are to come.
        self.hellos = 0
        self.yous: list[Key] = []
        # Whom CROSS named -> who that is now.
        self.crossed: dict[Key, Key] = {}
        # Called after every single message.
        self.watches: list[Callable[[], None]] = []
        self.open(gateway)
        if hello:
            self.hello(name, resume, token)

    def connect(
        self, name: str | None = None, resume: str | None = None, *, gateway: int = 0, token: str | None = None
    ) -> None:
        self.open(gateway)
        self.hello(name, resume, token)

    def open(self, gateway: int) -> None:
        """A connection, without a word yet."""
        self.wire = Wire()
        self.gateway = self.land.gateways[gateway]
        self.gateway.opened(self.wire)

    def hello(self, name: str | None = None, resume: str | None = None, token: str | None = None) -> None:
        self.hellos += 1
        self.gateway.received(self.wire, encode_hello(name=name, resume=resume, token=token))

    def hang_up(self) -> None:
        self.gateway.lost(self.wire)

    @property
    def session(self) -> Session:
        session: Session = self.wire.session
        return session

    @property
    def entity(self) -> Key:
        assert self.views is not None
        return self.views.entity

    def say(self, command: int, *args: Any) -> int:
        self.seq += 1
        self.gateway.received(self.wire, encode_input(self.seq, command, args))
        return self.seq

    def check(self) -> None:
        self.gateway.received(self.wire, encode_check())

    def read(self) -> None:
        data, self.wire.taken = self.wire.taken, b""
        self.told = []
        for payload in messages(data):
            message = decode_server(payload)
            self.told.append(message)
            self.log.append(message)
            match message:
                case Welcome():
                    self.views = Views(message)
                    self.resume = message.resume
                    self.welcomes += 1
                    self.seq = max(self.seq, message.ack)
                case Ack(seq):
                    self.acked = seq
                case Receipt(seq):
                    self.receipts.append(seq)
                case ViewDigest():
                    assert self.views is not None
                    assert self.views[message.region].digest() == (message.count, message.crc), message
                    self.digests += 1
                case Cross():
                    onward = (message.to_region, message.to_handle)
                    self.crossed[message.from_region, message.from_handle] = onward
                    # Whoever had that handle before went on long ago.
                    self.crossed.pop(onward, None)
                case _ if self.views is not None:
                    if isinstance(message, You):
                        self.yous.append((message.region, message.handle))
                    self.views.apply(message)
            for watch in self.watches:
                watch()

    def view(self, region: int) -> View:
        assert self.views is not None
        return self.views[region]

    def seen(self) -> dict[Key, bytes]:
        """(region, handle) -> full record, of all regions."""
        assert self.views is not None
        return {(r, h): bytes(e.record) for r, view in self.views.items() for h, e in view.entities.items()}

    def where(self, key: Key | None = None) -> tuple[float, float]:
        """World units, of its own entity or another."""
        region, handle = key or self.entity
        view = self.view(region)
        return float(view.value(handle, "Position.x")), float(view.value(handle, "Position.y"))


@dataclass
class Region:
    machine: RegionMachine
    host: ShardHost
    journal: MemoryJournal
    # Records taken by the ends of the last ticks, and records that are durable.
    appended: deque[int]
    synced: int = 0


class LateBus(MemoryBus):
    """Keeps what is said of `late` topics until it is let go, or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.late: set[str] = set()
        self._kept: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> None:
        if topic in self.late:
            self._kept.append((topic, payload))
        else:
            super().publish(topic, payload)

    def lose(self) -> None:
        self.late.clear()
        self._kept.clear()

    def let_go(self) -> None:
        self.late.clear()
        kept, self._kept = self._kept, []
        for topic, payload in kept:
            super().publish(topic, payload)


class Land:
    """Regions of one world in a grid, and its gateways.

    `lag`: how many ticks after its own a tick's record becomes durable.
    """

    def __init__(
        self,
        columns: int = 2,
        rows: int = 1,
        *,
        game: Game = GAME,
        view: ViewSpec = VIEW,
        first: RegionSpec = FIRST,
        lag: int = 0,
        bus: MemoryBus | None = None,
        split_depth: int = 0,
        gateways: int = 1,
        **options: Any,
    ) -> None:
        self.clock = VirtualClock()
        self.world_time = WorldTime()
        self.bus = bus or MemoryBus()
        self.metrics = Metrics()
        self.health = Health(self.clock.now_s)
        self.atlas = Atlas.grid(first, columns=columns, rows=rows, hysteresis_units=2.0, split_depth=split_depth)
        self.lag = lag
        self.regions = {spec.id: self._region(game, spec) for spec in self.atlas.sites}
        self.view = view
        defaults = {
            "connections_max": 1000,
            "connections_per_address_max": 1000,
            "loopback_exempt": True,
            "handshake_timeout_s": 5.0,
            "idle_timeout_s": 1e9,
            "frame_bytes_max": 4096,
            "receive_bytes_per_s": 1e9,
            "receive_burst_bytes": 1_000_000,
            "inputs_per_s": 1000.0,
            "inputs_burst": 1000,
            "flood_strikes_max": 200,
            "malformed_max": 10,
            "lag_timeout_s": 20.0,
            "send_buffer_bytes": 65_536,
            "receipts_max": 256,
            "events_per_write_max": 64,
            "grace_s": 30.0,
            "quiet_ticks_max": 20,
            "inputs_unacked_max": 256,
            "crossing_hold_ticks": 20,
            "watch_linger_s": 5.0,
            "tick_rate_hz": 1 / TICK_S,
            "link_max": 10_000,
        }
        self.options = GatewayOptions(**{**defaults, **options})
        self.auth = Authenticator(guests=True, jwt_secret=SECRET, jwt_algorithms=("HS256",), resume_secret="")
        self.gateways = [self.another_gateway(self.bus_of(f"gateway {n}")) for n in range(gateways)]
        self.gateway = self.gateways[0]
        self.players: list[Player] = []
        for region in self.regions.values():
            region.host.show()

    def another_gateway(self, bus: Bus) -> Gateway:
        """One that is told nothing by anybody but over this bus."""
        return Gateway(
            self.game.schema,
            self.atlas,
            self.view,
            bus,
            self.clock,
            self.auth,
            self.options,
            self.metrics,
            self.health,
        )

    def bus_of(self, name: str) -> Bus:  # noqa: ARG002  # for worlds whose processes have one each
        """The bus as this process has it."""
        return self.bus

    def restart(self, number: int) -> None:
        """A region dies with all that is not durable, and comes back from its journal."""
        gone = self.regions[number]
        gone.host.close()
        journal = gone.journal.reopened()
        recovered = asyncio.run(
            recover(lambda: self._machine(gone.machine.region), journal, MemoryCheckpoints(), self.clock)
        )
        self.regions[number] = self._runs(recovered.machine, journal, recovered.claim)

    def _region(self, game: Game, spec: RegionSpec) -> Region:
        self.game = game
        journal = MemoryJournal(hold=True, keep_max=10_000)
        return self._runs(self._machine(spec), journal, journal.claim_now(spec.id))

    def _machine(self, spec: RegionSpec) -> RegionMachine:
        return RegionMachine(self.game, spec, seed=3, tick_rate_hz=1 / TICK_S, digest_every_ticks=7, atlas=self.atlas)

    def _runs(self, machine: RegionMachine, journal: MemoryJournal, claim: Claim) -> Region:
        host = ShardHost(
            machine,
            journal,
            self.bus_of(f"region {machine.shard}"),
            self.clock,
            HostOptions(1 / TICK_S, 5, 10_000, 8, "pipelined", self.game.version, digest_every_ticks=7),
            self.metrics,
            self.health,
            claim=claim,
            world_time=self.world_time,
        )
        host.before_tick.append(functools.partial(self.gather, machine.shard))
        return Region(machine, host, journal, deque([0] * self.lag))

    def gather(self, number: int) -> None:
        """A region is about to tick: gateways of its process send what they hold."""
        for gateway in self.gateways:
            gateway.flush(number)

    def join(
        self, name: str = "ada", region: int | None = None, *, gateway: int = 0, token: str | None = None
    ) -> Player:
        """A player whose entity begins in `region`, or wherever the router spreads it to."""
        router = self.gateways[gateway].router
        spread = router.choose
        router.choose = lambda session: region or spread(session)
        player = Player(self, name, gateway=gateway, token=token)
        router.choose = spread
        self.players.append(player)
        while player.views is None:
            self.tick()
        return player

    def tick(self, order: Sequence[int] | None = None) -> None:
        """One tick of every region, in this order; or of some of them."""
        self.clock.work(TICK_S)
        for number in self.regions if order is None else order:
            self.run(number)
        for player in self.players:
            player.read()

    def run(self, number: int) -> None:
        """One tick of this region."""
        region = self.regions[number]
        region.host.tick_once()
        # Records of the last `lag` ticks wait.
        region.appended.append(region.synced + region.journal.backlog)
        due = region.appended.popleft() - region.synced
        region.journal.sync(due)
        region.synced += due

    def ticks(self, n: int) -> None:
        for _ in range(n):
            self.tick()

    # -- the truth -----------------------------------------------------------------

    def place(self, player: Player) -> tuple[int, float, float]:
        """(region, x, y) of a player's entity, from the region that has it; exactly one does."""
        ((region, row),) = self.whereabouts(player.session.id)
        position = self.regions[region].machine.world[Position]
        return region, float(position.x[row]), float(position.y[row])

    def whereabouts(self, session: int) -> list[tuple[int, int]]:
        """(region, row) wherever a session has an entity."""
        found = []
        for number, region in self.regions.items():
            world = region.machine.world
            rows = world.owner[: world.high_water].tolist()
            found += [(number, row) for row, owner in enumerate(rows) if owner == session]
        return found

    def put(self, player: Player, x: float, y: float) -> None:
        """Put a player's entity somewhere: a whim of the world's, between two ticks."""
        ((region, row),) = self.whereabouts(player.session.id)
        position = self.regions[region].machine.world[Position]
        position.x[row], position.y[row] = x, y

    def around(self, player: Player, reach: int) -> set[Key]:
        """Who is within `reach` cells of the player's own cell, all regions taken for one, by plain arithmetic."""
        home = player.session.home
        assert home is not None
        interest = home.stream.replica.interest
        row, column = divmod(home.centre, interest.stride)
        own = (column - interest.pad + interest.first_column, row - interest.pad + interest.first_row)
        west, north = (min(origins) for origins in zip(*(site.origin for site in self.atlas.sites), strict=True))
        found = set()
        for key, (x, y) in self.everyone():
            cell = (int((x - west) // self.view.cell_units), int((y - north) // self.view.cell_units))
            if max(abs(cell[0] - own[0]), abs(cell[1] - own[1])) <= reach:
                found.add(key)
        return found

    def sees_all_there_is(self, player: Player) -> bool:
        """Whether a player sees those in its square, of whichever region, and nobody else but who is on the way."""
        on_the_way = {
            (region, held.handle)
            for region, stream in player.gateway.router.streams.items()
            for held in stream.replica.held.values()
        }
        return set(player.seen()) - on_the_way == self.around(player, self.view.far)

    def everyone(self) -> Iterator[tuple[Key, tuple[float, float]]]:
        """((region, row), (x, y) as they travel) of every entity."""
        for number, region in self.regions.items():
            world, spec = region.machine.world, region.machine.region
            position = world[Position]
            for row in world.rows(Position).tolist():
                raw = [
                    round((float(v) - o) * 64) / 64 + o
                    for v, o in zip((position.x[row], position.y[row]), spec.origin, strict=True)
                ]
                yield (number, row), (raw[0], raw[1])
