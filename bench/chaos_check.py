"""The independent replay of a cluster: another process makes every region anew from what the store has, and counts.

    python -m bench.chaos_check '{"uri": "...", "environment": {...}, "sessions": ["1f2e...", ...]}'

Each replay checks the digests that the live nodes journalled, whichever of them it was. Then everybody has to be in
exactly one region, with the coins there were; and the books are read. With `"plant"` the machines are broken as the
cluster's were: else digests differ wherever there is something to replay after the last checkpoints.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.chaos_faults import FAULTS
from bench.chaos_game import COINS, GAME, TELLER, WANDERER, WANDERERS, Purse
from bench.crash_check import books_of
from bench.crash_server import DATABASE
from bench.plants import ClusterPlant
from bench.processes import Line, arguments, failures_told, tell
from config.settings import load
from server.host.clock import LoopClock
from server.host.errors import RecoveryError
from server.host.recovery import rebuild
from server.regions.machine import RegionMachine
from server.roles.world import region_machine, world_atlas
from server.shard.errors import ShardError
from server.shard.mail import Letter
from server.store.mongo_open import mongo_stores


async def check(told: Line) -> Line:
    """Replay and count. `sessions` (in hex): everyone who was in the world when it came to rest."""
    settings = load(environment=told["environment"])
    machines: dict[int, RegionMachine] = {}
    mismatches: list[str] = []
    checked = 0
    async with mongo_stores(told["uri"], DATABASE) as (journal, checkpoints):
        for site in world_atlas(settings).sites:
            make = functools.partial(region_machine, settings, GAME, site.id)
            try:
                machines[site.id], report = await rebuild(make, journal, checkpoints, LoopClock())
            except (RecoveryError, ShardError) as error:
                mismatches.append(f"region {site.id}: {error}")
                continue
            checked += report.digests_checked
    found = count(machines, told["sessions"])
    return found | {"digests_checked": checked, "mismatches": [*mismatches, *found["mismatches"]]}


def count(machines: Mapping[int, RegionMachine], sessions: Sequence[str]) -> Line:
    """Who is where with what: `lost` and `doubled` count entities and coins, `books` is as of crash_check."""
    mismatches = []
    places: Counter[int] = Counter()
    homes: Counter[str] = Counter()
    books: dict[str, list[int]] = {}
    coins = wanderers = 0
    for machine in machines.values():
        world = machine.world
        places.update(world.id_of(world.rows_of(TELLER, WANDERER)).tolist())
        wanderers += world.rows_of(WANDERER).size
        coins += int(world[Purse].coins[world.rows(Purse)].sum())
        here = books_of(machine)
        homes.update(here.keys())
        books |= here
    waiting = under_way(machines)
    if waiting:
        mismatches.append(f"{len(waiting)} letters are under way though the world stands still: {waiting[0][:6]}")
    twice = sum(n - 1 for n in places.values()) + sum(n - 1 for n in homes.values())
    lost = doubled = 0
    if twice:
        mismatches.append(f"{twice} entities or sessions are in two places")
        doubled += twice
    born = len(machines) * WANDERERS
    for what, there, should in (
        ("wanderers", wanderers, born),
        ("coins", coins, born * COINS),
        ("tellers", len(homes.keys() & set(sessions)), len(sessions)),
    ):
        if there != should:
            mismatches.append(f"{there} {what} where there were {should}")
            lost, doubled = lost + max(0, should - there), doubled + max(0, there - should)
    return {
        "entities": len(places),
        "coins": coins,
        "lost": lost,
        "doubled": doubled,
        "books": books,
        "mismatches": mismatches,
    }


def under_way(machines: Mapping[int, RegionMachine]) -> list[Letter]:
    """Letters that somebody sent and nobody took."""
    found = []
    for machine in machines.values():
        for letter in machine.post.unacked():
            there = machines.get(letter.destination)
            taken = there.post.received().get((letter.source, letter.lane), 0) if there is not None else 0
            if letter.seq > taken:
                found.append(letter)
    return found


if __name__ == "__main__":
    with failures_told():
        asked = arguments()
        if asked["plant"]:
            FAULTS[ClusterPlant(asked["plant"])]()
        tell("checked", **asyncio.run(check(asked)))
