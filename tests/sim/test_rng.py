"""Counter-based randomness: independent of order, within its bounds, evenly spread."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sim import Random

ROWS = np.arange(20_000)


def test_a_draw_depends_on_its_entity_alone():
    r = Random(1, 2, "graze/")
    order = np.random.default_rng(0).permutation(ROWS)
    assert r.bits(ROWS)[order].tolist() == r.bits(order).tolist()
    assert r.bits(ROWS[7:8]).tolist() == r.bits(ROWS)[7:8].tolist()


@pytest.mark.parametrize("other", [(2, 2, "graze/"), (1, 3, "graze/"), (1, 2, "graze/again"), (-1, 2, "graze/")])
def test_seed_tick_and_stream_each_give_other_numbers(other):
    same = np.count_nonzero(Random(1, 2, "graze/").bits(ROWS) == Random(*other).bits(ROWS))
    assert same == 0


def test_the_numbers_are_these_for_ever():
    # A journal is replayed years later: a change here is a change of every game's `version`.
    assert Random(42, 7, "walk/").bits(np.array([0, 1, 65_535])).tolist() == [
        9490525377469939918,
        758163289245626696,
        1415121613261519341,
    ]


@given(
    st.integers(-(2**63), 2**64),
    st.integers(0, 2**40),
    st.floats(-1e6, 1e6, width=32),
    st.floats(0, 1e6, width=32),
)
def test_uniform_stays_below_its_upper_bound(seed, tick, low, span):
    high = float(np.float32(low + span))
    values = Random(seed, tick, "s").uniform(np.arange(500), low, high)
    assert values.dtype == np.float32
    assert (values >= np.float32(low)).all()
    assert (values < np.float32(high)).all() or low == high


def test_the_largest_draw_does_not_round_up_to_the_bound():
    class Highest(Random):
        def bits(self, entities):
            return np.full(len(entities), 2**64 - 1, np.uint64)

    assert Highest(1, 1, "s").uniform(np.arange(1), 1.0, 2.0)[0] < 2.0


@given(st.integers(0, 2**32), st.integers(1, 2**32))
def test_integers_lie_within_n(seed, n):
    values = Random(seed, 1, "s").integers(np.arange(300), n)
    assert values.dtype == np.int64
    assert values.min() >= 0
    assert values.max() < n


def test_draws_are_spread_evenly():
    r = Random(9, 1, "s")
    counts = np.bincount(r.integers(ROWS, 16), minlength=16)
    # 1,250 expected each; 6 standard deviations.
    assert np.abs(counts - 1250).max() < 6 * 1250**0.5
    assert abs(float(r.uniform(ROWS).astype(np.float64).mean()) - 0.5) < 0.0125
    bits = np.unpackbits(r.bits(ROWS).view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.025
    # Neighbouring ticks and entities do not echo each other.
    a, b = (Random(9, t, "s").uniform(ROWS).astype(np.float64) - 0.5 for t in (1, 2))
    assert abs(float((a * b).mean())) < 0.005
    assert abs(float((a[1:] * a[:-1]).mean())) < 0.005


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (1.0, 20_000, 20_000), (0.25, 4_700, 5_300)])
def test_chance(probability, low, high):
    assert low <= np.count_nonzero(Random(3, 3, "s").chance(ROWS, probability)) <= high
