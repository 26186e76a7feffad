"""Players: what the Python client does, without its sockets, before gateways that come and go.

Each steers about and enters things in its book, whenever it has a connection. It hangs up, or is hung up on, and
comes back with its resume token at any gateway. What it was told, and what it was shown, is checked as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from clients.python.client import FINAL_CODES
from clients.python.conversation import Conversation
from clients.python.errors import BacklogFull
from protocol.codec import encode_check
from protocol.errors import ErrorCode
from protocol.messages import Bye, Error, Receipt, ViewDigest, Welcome
from tests.gateway.meadow import messages
from tests.simulator import game
from tests.simulator.desks import Desk, Wire, account_token
from tests.simulator.plan import FAULTS_S, GRACE_S, Plan
from tests.simulator.promises import Promises

# Seconds until the next HELLO.
_BACK_S = 0.4
# By how much clocks may go too fast or too slow and still tell who came last: by far more than real ones do.
_ALIKE = 0.05
# How near to a border one goes hither and thither.
_NEAR_UNITS = 12.0


@dataclass
class Life:
    """One session."""

    session: int
    # Numbers of its entries, and those of them whose receipt has come.
    entries: list[int] = field(default_factory=list)
    receipted: set[int] = field(default_factory=set)
    # Its player was away for so long that the world need not have waited.
    over: bool = False


class Player:
    def __init__(self, crowd: Crowd, name: str, *, account: bool) -> None:
        self.crowd = crowd
        self.name = name
        self.account = account
        self.talk = Conversation(name, account_token(name) if account else None, None, 200)
        self.wire: Wire | None = None
        # Connections that it left open when it logged in again.
        self.left_open: list[Wire] = []
        self.lives: list[Life] = []
        # When it connected, or may again.
        self.since_s = 0.0
        # When something came last.
        self.heard_s = 0.0
        # When it connected last, and before that.
        self.came_s = self.before_s = -math.inf
        # Since when it has been out of the world against its will or not; None: it has a connection that is.
        self.gone_s: float | None = None
        # View digests that were compared.
        self.digests = 0
        # Whether it has been told, over the connection that it has, what it should see: since it last looked.
        self.looked = False

    @property
    def life(self) -> Life | None:
        return self.lives[-1] if self.lives else None

    @property
    def here(self) -> bool:
        return self.wire is not None and self.talk.joined

    @property
    def settled(self) -> bool:
        """Whether it is in the world and waits for nothing."""
        if self.life is None or not self.here or not self.wire.reading:
            return False
        return set(self.life.entries) <= self.life.receipted

    def turn(self, now_s: float, random: Random, *, quiet: bool) -> None:
        if self.wire is None:
            if now_s >= self.since_s:
                self._connect(now_s, random)
        elif self.wire.reading and now_s - max(self.since_s, self.heard_s) > self.crowd.patience_s:
            # Nothing came: it takes the connection for broken.
            self.leave(now_s, 0.0)
        elif self.talk.joined and not quiet:
            self._play(random)
        while self.wire is not None and self.wire.open and self.talk.outbox:
            self.wire.send(self.talk.outbox.popleft())

    def _connect(self, now_s: float, random: Random) -> None:
        desks = self.crowd.desks()
        self.since_s = now_s
        if not desks:
            self.since_s += _BACK_S
            return
        self.before_s, self.came_s = self.came_s, now_s
        self.wire = Wire(random.choice(desks), self)
        self.talk.begin()

    def _play(self, random: Random) -> None:
        try:
            if self.crowd.border_x is not None:
                self._go_to_and_fro(self.crowd.border_x, random)
            elif random.random() < 0.15:
                self.talk.command("Steer", {"dx": random.uniform(-1, 1), "dy": random.uniform(-1, 1)})
            if random.random() < 0.3:
                self.life.entries.append(
                    self.talk.command("Enter", {"what": random.randrange(200), "whom": self._somebody(random)})
                )
        except BacklogFull:
            pass
        if random.random() < 0.05:
            self.check()

    def _somebody(self, random: Random) -> tuple[int, int]:
        """In sight."""
        view = self.talk.view
        region = random.choice(list(view))
        return (region, random.choice(list(view[region].entities))) if view[region].entities else view.entity

    def _go_to_and_fro(self, border_x: float, random: Random) -> None:
        region, handle = self.talk.view.entity
        if random.random() < 0.3 and handle in self.talk.view[region].entities:
            beyond = float(self.talk.view[region].value(handle, "Position.x")) - border_x
            dx = random.choice((-1, 1)) if abs(beyond) < _NEAR_UNITS else 1 if beyond < 0 else -1
            self.talk.command("Steer", {"dx": dx, "dy": 0})

    def check(self) -> None:
        """Ask what it should see."""
        self.looked = False
        if self.here:
            self.talk.outbox.append(encode_check())

    def leave(self, now_s: float, noticed_s: float) -> None:
        """Hang up; the gateway hears of it so much later."""
        if self.wire is not None:
            self.wire.hang_up(noticed_s)
            self.broke(self.wire)
            self.since_s = now_s + _BACK_S

    def stay_away(self, now_s: float, until_s: float) -> None:
        """Hang up, and do not come back sooner than then. For good: nothing is left open that would keep it there."""
        self.leave(now_s, 0.0)
        if until_s == math.inf:
            for wire in self.left_open:
                wire.hang_up(0.0)
        self.since_s = until_s

    def stop_reading(self, seconds: float) -> None:
        """Read nothing for so long, and go on playing."""
        if self.wire is not None and self.wire.reading:
            self.wire.stop_reading(seconds)

    def log_in_again(self, now_s: float, *, hangs_up: bool) -> None:
        """By its account alone, at any gateway; the connection that it has stays open, unless it hangs up first."""
        if self.account and self.wire is not None:
            self.talk._resume = None
            if hangs_up or not self.wire.used:
                # One over which nobody says HELLO is nobody's connection: it ends when the time for that is over.
                self.leave(now_s, 0.0)
            else:
                self.left_open.append(self.wire)
                self.broke(self.wire)
            self.since_s = now_s

    def may_be_over(self, now_s: float) -> bool:
        """Whether it was away for so long that some clock may say that its grace time has ended."""
        return self.gone_s is not None and now_s - self.gone_s >= self.crowd.grace_s

    # -- what comes ------------------------------------------------------------------

    def broke(self, wire: Wire) -> None:
        """The connection is gone."""
        if wire is self.wire:
            now_s = self.crowd.loop.time()
            if self.here:
                self.gone_s = now_s
            self.wire = None
            self.looked = False
            self.since_s = now_s + _BACK_S

    def heard(self, wire: Wire, data: bytes) -> None:
        """Finished frames."""
        self.heard_s = self.crowd.loop.time()
        for payload in messages(data):
            if wire is not self.wire:
                return
            message = self.talk.receive(payload, self.crowd.loop.time())
            match message:
                case Welcome():
                    self._welcomed(message)
                case Receipt(seq):
                    self._receipted(seq)
                case ViewDigest():
                    self.digests += 1
                    self.looked |= message.region == self.talk.view.entity[0]
                    if not self.talk.agrees(message):
                        self.crowd.broken.append(f"{self.life.session} sees another region {message.region} than is so")
                case Error(code, reason) if code == ErrorCode.RESUME_FAILED:
                    self._over(reason)
                case Bye(code, reason) if code in FINAL_CODES and self.came_s - self.before_s > self.crowd.apart_s:
                    # A client does not come back after that.
                    self.crowd.broken.append(f"{self.name} is sent away from its newest connection: {reason}")
                case Error(_, _, seq) if seq:
                    # Not taken, and forgotten.
                    self.life.entries = [entry for entry in self.life.entries if entry != seq]

    def _over(self, reason: str) -> None:
        """It is told that its session is over. Before WELCOME, or with it: `gone_s` is of the session."""
        session = self.life.session
        joined = self.crowd.promises.joined_s.get(session, math.inf) < self.since_s
        if joined and not self.may_be_over(self.crowd.loop.time()):
            self.crowd.broken.append(f"{session} is told {reason!r}, and was there until {self.gone_s}")
        # Also where the tick in which it joined had not become durable: it may join again, for nobody, until its grace
        # time is over.
        self.life.over = True

    def _welcomed(self, welcome: Welcome) -> None:
        if self.life is None or self.life.session != welcome.session:
            if self.life is not None and self.account:
                self._over("begin anew")
            self.lives.append(Life(welcome.session))
        self.gone_s = None

    def _receipted(self, seq: int) -> None:
        self.life.receipted.add(seq)
        self.crowd.promises.told(self.life.session, seq)


class Crowd:
    """All players. `desks`: gateways that take connections."""

    def __init__(self, plan: Plan, desks: Callable[[], list[Desk]], promises: Promises, loop) -> None:
        self.desks = desks
        self.promises = promises
        # Seconds between two comings of which it can be told which was the later one: more than messages take, and
        # only where clocks go alike.
        self.apart_s = plan.delay_s + plan.far_s if plan.drift <= _ALIKE else math.inf
        self.patience_s = plan.patience_s
        # As the fastest clock has it.
        self.grace_s = GRACE_S / (1 + plan.drift)
        self.loop = loop
        self.random = Random(f"play {plan.seed}")
        self.players = [Player(self, f"player {i}", account=plan.accounts) for i in range(plan.players)]
        if plan.late and plan.players > 1:
            for player in self.players:
                player.since_s = self.random.uniform(0.0, FAULTS_S - 2.0)
        # The border over which they walk to and fro, if they do: the first from the west.
        self.border_x = (game.SIDE if plan.columns > 1 else game.SIDE / 2) if plan.restless else None
        self.quiet = False
        # What somebody saw that was not so.
        self.broken: list[str] = []

    async def run(self) -> None:
        while True:
            await self.loop.sleep(0.1)
            for player in self.players:
                player.turn(self.loop.time(), self.random, quiet=self.quiet)

    def left(self, session: int, away_s: float) -> None:
        """A session was made to leave the world. `away_s`: since when its region has had its player as away."""
        for player in self.players:
            if player.life is None or player.life.session != session:
                continue
            if player.gone_s is not None:
                # The grace time begins when a gateway falls silent, of which a player may have noticed nothing.
                player.gone_s = min(player.gone_s, away_s)
            if not player.may_be_over(self.loop.time()):
                self.broken.append(f"{session} has to leave the world, and its player was away since {player.gone_s}")
