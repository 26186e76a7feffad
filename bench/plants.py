"""The names of the faults that can be planted, so that it is seen whether a bench finds them.

What they do is in bench/crash_faults.py and bench/chaos_faults.py, in whose processes alone a server is imported.
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


def program(plant: Plant | None) -> tuple[str, ...]:
    """What is started instead of the server: see `ServerProcess.start`."""
    # That one is the tellers' own.
    return ("server",) if plant in (None, Plant.RENUMBER) else ("bench.crash_faults", plant)
