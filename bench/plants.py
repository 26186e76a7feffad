"""The names of the faults that `chaos` makes, and of those that can be planted: it is seen whether a bench finds them.

What these do is in bench/crash_faults.py and bench/chaos_faults.py, in whose processes alone a server is imported.
"""

from __future__ import annotations

from enum import StrEnum


class Plant(StrEnum):
    """Each is found as something else."""

    # The store reports durable what it writes later: acknowledged orders are lost.
    EARLY = "early"
    # A system reads what is no part of the state: digests differ.
    STRAY = "stray"
    # The state forgets which numbers were applied: orders are doubled.
    FORGET = "forget"
    # Not the server but the clients: an order sent again gets another sequence number, and is doubled.
    RENUMBER = "renumber"


class ClusterPlant(StrEnum):
    """Each is found as something else."""

    # Gateways confirm an order as soon as they have passed it on, and keep it no longer: orders are lost.
    EARLY = "early"
    # The state forgets which numbers were applied: orders are doubled.
    FORGET = "forget"


class ClusterFault(StrEnum):
    """In the order in which the seed picks them; the names are keys of the JSON line."""

    # By SIGKILL; another one in its place.
    NODE_KILLED = "node_killed"
    # By SIGSTOP, for longer than a lease lasts at times.
    NODE_STOPPED = "node_stopped"
    # By SIGTERM: it drains first.
    NODE_ENDED = "node_ended"
    # Its connections are cut, or nothing gets through.
    NODE_WITHOUT_REDIS = "node_without_redis"
    # The same.
    NODE_WITHOUT_STORE = "node_without_store"
    # By SIGKILL, and its players' connections with it.
    GATEWAY_KILLED = "gateway_killed"
    # By SIGSTOP.
    GATEWAY_STOPPED = "gateway_stopped"
    # As a node without it.
    GATEWAY_WITHOUT_REDIS = "gateway_without_redis"
    # It comes back with its data.
    REDIS_KILLED = "redis_killed"
    # It comes back with nothing.
    REDIS_FORGOT = "redis_forgot"
    # By SIGSTOP.
    REDIS_STOPPED = "redis_stopped"
    # MongoDB comes back with what it has kept.
    STORE_KILLED = "store_killed"
    # By SIGSTOP.
    STORE_STOPPED = "store_stopped"


def program(plant: Plant | None) -> tuple[str, ...]:
    """What is started instead of the server: see `ServerProcess.start`."""
    # That one is the tellers' own.
    return ("server",) if plant in (None, Plant.RENUMBER) else ("bench.crash_faults", plant)
