"""The count of a cluster: who is there, who is missing, who is there twice."""

from dataclasses import replace

import pytest

from bench.chaos_check import count, under_way
from bench.chaos_game import COINS, GAME, REGION_UNITS, WANDERER, WANDERERS, Purse
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.regions.travellers import Travellers
from server.shard.machine import NOTHING
from server.shard.mail import HANDOFF


@pytest.fixture
def machines():
    whole = RegionSpec(1, 0.0, 0.0, 2 * REGION_UNITS, REGION_UNITS, 256, 8.0)
    atlas = Atlas.grid(whole, columns=2, rows=1)
    return {n: RegionMachine(GAME, atlas[n], seed=3, tick_rate_hz=20.0, atlas=atlas) for n in (1, 2)}


def played(machines, ticks):
    """So many ticks, with every letter taken by the next."""
    mail = dict.fromkeys(machines, ())
    for _ in range(ticks):
        sent = []
        for number, machine in machines.items():
            sent += machine.step(replace(NOTHING, mail=tuple(sorted(mail[number])))).mail
        mail = {number: [letter for letter in sent if letter.destination == number] for number in machines}
    return mail


def test_whoever_is_there_once_is_neither_lost_nor_doubled(machines):
    played(machines, 200)
    found = count(machines, [])
    waiting = under_way(machines)
    here = [m.world.rows_of(WANDERER).size for m in machines.values()]
    assert here != [WANDERERS, WANDERERS]
    travelling = sum(len(Travellers.decode(w.payload, GAME)) for w in waiting if w.kind == HANDOFF)
    assert found["entities"] + travelling == 2 * WANDERERS
    assert found["doubled"] == 0


def test_who_is_missing_and_who_is_there_twice_is_counted(machines):
    found = count(machines, [])
    assert (found["entities"], found["coins"], found["lost"], found["doubled"]) == (
        2 * WANDERERS,
        2 * WANDERERS * COINS,
        0,
        0,
    )
    assert found["mismatches"] == []
    world = machines[1].world
    rows = world.rows_of(WANDERER)
    world[Purse].coins[rows[0]] += 3
    assert count(machines, [])["doubled"] == 3
    world[Purse].coins[rows[0]] -= 5
    assert count(machines, [])["lost"] == 2
    assert count(machines, ["ab"])["lost"] == 3
    world.despawn(rows[:1])
    assert count(machines, [])["lost"] > COINS - 5


def test_what_is_under_way_is_told(machines):
    assert under_way(machines) == []
    for _ in range(400):
        if machines[1].step(NOTHING).mail:
            break
    waiting = under_way(machines)
    assert waiting
    assert count(machines, [])["mismatches"][0].startswith(f"{len(waiting)} letters are under way")
