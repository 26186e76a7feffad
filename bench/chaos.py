"""`python -m bench chaos`: a cluster under load, and everything that it is made of is taken away, again and again.

Real processes (bench/cluster_processes.py): nodes and gateways are killed, stopped for longer than a lease lasts, told
to end, parted from Redis and from the store; Redis is killed, with its data and without, and stopped; the store is
killed and stopped. What, when and for how long comes from the seed. Meanwhile tellers give orders through all gateways
and walk over borders with wanderers who give coins to each other (bench/chaos_game.py).

After each fault everybody has to come back. In the end the world comes to rest, every process is killed, and another
one replays what the store has: acknowledged orders, once; entities and coins, each in one place.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.chaos_game import REGION_UNITS
from bench.cluster_processes import Cluster, ClusterShape, Doors, Member, metric
from bench.crash import data_directory
from bench.crash_client import OPEN_MAX, Address, Findings, Teller
from bench.crash_load import Load, Verdict, judge
from bench.crash_server import ServerEnded
from bench.figures import percentile
from bench.plants import ClusterFault, ClusterPlant
from bench.processes import ROOT, Line, WorkerError
from protocol.messages import Bye, Error, ServerMessage, You

LEASE_TTL_S: Final = 3.0
# Seconds of play between two faults; how long a process is dead, or a network gone; how long a process is stopped.
_BETWEEN_S: Final = (0.2, 3.0)
_DOWN_S: Final = (0.0, 3.0)
_STOPPED_S: Final = (0.5, 3 * LEASE_TTL_S)
# Of the faults, those that do not wait for everybody to be back from the one before.
_AT_ONCE: Final = 0.25
# Seconds after which nobody believes any more that everybody comes back. A machine that has much else to do lets leases
# run out by itself: that makes a world slow, and is no fault of it.
_BACK_WITHIN_S: Final = 300.0
# Seconds that a world at rest has until nothing is under way, and how often it is found so.
_REST_WITHIN_S: Final = 300.0
# By then everything has come to rest, and what is seen is what there is.
_SEEN_WITHIN_S: Final = 30.0
_QUIET_LOOKS: Final = 3
_START_AGAIN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What to do."""

    minutes: float
    nodes: int
    gateways: int
    columns: int
    rows: int
    tellers: int
    rate_per_s: float
    seed: int
    # The faults that are made; empty: all.
    only: tuple[ClusterFault, ...] = ()
    # Where data is kept; None: a temporary directory, removed after a run without findings.
    data: Path | None = None
    # A promise that is broken on purpose.
    plant: ClusterPlant | None = None


@dataclass
class Book:
    """What happened."""

    verdict: Verdict = field(default_factory=Verdict)
    faults: Counter[str] = field(default_factory=Counter)
    # Seconds from the end of a fault until everybody is in the world, and until the next receipt.
    back_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    # Each one is a violation.
    reasons: list[str] = field(default_factory=list)
    # Processes that found Redis or the store away when they were started, and ended.
    started_again: int = 0
    digests_checked: int = 0
    entities: int = 0
    coins: int = 0
    # Seconds until nothing was under way any more, after the end.
    rest_s: float = 0.0
    elapsed_s: float = 0.0


class Traveller(Teller):
    """A teller whose avatar walks. What it is shown at a border may be older than a receipt, so the end decides."""

    # Times that it was shown somebody else for itself: a view that begins anew, with the last handle given to another,
    # is followed by YOU at once.
    strangers = 0
    _stranger = False

    def __init__(self, name: str, address: Address, findings: Findings, *, renumber: bool = False) -> None:
        super().__init__(name, address, findings, renumber=renumber)
        # What gateways said when they closed a connection, or would not resume.
        self.farewells: Counter[str] = Counter()

    def rest(self) -> None:
        """Let the world stand still."""
        self._talk.command("Rest", {})
        self._wake.set()

    @property
    def sees_itself(self) -> bool:
        """Whether it is shown its own book, with all in it that it has given."""
        region, handle = self._talk.view.entity
        try:
            return self.joined and self._talk.view[region].value(handle, "Ledger.count") == self.given
        except KeyError:
            return False

    def _heard(self, message: ServerMessage) -> None:
        self.strangers += self._stranger and not isinstance(message, You)
        self._stranger = False
        super()._heard(message)
        if isinstance(message, Bye) or (isinstance(message, Error) and message.seq is None):
            self.farewells[f"{type(message).__name__} {message.code}: {message.text}"] += 1

    def _look(self) -> None:
        """Only what can't be too early: an order that is in the book twice."""
        region, handle = self._talk.view.entity
        view = self._talk.view[region]
        if handle not in view:
            return
        try:
            again = int(view.value(handle, "Ledger.again"))
        except KeyError:
            self._stranger = True
            return
        if again > self.doubled:
            self.doubled = again
            self._findings.complain(f"{self.name}: {again} doubles in the books at tick {view.tick}")


def shape_of(options: ChaosOptions) -> ClusterShape:
    """The cluster: short leases, so that faults outlast them; checkpoints so often that faults meet them."""
    settings = {
        "WORLD__WIDTH": options.columns * REGION_UNITS,
        "WORLD__HEIGHT": options.rows * REGION_UNITS,
        "WORLD__COLUMNS": options.columns,
        "WORLD__ROWS": options.rows,
        # A gift finds its way however long ago its friend left: that is forgotten all the time.
        "WORLD__BORDER_FORWARD_S": 1.0,
        "NODE__LEASE_TTL_S": LEASE_TTL_S,
        "NODE__TURN_S": LEASE_TTL_S / 4,
        # What is away longer than that is lost by right.
        "GATEWAY__GRACE_S": 600.0,
        # Whoever comes back says all at once that has no receipt, and is not to be cut off for it, again and again.
        "GATEWAY__INPUTS_BURST": 2 * OPEN_MAX,
        "STORE__CHECKPOINT_EVERY_S": 5.0,
    }
    told = {f"EVERSTEP_{name}": str(value) for name, value in settings.items()}
    program = ("bench.chaos_faults", options.plant) if options.plant else ("server",)
    return ClusterShape(
        options.nodes, options.gateways, "bench.chaos_game", told, proxied=True, program=program, redis_kept=True
    )


class Chaos:
    """One run."""

    def __init__(self, options: ChaosOptions, cluster: Cluster) -> None:
        self.book = Book()
        self.doors = Doors()
        self.load = Load(options.tellers, options.rate_per_s, address=self.doors, kind=Traveller)
        self._options = options
        self._cluster = cluster
        self._random = random.Random(options.seed)  # noqa: S311  # from the seed, so that it can be repeated
        self._kinds: dict[ClusterFault, Callable[[], Awaitable[None]]] = {
            ClusterFault.NODE_KILLED: lambda: self._killed(self._node()),
            ClusterFault.NODE_STOPPED: lambda: self._stopped(self._node()),
            ClusterFault.NODE_ENDED: lambda: self._ended(self._node()),
            ClusterFault.NODE_WITHOUT_REDIS: lambda: self._parted(self._node(), "redis"),
            ClusterFault.NODE_WITHOUT_STORE: lambda: self._parted(self._node(), "store"),
            ClusterFault.GATEWAY_KILLED: lambda: self._killed(self._gateway()),
            ClusterFault.GATEWAY_STOPPED: lambda: self._stopped(self._gateway()),
            ClusterFault.GATEWAY_WITHOUT_REDIS: lambda: self._parted(self._gateway(), "redis"),
            ClusterFault.REDIS_KILLED: self._redis_killed,
            ClusterFault.REDIS_FORGOT: self._redis_forgot,
            ClusterFault.REDIS_STOPPED: self._redis_stopped,
            ClusterFault.STORE_KILLED: self._store_killed,
            ClusterFault.STORE_STOPPED: self._store_stopped,
        }

    async def run(self, glance: Callable[[str], None]) -> Line:
        """Make faults for so long; returns the figures."""
        options, book, load = self._options, self.book, self.load
        self.doors.urls = [gateway.ws_url for gateway in self._cluster.gateways]
        kinds = [kind for kind in ClusterFault if not options.only or kind in options.only]
        async with load:
            load.watch = self._cluster.check
            try:
                glance("everybody joins")
                await load.all_joined(_BACK_WITHIN_S)
                await load.receipt(_BACK_WITHIN_S)
                began_s = time.monotonic()
                while time.monotonic() - began_s < options.minutes * 60:
                    kind = self._random.choice(kinds)
                    found = len(load.findings.reasons) + len(book.reasons)
                    glance(f"{book.faults.total()} faults, {load.acknowledged} orders, {found} findings; {kind}")
                    await self._fault(kind)
                await self._back(kind)
                book.elapsed_s = time.monotonic() - began_s
                glance("the end, and the replay")
                await load.settled(_BACK_WITHIN_S)
                await self._rest()
                await self._look()
                load.watch = lambda: None
                for member in self._cluster.members:
                    await member.kill()
                await self._replay()
            except (WorkerError, TimeoutError) as error:
                book.reasons.append(str(error) or repr(error))
        book.verdict.add(load.seen())
        return self._figures()

    async def _fault(self, kind: ClusterFault) -> None:
        await self._kinds[kind]()
        self.book.faults[kind] += 1
        self.load.check()
        if self._random.random() >= _AT_ONCE:
            await self._back(kind)
            await asyncio.sleep(self._random.uniform(*_BETWEEN_S))

    async def _back(self, kind: str) -> None:
        """Until everybody is in the world and has a receipt."""
        over_s = time.monotonic()
        try:
            self.book.answer_s.append(await self.load.receipt(_BACK_WITHIN_S) - over_s)
            await self.load.all_joined(_BACK_WITHIN_S)
            # On a connection that stands anybody may be who is not heard: each gives an order that is new.
            before = [len(teller.acknowledged) for teller in self.load.tellers]
            await self.load.until(
                lambda: all(len(teller.acknowledged) > n for teller, n in zip(self.load.tellers, before, strict=True)),
                _BACK_WITHIN_S,
                "had another receipt",
            )
        except WorkerError as error:
            raise WorkerError(f"after {kind}: {error}") from None
        self.book.back_s.append(time.monotonic() - over_s)

    @property
    def _travellers(self) -> list[Traveller]:
        return [teller for teller in self.load.tellers if isinstance(teller, Traveller)]

    async def _rest(self) -> None:
        self._travellers[0].rest()
        began_s = time.monotonic()
        quiet = 0
        # Nodes tell once a second; and who says so twice has said it after the rest began.
        while quiet < _QUIET_LOOKS and time.monotonic() < began_s + _REST_WITHIN_S:
            await asyncio.sleep(1.5)
            self.load.check()
            pages = await asyncio.gather(*(asyncio.to_thread(node.metrics) for node in self._cluster.nodes))
            waiting = sum(metric(page, "everstep_mail_unacked") for page in pages)
            quiet = 0 if waiting else quiet + 1
        self.book.rest_s = time.monotonic() - began_s

    async def _look(self) -> None:
        """Whether everybody sees itself with all that it gave. Who does not may have lost an order: replay tells."""
        try:
            await self.load.until(lambda: all(t.sees_itself for t in self._travellers), _SEEN_WITHIN_S, "saw itself")
        except WorkerError as error:
            self.book.reasons.append(str(error))

    async def _replay(self) -> None:
        environment = {k: v for k, v in self._cluster.environment().items() if k.startswith("EVERSTEP_")}
        told = {
            "uri": environment["EVERSTEP_STORE__MONGODB_URI"],
            "environment": environment,
            "sessions": [session for session, _ in self.load.promises()],
            "plant": self._options.plant,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.chaos_check", json.dumps(told), cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, errors = await process.communicate()
        if process.returncode:
            raise WorkerError(f"the replay failed: {errors.decode(errors='replace')[-2000:]}")
        found: Line = json.loads(said.splitlines()[-1])
        book = self.book
        book.digests_checked, book.entities, book.coins = found["digests_checked"], found["entities"], found["coins"]
        book.reasons += found["mismatches"]
        book.verdict.add(judge(self.load.promises(), found["books"]))
        book.verdict.lost += found["lost"]
        book.verdict.doubled += found["doubled"]

    def _figures(self) -> Line:
        book, load, options = self.book, self.load, self._options
        wrong = load.findings
        reasons = [*book.reasons, *wrong.reasons]
        strangers = sum(t.strangers for t in self._travellers)
        counted = book.verdict.lost + book.verdict.doubled + strangers
        counted += wrong.mismatches + wrong.forgotten + wrong.refused
        return {
            "minutes": book.elapsed_s / 60,
            "faults": book.faults.total(),
            "violations": counted + len(book.reasons),
            "lost": book.verdict.lost,
            "doubled": book.verdict.doubled,
            "acknowledged": book.verdict.acknowledged,
            "acknowledged_per_s": load.acknowledged / book.elapsed_s if book.elapsed_s else 0.0,
            "digest_mismatches": wrong.mismatches,
            "back_s_p50": percentile(book.back_s, 50),
            "back_s_max": max(book.back_s, default=0.0),
            "answer_s_p50": percentile(book.answer_s, 50),
            "answer_s_max": max(book.answer_s, default=0.0),
            **{f"faults_{kind}": book.faults[kind] for kind in ClusterFault},
            "started_again": book.started_again,
            "rest_s": book.rest_s,
            "digests_checked": book.digests_checked,
            "entities": book.entities,
            "coins": book.coins,
            **load.figures(),
            "farewells": dict(sum((t.farewells for t in self._travellers), Counter())),
            "strangers": strangers,
            "nodes": options.nodes,
            "gateways": options.gateways,
            "regions": options.columns * options.rows,
            "tellers": options.tellers,
            "seed": options.seed,
            "reasons": reasons,
        }

    # -- what befalls the cluster ------------------------------------------------

    def _node(self) -> Member:
        return self._random.choice(self._cluster.nodes)

    def _gateway(self) -> Member:
        return self._random.choice(self._cluster.gateways)

    async def _down(self) -> None:
        await asyncio.sleep(self._random.uniform(*_DOWN_S))

    async def _start(self, member: Member) -> None:
        """As a supervisor does: a process that finds nothing to stand on, says so and ends, is started again."""
        until_s = time.monotonic() + _BACK_WITHIN_S
        while True:
            try:
                await member.start()
            except ServerEnded as error:
                if time.monotonic() > until_s or "does not answer" not in str(error):
                    raise
                self.book.started_again += 1
                await asyncio.sleep(_START_AGAIN_S)
            else:
                return

    async def _killed(self, member: Member) -> None:
        await member.kill()
        await self._down()
        await self._start(member)

    async def _ended(self, member: Member) -> None:
        status = await member.stop()
        if status:
            self.book.reasons.append(f"{member.name} was told to end, and did with status {status}")
        await self._down()
        await self._start(member)

    async def _stopped(self, member: Member) -> None:
        member.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._random.uniform(*_STOPPED_S))
        finally:
            member.signal(signal.SIGCONT)

    async def _parted(self, member: Member, what: str) -> None:
        """Its connections end, or nothing gets through any more."""
        proxy = member.redis if what == "redis" else member.store
        assert proxy is not None
        if self._random.random() < 0.5:
            await proxy.cut()
        else:
            proxy.silence()
        try:
            await asyncio.sleep(self._random.uniform(*_STOPPED_S))
        finally:
            proxy.mend()

    async def _redis_killed(self) -> None:
        await asyncio.to_thread(self._cluster.redis.kill)
        await self._down()
        await asyncio.to_thread(self._cluster.redis.start)

    async def _redis_forgot(self) -> None:
        await asyncio.to_thread(self._cluster.redis.kill)
        self._cluster.redis.forget()
        await self._down()
        await asyncio.to_thread(self._cluster.redis.start)

    async def _redis_stopped(self) -> None:
        self._cluster.redis.pause()
        try:
            await self._down()
        finally:
            self._cluster.redis.resume()

    async def _store_killed(self) -> None:
        await asyncio.to_thread(self._cluster.store.kill)
        await self._down()
        await asyncio.to_thread(self._cluster.store.start)

    async def _store_stopped(self) -> None:
        self._cluster.store.pause()
        try:
            await self._down()
        finally:
            self._cluster.store.resume()


def failed(figures: Line) -> bool:
    """Whether anything was found, or nothing was looked at."""
    return bool(figures["violations"]) or not figures["acknowledged"] or not figures["digests_checked"]


async def run(options: ChaosOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """One run; returns the figures. Raises MongoUnavailable, RedisUnavailable, WorkerError."""
    with data_directory(options.data) as data:
        async with Cluster(shape_of(options), data) as cluster:
            figures = await Chaos(options, cluster).run(glance)
        if options.data is None and failed(figures):
            kept = data.with_name(data.name + "-kept")
            data.rename(kept)
            data.mkdir()
            figures["reasons"].append(f"the data is kept in {kept}")
        return figures
