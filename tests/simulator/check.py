"""What must hold, whatever happens: after each tick, and when all faults are over."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from server.host.recovery import rebuild
from server.regions.travellers import Travellers
from server.shard.errors import MailError
from server.shard.machine import NOTHING
from server.shard.mail import HANDOFF, REFUSAL, unwrap_refusal
from tests.simulator import game
from tests.simulator.desks import VIEW
from tests.simulator.disk import SimJournal
from tests.simulator.process import Process
from tests.simulator.promises import Promises

# Times that a shard is looked at again because it was being moved, and virtual seconds until then.
_MOVES_MAX = 20
_MOVE_S = 0.5


class Violated(Exception):
    """An invariant does not hold. `lost`, `doubled`: entities, coins or commands, where it is about those."""

    def __init__(self, what: str, *, lost: int = 0, doubled: int = 0) -> None:
        super().__init__(what)
        self.lost, self.doubled = max(0, lost), max(0, doubled)


class Checker:
    def __init__(self, cluster) -> None:
        self.cluster = cluster
        self.promises = Promises(cluster.epochs)
        cluster.network.watchers.append(self.promises.left)
        cluster.medium.watchers.append(self.promises.durable)
        self.checks = 0

    # -- at any time -----------------------------------------------------------------

    def check(self) -> None:
        """Journals are one writer's, gapless; and where every shard has an owner, everyone is in exactly one place."""
        for broken in (self.cluster.medium.broken, self.promises.broken, self.cluster.crowd.broken):
            if broken:
                raise Violated(broken[0])
        for process, _ in (*self.cluster.nodes.values(), *self.cluster.desks.values()):
            if process.failure is not None:
                raise Violated(f"{process.name} ends with {process.failure!r}")
        tenures = self.cluster.tenures()
        for shard, tenure in tenures.items():
            last = self.cluster.handed.get((shard, tenure.lease.epoch))
            if last not in (None, tenure.report.tick):
                raise Violated(f"region {shard} was handed over at tick {last}, and went on at {tenure.report.tick}")
        if set(tenures) == set(self.cluster.shards) and all(self._newest(t) for t in tenures.values()):
            self.checks += 1
            self._places({shard: t.host.machine for shard, t in tenures.items()})

    def _newest(self, tenure) -> bool:
        """Whether no younger owner has begun: an old one's state may be of ticks that never were."""
        return self.cluster.medium.journal._last[tenure.lease.shard].epoch == tenure.lease.epoch

    def _places(self, machines) -> None:
        found = Counter()
        for machine in machines.values():
            rows = machine.world.rows_of(game.WANDERER, game.PLAYER)
            found.update(machine.world.id_of(rows).tolist())
            for _, payload in machine.borders._waiting:
                found.update(_ids(payload))
            for letter in machine.post.unacked():
                taken = machines[letter.destination].post.received().get((letter.source, letter.lane), 0)
                if letter.seq > taken:
                    found.update(_carried(letter))
        twice = sorted(e for e, n in found.items() if n > 1)
        if twice:
            raise Violated(f"entities {twice} are in two places", doubled=len(twice))
        born = sum(1 for e in found if e)
        expected = game.WANDERERS * len(self.cluster.atlas.regions) + len(sessions(machines))
        if born != expected:
            lost = expected - born
            raise Violated(f"{born} entities where there were {expected}", lost=lost, doubled=-lost)

    # -- at the end ------------------------------------------------------------------

    async def final(self) -> None:
        """All is healed and still: every total, every book, and every replay."""
        self.check()
        if self.cluster.leaving:
            raise Violated(
                f"{[process.name for process in self.cluster.leaving]} are still there, long after they were to go"
            )
        machines = {shard: t.host.machine for shard, t in self.cluster.tenures().items()}
        if set(machines) != set(self.cluster.shards):
            raise Violated(f"only {sorted(machines)} run, long after the last fault")
        coins = sum(int(m.world[game.Purse].coins[: m.world.high_water].sum()) for m in machines.values())
        dead = sum(len(m.post.dead) for m in machines.values())
        under_way = sum(len(m.post.unacked()) for m in machines.values())
        if under_way:
            raise Violated(f"{under_way} letters are still under way")
        for region, divide in self.cluster.wanted.items():
            parts = [machines[part].division.ground is not None for part in self.cluster.atlas.parts_of(region)]
            if parts != [divide] * len(parts):
                raise Violated(f"region {region}: of its parts {parts} have their ground, long after it was ordered")
        for shard, machine in machines.items():
            if machine.division.ground is None and machine.world.count:
                raise Violated(f"{machine.world.count} entities stand in region {shard}, which has no ground")
        expected = len(self.cluster.atlas.regions) * game.COINS * (10 + game.WANDERERS)
        if coins != expected or dead:
            raise Violated(
                f"{coins} coins where there were {expected}, {dead} dead letters, and "
                f"{sum(m._game_mail.to_nobody for m in machines.values())} messages were for nobody",
                lost=expected - coins,
                doubled=coins - expected,
            )
        self._books(machines)
        self._once(machines)
        if blind := [player.name for player in self.cluster.crowd.players if not player.looked]:
            raise Violated(f"{blind} asked what they should see, and were not told, long after")
        await self._replays()

    def _books(self, machines) -> None:
        for player in self.cluster.crowd.players:
            for life in player.lives:
                self._book(machines, life)
            if not player.settled:
                if player.since_s == math.inf:
                    raise Violated(f"{player.life.session} was away since {player.gone_s}, and is not gone")
                waiting = sorted(set(player.life.entries) - player.life.receipted) if player.life else []
                raise Violated(f"{player.talk._name}: here {player.here}, never receipted, long after: {waiting}")
            machine = next(m for m in machines.values() if player.life.session in m.attending())
            row = int(machine.sessions.rows(np.array([player.life.session], np.uint64), machine.world)[0])
            if machine.world[game.Book].away[row]:
                raise Violated(f"{player.life.session} plays, and stands there as away")
            if player.talk.view.entity != (machine.shard, row):
                raise Violated(f"{player.life.session} is {(machine.shard, row)}, and sees {player.talk.view.entity}")
            self._sight(machines, machine, row, player)

    def _once(self, machines) -> None:
        """An account is in the world once, and speaks over one connection."""
        for name, n in avatars(machines).items():
            if n > 1:
                raise Violated(f"{name} is in the world {n} times", doubled=n - 1)
        for player in self.cluster.crowd.players:
            if still_open := [wire for wire in player.left_open if not wire.hung_up]:
                raise Violated(f"{player.name} has {1 + len(still_open)} connections")

    def _sight(self, machines, home, row, player) -> None:
        """Who is near is seen, and who is seen is there."""
        here = home.world[game.Position]
        for machine in machines.values():
            rows = machine.world.rows(game.Position)
            there = machine.world[game.Position]
            near = np.maximum(abs(there.x[rows] - here.x[row]), abs(there.y[rows] - here.y[row])) < VIEW.cell_units
            seen = set(player.talk.view[machine.shard].entities)
            if missing := sorted(set(rows[near].tolist()) - seen):
                raise Violated(f"{player.life.session} does not see {missing} of region {machine.shard}")
            if ghosts := sorted(seen - set(rows.tolist())):
                raise Violated(f"{player.life.session} sees {ghosts} of region {machine.shard}, who are not there")

    def _book(self, machines, life) -> None:
        homes = [m for m in machines.values() if life.session in m.attending()]
        told = {seq for s, seq in self.promises.receipted if s == life.session} | life.receipted
        if not homes:
            if told and not life.over:
                raise Violated(f"{life.session} is nowhere, and was told {len(told)} receipts", lost=len(told))
            return
        if len(homes) > 1:
            raise Violated(f"{life.session} is in two regions", doubled=1)
        machine = homes[0]
        session = np.array([life.session], np.uint64)
        high = int(machine.high_water(session)[0])
        row = int(machine.sessions.rows(session, machine.world)[0])
        book = machine.world[game.Book]
        done = [seq for seq in life.entries if seq <= high]
        has = (int(book.count[row]), int(book.sum[row]))
        if has != (len(done), sum(done)):
            raise Violated(
                f"{life.session}: {has} in the book, {(len(done), sum(done))} were entered",
                lost=len(done) - has[0],
                doubled=has[0] - len(done),
            )
        if lost := sorted(told - set(done)):
            raise Violated(f"{life.session}: acknowledged and not there: {lost}", lost=len(lost))

    async def _replays(self) -> None:
        """Every shard from nothing but what is kept is what it is."""
        ghost = Process("auditor")
        for shard in self.cluster.shards:
            for _ in range(_MOVES_MAX):
                journal = SimJournal(self.cluster.medium, ghost)
                replayed, _ = await rebuild(
                    lambda shard=shard: game.machine(self.cluster.atlas, shard),
                    journal,
                    self.cluster.medium.checkpoints,
                    ghost,
                )
                tenure = self.cluster.tenures().get(shard)
                if tenure is not None and _may_end_at(tenure, replayed.tick):
                    break
                # That took time, and the world is not quite still: a shard may be moved to even out the load.
                await self.cluster.loop.sleep(_MOVE_S)
            else:
                raise Violated(f"shard {shard}: the replay ends at {replayed.tick}, and its owner goes on")
            machine = tenure.host.machine
            last = self.cluster.medium.written[shard][-1][1]
            if replayed.tick != last:
                raise Violated(f"shard {shard}: the replay ends at {replayed.tick}, the journal at {last}")
            # The ticks since then had no input.
            while replayed.tick < machine.tick:
                replayed.replay(NOTHING)
            if replayed.digest() != machine.digest():
                raise Violated(f"shard {shard}: the replay differs at tick {machine.tick}")


def _may_end_at(tenure, tick: int) -> bool:
    """Whether a replay may: all is kept but what failed as the shard fell asleep, which it finds out as it wakes."""
    host = tenure.host
    failed = host.slumber.asleep and tenure._parts.journal.failure is not None
    return (host.durable_tick if failed else host.journalled_tick) <= tick <= host.journalled_tick


def sessions(machines) -> set[int]:
    """Everyone who is in the world, or on the way from one of these regions to another."""
    found = set()
    for machine in machines.values():
        found.update(machine.attending())
        for letter in machine.post.unacked():
            if letter.seq > machines[letter.destination].post.received().get((letter.source, letter.lane), 0):
                found.update(_passengers(letter))
        for _, payload in machine.borders._waiting:
            found.update(Travellers.decode(payload, game.GAME).passengers["session"].tolist())
    return found


def absent(machines) -> bool:
    """Whether somebody is in the world as away."""
    return any(machine.world[game.Book].away[machine.world.rows_of(game.PLAYER)].any() for machine in machines.values())


def avatars(machines) -> Counter[bytes]:
    """How often each account is in the world; guests have names of their own."""
    return Counter(name for machine in machines.values() for name in machine.sessions.known()["player"].tolist())


def _carried(letter) -> list[int]:
    payload = _handoff(letter)
    return _ids(payload) if payload is not None else []


def _passengers(letter) -> list[int]:
    payload = _handoff(letter)
    return Travellers.decode(payload, game.GAME).passengers["session"].tolist() if payload is not None else []


def _handoff(letter) -> bytes | None:
    if letter.kind == REFUSAL:
        try:
            letter, _ = unwrap_refusal(letter)
        except MailError:
            return None
    return letter.payload if letter.kind == HANDOFF else None


def _ids(payload: bytes) -> list[int]:
    return Travellers.decode(payload, game.GAME).arrays["@id"].tolist()
