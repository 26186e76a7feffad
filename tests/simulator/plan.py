"""The faults of a seed, chosen before anything runs: so each can be left out, and the rest stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

# What can happen, and how often of 100.
KINDS = {
    "kill": 14,
    "die_at_effect": 26,
    "pause": 7,
    "pause_at_effect": 7,
    "partition": 7,
    "cut": 7,
    "redis_away": 8,
    "redis_forgets": 5,
    "store_away": 8,
    "sync_fails": 5,
    "loss": 10,
    "hang_up": 8,
}
FAULTS_S = 10.0
# Seconds for which the world waits for a player who is away: more than faults and what follows from them may last, so
# that nobody is gone who did not stay away.
GRACE_S = 20.0


@dataclass(frozen=True, order=True)
class Fault:
    at_s: float
    kind: str
    # Number of the node, or gateway, where it is about one.
    node: int
    # Its length in seconds.
    amount: float
    # So many effects of a node later.
    effects: int
    # Whether a node dies after the effect rather than before.
    after: bool

    def __str__(self) -> str:
        amount = f"amount={self.amount:.2f} effects={self.effects} after={self.after}"
        return f"{self.at_s:6.2f} s  {self.kind} node={self.node} {amount}"


@dataclass(frozen=True)
class Plan:
    seed: int
    nodes: int
    gateways: int
    columns: int
    rows: int
    # 1: regions may be divided.
    split_depth: int
    standby: bool
    players: int
    # Whether they have accounts, and are no guests.
    accounts: bool
    # Whether they walk to and fro over a border.
    restless: bool
    # Whether they come to the world one after the other, and not all at its beginning.
    late: bool
    # Seconds for which they wait where nothing comes, to a HELLO or in play.
    patience_s: float
    # Seconds that messages between nodes and gateways take beyond `delay_s`, at the most.
    far_s: float
    # Seconds after which a region that nobody looks at sleeps; 0: never.
    hibernate_after_s: float
    loss: float
    repetition: float
    delay_s: float
    # Of the store: up to that long for every answer.
    latency_s: float
    # By how much of its seconds any clock may be wrong.
    drift: float
    faults: tuple[Fault, ...]


def plan_of(seed: int) -> Plan:
    random = Random(f"plan {seed}")
    columns, rows = random.choice([(2, 1), (3, 1), (2, 2)])
    nodes = random.choice([1, 2, 2, 3])
    gateways = random.choice([1, 2])
    faults = sorted(
        Fault(
            round(random.uniform(2.0, FAULTS_S), 2),
            random.choices(list(KINDS), list(KINDS.values()))[0],
            random.randrange(nodes + gateways),
            round(random.expovariate(1 / 2.0), 2),
            1 + int(random.expovariate(1 / 80)),
            random.random() < 0.5,
        )
        for _ in range(random.randint(1, 6))
    )
    more = Random(f"more {seed}")
    faults += _absences(more)
    orders = _orders(more)
    if orders:
        columns, rows = more.choice([(1, 1), (2, 1)])
        faults += orders
    faults += _ways_out(more, nodes, gateways)
    logins = _logins(more)
    faults += logins + _stalls(more)
    restless = more.random() < 0.15
    habits = Random(f"habits {seed}")
    faults += _exiles(habits, nodes, gateways)
    late = habits.random() < 0.25
    if late:
        faults += _drought(habits)
    return Plan(
        seed,
        nodes,
        gateways,
        columns,
        rows,
        split_depth=int(bool(orders)),
        standby=random.random() < 0.4,
        players=random.choice([3, 3, 1]),
        accounts=bool(logins),
        restless=restless,
        late=late,
        patience_s=habits.choice([4.0, 4.0, 1.5]),
        # Then a gateway hears of it when they are back already.
        far_s=more.choice([0.5, 1.0, 2.0]) if restless else 0.0,
        # Parts that are not in use sleep: otherwise each of them costs as much as a region.
        hibernate_after_s=0.4 if random.choice([0.0, 0.0, 0.4]) or orders else 0.0,
        loss=random.choice([0.0, 0.0, 0.02, 0.2]),
        repetition=random.choice([0.0, 0.0, 0.05, 0.3]),
        delay_s=random.choice([0.002, 0.02, 0.3]),
        latency_s=random.choice([0.003, 0.05, 0.15]),
        drift=random.choice([0.0, 0.02, 0.2]),
        faults=tuple(sorted(faults)),
    )


def calm_of(seed: int, nodes: int) -> Plan:
    """The seed's without any fault, and of a world in which players go from one region to another."""
    plan = plan_of(seed)
    return replace(
        plan,
        nodes=nodes,
        columns=max(2, plan.columns),
        split_depth=0,
        players=3,
        restless=False,
        far_s=0.0,
        hibernate_after_s=0.0,
        loss=0.0,
        faults=(),
    )


def without_redis_of(seed: int) -> Plan:
    """The seed's without any fault but of Redis, which is away and forgets."""
    random = Random(f"without redis {seed}")
    faults = [
        Fault(
            round(random.uniform(3.0, FAULTS_S), 2),
            random.choice(["redis_away", "redis_forgets"]),
            0,
            round(random.expovariate(1 / 2.0), 2),
            0,
            after=False,
        )
        for _ in range(random.randint(1, 4))
    ]
    return replace(calm_of(seed, random.choice([2, 3])), faults=tuple(sorted(faults)))


def _orders(random: Random) -> list[Fault]:
    """To divide regions, and to unite them again: once, or there and back."""
    if random.random() > 0.2:
        return []
    return [
        Fault(round(random.uniform(1.0, FAULTS_S), 2), kind, 0, 0.0, place, after=False)
        for place in range(random.choice([1, 1, 2]))
        for kind in random.choice([("divide",), ("divide", "unite"), ("divide", "unite", "divide")])
    ]


def _ways_out(random: Random, nodes: int, gateways: int) -> list[Fault]:
    """Nodes and gateways that leave in order, and regions that are to move from one node to another."""
    if random.random() > 0.25:
        return []
    return [
        Fault(
            round(random.uniform(2.0, FAULTS_S), 2),
            random.choice(["drain", "move"]),
            random.randrange(nodes + gateways),
            0.0,
            random.randrange(100),
            after=False,
        )
        for _ in range(random.choice([1, 2, 3]))
    ]


def _exiles(random: Random, nodes: int, gateways: int) -> list[Fault]:
    """Of a gateway that is cut off for long: its players have gone elsewhere, and on, when it is heard again."""
    if gateways < 2 or random.random() > 0.3:
        return []
    at_s, gateway = round(random.uniform(1.0, 5.0), 2), nodes + random.randrange(gateways)
    return [Fault(at_s, "partition", gateway, round(random.uniform(3.0, 7.0), 2), 0, after=False)]


def _drought(random: Random) -> list[Fault]:
    """Of a store that is away for long, while players come."""
    if random.random() > 0.5:
        return []
    at_s, amount = round(random.uniform(1.0, 6.0), 2), round(random.uniform(2.0, 5.0), 2)
    return [Fault(at_s, "store_away", 0, amount, 0, after=False)]


def _logins(random: Random) -> list[Fault]:
    """Of players with an account, who log in once more while they are there."""
    if random.random() > 0.25:
        return []
    return [
        Fault(round(random.uniform(1.0, FAULTS_S), 2), "login", 0, 0.0, random.randrange(3), random.random() < 0.5)
        for _ in range(random.choice([1, 2, 4]))
    ]


def _stalls(random: Random) -> list[Fault]:
    """Of players who do not read for a while, and then read again; some of them for longer than is let them."""
    if random.random() > 0.25:
        return []
    return [
        Fault(
            round(random.uniform(1.0, FAULTS_S), 2),
            "stall",
            0,
            round(random.expovariate(1 / 3.0), 2),
            random.randrange(3),
            after=False,
        )
        for _ in range(random.choice([1, 2, 4]))
    ]


def _absences(random: Random) -> list[Fault]:
    """Of a player who stays away: for a while, or (`after`) until nobody waits any more, which takes long."""
    if random.random() > 0.15:
        return []
    at_s = round(random.uniform(2.0, FAULTS_S), 2)
    amount = round(random.uniform(1.0, GRACE_S * 0.4), 2)
    return [Fault(at_s, "stay_away", 0, amount, random.randrange(3), random.random() < 0.5)]
