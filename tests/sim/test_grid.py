"""The grid against brute force: every query, exactly."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.sim.grid import Grid

BOUNDS = (-20.0, 5.0, 70.0, 64.0)

ODD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 0.1, 1e-30], np.float32)


def coordinates(rng, n):
    """Coarse steps make ties, points on cell borders and points in one place common; some lie outside the bounds."""
    kinds = np.stack(
        [rng.integers(-120, 400, n) / 4, rng.integers(0, 8, n) * 3, rng.uniform(-60, 120, n), rng.choice(ODD, n)]
    )
    return kinds[rng.choice(4, n, p=[0.4, 0.3, 0.25, 0.05]), np.arange(n)].astype(np.float32)


@st.composite
def points(draw, most=60):
    n, rng = draw(st.integers(0, most)), np.random.default_rng(draw(st.integers(0, 2**32)))
    return coordinates(rng, n), coordinates(rng, n)


radii = st.sampled_from([0.0, 0.25, 5.0, 12.5, 33.3, 100.0, 300.0, np.inf, 1e-30, 1e30])
cells = st.sampled_from([0.5, 3.0, 8.0, 200.0])


def distances2(x, y, qx, qy):
    """(m, n) float32."""
    with np.errstate(all="ignore"):
        dx, dy = x[None, :] - qx[:, None], y[None, :] - qy[:, None]
        return dx * dx + dy * dy


def within(d2, r):
    with np.errstate(all="ignore"):
        r = np.broadcast_to(np.asarray(r, np.float32), d2.shape[:1])
        return d2 <= (r * r)[:, None]


def made(p, cell, in_cells):
    """A grid that has sorted its points, or one that still compares all with all where they are as few as here."""
    grid = Grid(*p, BOUNDS, cell)
    if in_cells:
        grid.pairs(0.0)
    return grid


@settings(max_examples=200, deadline=None)
@given(points(), points(30), radii, cells, st.booleans())
def test_radius_is_brute_force(p, q, r, cell, in_cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near = made(p, cell, in_cells).radius(*q, r)
    d2 = distances2(*p, *q)
    query, index = np.nonzero(within(d2, r))
    assert near.query.tolist() == query.tolist()
    assert near.index.tolist() == index.tolist()
    assert near.distance2.dtype == np.float32
    assert near.distance2.tolist() == d2[query, index].tolist()
    assert near.offsets.tolist() == np.searchsorted(query, np.arange(len(q[0]) + 1)).tolist()


@settings(max_examples=60, deadline=None)
@given(points(), points(30), st.integers(0, 1000), st.booleans())
def test_each_query_may_have_its_own_radius(p, q, seed, in_cells):
    rng = np.random.default_rng(seed)
    r = rng.choice([0.0, 3.0, 7.5, 80.0, np.inf], len(q[0])).astype(np.float32)
    near = made(p, 5.0, in_cells).radius(*q, r)
    query, index = np.nonzero(within(distances2(*p, *q), r))
    assert (near.query.tolist(), near.index.tolist()) == (query.tolist(), index.tolist())


@settings(max_examples=150, deadline=None)
@given(points(), radii, cells)
def test_pairs_are_brute_force(p, r, cell):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        i, j, got = Grid(*p, BOUNDS, cell).pairs(r)
        one, two, between = Grid(*p, BOUNDS, cell).pairs(r, ordered=False)
    d2 = distances2(*p, *p)
    a, b = np.nonzero(np.triu(within(d2, r), 1))
    assert (i.tolist(), j.tolist()) == (a.tolist(), b.tolist())
    assert got.tolist() == d2[a, b].tolist()
    unordered = sorted((min(pair), max(pair), d) for *pair, d in zip(one, two, between, strict=True))
    assert unordered == list(zip(a, b, got, strict=True))


@settings(max_examples=200, deadline=None)
@given(points(), points(30), st.integers(1, 4), radii, cells, st.booleans(), st.booleans())
def test_nearest_is_brute_force(p, q, k, r_max, cell, excluding, in_cells):
    n, m = len(p[0]), len(q[0])
    exclude = np.arange(m) % (n + 1) - 1 if excluding else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index, got = made(p, cell, in_cells).nearest(*q, k, r_max, exclude)
    d2 = distances2(*p, *q)
    near = within(d2, r_max)
    assert index.shape == got.shape == (m, k)
    for row in range(m):
        allowed = [i for i in np.flatnonzero(near[row]) if exclude is None or i != exclude[row]]
        best = sorted(allowed, key=lambda i: (d2[row, i], i))[:k]
        assert index[row].tolist() == [*best, *[-1] * (k - len(best))]
        assert got[row].tolist() == [*d2[row, best].tolist(), *[np.inf] * (k - len(best))]


def test_many_queries_are_compared_in_chunks_with_the_same_result():
    rng = np.random.default_rng(7)
    x, y = rng.uniform(0, 150, (2, 5000)).astype(np.float32)
    grid = Grid(x, y, (0, 0, 150, 150), 4.0)
    near = grid.radius(x, y, 4.0)
    d2 = distances2(x, y, x, y)
    query, index = np.nonzero(within(d2, 4.0))
    np.testing.assert_array_equal(near.query, query)
    np.testing.assert_array_equal(near.index, index)
    i, j, _ = grid.pairs(4.0)
    np.testing.assert_array_equal(np.stack([i, j]), np.stack([query, index])[:, query < index])
    own = np.arange(5000)
    found, at = grid.nearest(x, y, 1, exclude=own)
    d2[own, own] = np.inf
    np.testing.assert_array_equal(found[:, 0], d2.argmin(axis=1))
    np.testing.assert_array_equal(at[:, 0], d2.min(axis=1))


def test_rounding_at_the_border_of_a_cell_loses_nobody():
    # 0.1 + 0.2 style: the float32 distance is exactly r although the point lies a hair beyond, in the next cell.
    rng = np.random.default_rng(3)
    qx = rng.uniform(0, 50, 4000).astype(np.float32)
    r = np.float32(3.3)
    x, y = qx - r, np.full(4000, 1, np.float32)
    near = Grid(x, y, (0, 0, 50, 50), 0.3).radius(qx, y, r)
    d2 = distances2(x, y, qx, y)
    np.testing.assert_array_equal(np.stack([near.query, near.index]), np.stack(np.nonzero(within(d2, r))))


def test_cells_never_outgrow_sixteen_bits():
    grid = Grid(np.array([1.0, 9999.0]), np.array([1.0, 9999.0]), (0, 0, 10_000, 10_000), cell=1.0)
    assert grid._rows * grid._columns <= 1 << 16
    assert grid.radius(np.array([9998.0]), np.array([9999.0]), 1.0).index.tolist() == [1]


def test_an_empty_grid_answers():
    none = np.zeros(0, np.float32)
    grid = Grid(none, none, BOUNDS)
    assert len(grid) == 0
    assert grid.radius(none, none, 3).offsets.tolist() == [0]
    assert [len(part) for part in grid.pairs(3)] == [0, 0, 0]
    assert grid.nearest(np.ones(1), np.ones(1), 2)[0].tolist() == [[-1, -1]]


def test_the_grid_keeps_its_own_points():
    x = np.array([1.0, 2.0], np.float32)
    grid = Grid(x, x, (0, 0, 10, 10))
    x[:] = 9
    assert grid.radius(np.ones(1), np.ones(1), 0.5).index.tolist() == [0]


@pytest.mark.parametrize(("bounds", "cell"), [((0, 0, 0, 5), 1.0), ((0, 5, 5, 5), 1.0), ((0, 0, 5, 5), 0.0)])
def test_a_grid_needs_extent(bounds, cell):
    with pytest.raises(ValueError, match="no cells"):
        Grid(np.ones(1), np.ones(1), bounds, cell)


def test_queries_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="queries"):
        Grid(np.ones(1), np.ones(1), BOUNDS).radius(np.ones(1), np.ones(2), 1.0)
