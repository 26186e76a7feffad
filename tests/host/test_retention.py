"""Which checkpoints stay, by themselves: bounded, and a base for every tick after the horizon."""

import random
from itertools import pairwise

import pytest

from server.host.retention import worth_keeping
from server.shard.checkpoint import Manifest


def manifest(tick, *, epoch=1, simulation=1, numpy="2"):
    return Manifest(1, tick, epoch, 0, "g", simulation, {}, {"numpy": numpy}, 0, ())


def ticks(manifests):
    return [m.tick for m in manifests]


def keep(manifests, *, newest=2, horizon_tick=10**9, spacing_ticks=1):
    return worth_keeping(manifests, newest=newest, horizon_tick=horizon_tick, spacing_ticks=spacing_ticks)


EVERY_TEN = [manifest(tick) for tick in range(0, 101, 10)]

ROWS = {
    # name: (manifests, options, ticks that stay)
    "none": ([], {}, []),
    "fewer than may stay": (EVERY_TEN[:1], {}, [0]),
    "nothing to retain": (EVERY_TEN, {}, [100, 90]),
    "a horizon behind the newest": (EVERY_TEN, {"horizon_tick": 95}, [100, 90]),
    "a horizon at the oldest of the newest": (EVERY_TEN, {"horizon_tick": 90}, [100, 90]),
    "a base before the horizon": (EVERY_TEN, {"horizon_tick": 89}, [100, 90, 80]),
    "a base at the horizon": (EVERY_TEN, {"horizon_tick": 70}, [100, 90, 80, 70]),
    "all the way": (EVERY_TEN, {"horizon_tick": -1, "spacing_ticks": 30}, [100, 90, 60, 30, 0]),
    "the base stays however close": (EVERY_TEN, {"horizon_tick": 55, "spacing_ticks": 1000}, [100, 90, 50]),
    "an older owner's beyond a newer one's": (
        [*EVERY_TEN[:4], manifest(95), manifest(40, epoch=2), manifest(50, epoch=2), manifest(60, epoch=2)],
        {"horizon_tick": -1},
        [60, 50, 40, 30, 20, 10, 0],
    ),
    "two versions": (
        [*EVERY_TEN[:6], manifest(51, epoch=2, simulation=2), *(manifest(t, epoch=2, simulation=2) for t in (60, 90))],
        {"horizon_tick": -1, "spacing_ticks": 1000},
        [90, 60, 51, 0],
    ),
    "two machines": (
        [*EVERY_TEN[:6], *(manifest(t, epoch=2, numpy="3") for t in (51, 60, 90))],
        {"horizon_tick": -1, "spacing_ticks": 1000},
        [90, 60, 51, 0],
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row(row):
    manifests, options, stay = ROWS[row]
    shuffled = random.Random(row).sample(manifests, len(manifests))
    assert ticks(keep(shuffled, **options)) == stay


@pytest.mark.parametrize("seed", range(20))
def test_over_time_it_is_bounded_and_reaches_every_tick_after_the_horizon(seed):
    rng = random.Random(seed)
    newest, retain, spacing = rng.randrange(2, 5), rng.randrange(1, 3000), rng.randrange(1, 400)
    # A new world begins with one.
    kept, tick, gone = [manifest(0)], 0, 0
    for _ in range(400):
        tick += rng.randrange(1, 60)
        kept = keep([manifest(tick), *kept], newest=newest, horizon_tick=tick - retain, spacing_ticks=spacing)
        # What was trimmed with the journal behind it is not asked for again.
        assert ticks(kept)[-1] >= gone
        gone = ticks(kept)[-1]
        between = [late - early for late, early in pairwise(ticks(kept))]
        assert max(between, default=0) <= max(spacing, 60) + 60
        assert len(kept) <= newest + 2 + retain // spacing
        assert gone <= max(0, tick - retain)
