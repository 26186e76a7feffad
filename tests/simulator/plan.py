"""The faults of a seed, chosen before anything runs: so each can be left out, and the rest stays as it was."""

from __future__ import annotations

from dataclasses import dataclass
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
    standby: bool
    players: int
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
    return Plan(
        seed,
        nodes,
        gateways,
        columns,
        rows,
        standby=random.random() < 0.4,
        players=random.choice([3, 3, 1]),
        hibernate_after_s=random.choice([0.0, 0.0, 0.4]),
        loss=random.choice([0.0, 0.0, 0.02, 0.2]),
        repetition=random.choice([0.0, 0.0, 0.05, 0.3]),
        delay_s=random.choice([0.002, 0.02, 0.3]),
        latency_s=random.choice([0.003, 0.05, 0.15]),
        drift=random.choice([0.0, 0.02, 0.2]),
        faults=tuple(faults),
    )
