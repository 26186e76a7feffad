"""Interest: which cells one sees, against brute force with Python's own integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gateway.interest import Interest, Mosaic, ViewSpec
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from tests.gateway.glade import GAME

SCALE = 1 / 64


def grid(
    width: float, height: float, *, cell: float = 16.0, near: int = 1, far: int = 3, hysteresis: float = 2.0
) -> Interest:
    return Interest(ViewSpec(cell, near, far, 4, hysteresis), GAME.schema, width, height)


worlds = st.builds(
    grid,
    st.floats(1, 700),
    st.floats(1, 700),
    cell=st.sampled_from([1.0, 8.0, 16.0, 33.0, 100.0]),
    near=st.integers(0, 3),
    far=st.integers(3, 5),
    hysteresis=st.sampled_from([0.0, 0.25, 0.5]),
)
raws = st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)), min_size=1, max_size=40)


def place_of(interest: Interest, cell: int) -> tuple[int, int]:
    """(column, row) by plain division, margin taken off."""
    row, column = divmod(cell, interest.stride)
    return column - interest.far, row - interest.far


def columns(points: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(points, np.uint16)
    return array[:, 0], array[:, 1]


@given(worlds, raws)
def test_a_cell_is_where_division_puts_it_and_the_edge_takes_what_lies_past_it(interest: Interest, points: list):
    for (x, y), cell in zip(points, interest.cell(*columns(points)).tolist(), strict=True):
        expected = (
            min(x // interest.cell_raw, interest.columns - 1),
            min(y // interest.cell_raw, interest.rows - 1),
        )
        assert place_of(interest, cell) == expected


@pytest.mark.parametrize(("width", "height"), [(16.0, 16.0), (256.0, 128.0), (17.0, 400.0), (1.0, 1.0)])
def test_the_grid_covers_the_world_and_no_cell_more(width: float, height: float):
    interest = grid(width, height)
    assert (interest.columns, interest.rows) == (math.ceil(width / 16), math.ceil(height / 16))
    last = interest.cell(np.array([65_535]), np.array([65_535]))
    assert place_of(interest, int(last[0])) == (interest.columns - 1, interest.rows - 1)


@given(worlds)
def test_the_square_around_any_cell_lies_inside_the_array(interest: Interest):
    corners = [
        (row + interest.far) * interest.stride + column + interest.far
        for row in (0, interest.rows - 1)
        for column in (0, interest.columns - 1)
    ]
    around = np.array(corners)[:, None] + interest.square
    assert around.min() >= 0
    assert around.max() < interest.count
    for ring in (False, True):
        first, past = interest.spans(np.array(corners), ring=ring)
        assert first.min() >= 0
        assert past.max() <= interest.count


@given(worlds, raws)
def test_spans_and_square_are_the_cells_within_reach(interest: Interest, points: list):
    for centre in set(interest.cell(*columns(points)).tolist()):
        row, column = divmod(centre, interest.stride)
        for ring, reach in ((False, interest.near), (True, interest.far)):
            first, past = interest.spans(np.array([centre]), ring=ring)
            spanned = [c for a, b in zip(first[0].tolist(), past[0].tolist(), strict=True) for c in range(a, b)]
            expected = [
                r * interest.stride + c
                for r in range(row - reach, row + reach + 1)
                for c in range(column - reach, column + reach + 1)
            ]
            assert spanned == expected
        assert sorted((centre + interest.square).tolist()) == expected


@given(worlds, raws, raws)
def test_distance_counts_cells_along_the_longer_axis(interest: Interest, ones: list, others: list):
    a, b = interest.cell(*columns(ones)), interest.cell(*columns(others))
    for one, row in zip(a.tolist(), interest.distance(a[:, None], b[None, :]).tolist(), strict=True):
        ax, ay = place_of(interest, one)
        for other, cells in zip(b.tolist(), row, strict=True):
            bx, by = place_of(interest, other)
            assert cells == max(abs(ax - bx), abs(ay - by))


@given(worlds, raws, raws)
def test_ones_own_cell_changes_only_past_the_hysteresis(interest: Interest, before: list, after: list):
    n = min(len(before), len(after))
    centres = interest.cell(*columns(before[:n]))
    now = interest.cell(*columns(after[:n]))
    got = interest.recentre(centres, *columns(after[:n]))
    for i, (x, y) in enumerate(after[:n]):
        column, row = place_of(interest, int(centres[i]))
        outside = 0
        for at, cell in ((x, column), (y, row)):
            low, high = cell * interest.cell_raw, (cell + 1) * interest.cell_raw
            outside = max(outside, low - at, at - high)
        # An odd cell's middle is half a step off: one raw step either way is nobody's business.
        if outside > interest.hysteresis_raw + 1:
            assert got[i] == now[i]
        elif outside < interest.hysteresis_raw - 1:
            assert got[i] == centres[i]
        else:
            assert got[i] in (centres[i], now[i])


def test_one_who_walks_along_a_border_keeps_the_same_neighbours():
    interest = grid(256, 128)
    border = 5 * interest.cell_raw
    centre = interest.cell(np.array([border - 1]), np.array([64]))
    reach = interest.hysteresis_raw
    for step in (1, -1, reach, -reach, reach - 1):
        assert interest.recentre(centre, np.array([border + step]), np.array([64])).tolist() == centre.tolist()
    assert interest.recentre(centre, np.array([border + reach + 1]), np.array([64])).tolist() != centre.tolist()


def test_at_the_worlds_edge_one_keeps_ones_cell_however_far_past_it():
    interest = grid(250, 125)
    centre = interest.cell(np.array([250 * 64]), np.array([125 * 64]))
    assert interest.recentre(centre, np.array([65_535]), np.array([65_535])).tolist() == centre.tolist()


def test_small_worlds_sort_cells_in_sixteen_bits_and_wide_ones_do_not_overflow():
    assert grid(256, 128).sort_dtype == np.uint16
    wide = grid(700, 700, cell=1.0)
    assert wide.count > 65_535
    assert wide.sort_dtype == np.int64


def test_raw_cells_follow_the_schemas_scale():
    assert grid(256, 128).cell_raw == round(16 / SCALE)
    assert grid(256, 128).hysteresis_raw == round(2 / SCALE)


# -- several regions -----------------------------------------------------------------


@st.composite
def divided(draw: st.DrawFn) -> tuple[Atlas, ViewSpec]:
    """A world in a grid of regions, whose borders need not be those of cells."""
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    width = columns * draw(st.sampled_from([16.0, 50.0, 64.0, 100.25]))
    height = rows * draw(st.sampled_from([20.0, 64.0, 90.5]))
    x, y = draw(st.sampled_from([(0.0, 0.0), (-300.5, 77.25)]))
    margin = draw(st.sampled_from([2.0, 5.5, 8.0]))
    first = RegionSpec(draw(st.integers(1, 50)), x, y, width, height, 256, margin)
    near = draw(st.integers(0, 2))
    view = ViewSpec(draw(st.sampled_from([8.0, 16.0, 24.0])), near, near + draw(st.integers(0, 2)), 4, 2.0)
    return Atlas.grid(first, columns=columns, rows=rows), view


def world_cell(interest: Interest, cell: int) -> tuple[int, int]:
    """The world's column and row of a region's cell."""
    row, column = divmod(cell, interest.stride)
    return column - interest.pad + interest.first_column, row - interest.pad + interest.first_row


@given(divided(), st.data())
def test_a_place_lies_in_the_same_cell_of_the_world_whichever_region_it_is_counted_from(world, data):
    atlas, view = world
    mosaic = Mosaic(atlas.regions, view, GAME.schema)
    west, north = (min(r.origin[axis] for r in atlas.regions) for axis in (0, 1))
    for region in atlas.regions:
        interest = mosaic.interests[region.id]
        x = data.draw(st.integers(0, int((region.width + 2 * region.margin) * 64) - 1))
        y = data.draw(st.integers(0, int((region.height + 2 * region.margin) * 64) - 1))
        cell = int(interest.cell(np.array([x]), np.array([y]))[0])
        raw = (round((region.origin[0] - west) * 64) + x, round((region.origin[1] - north) * 64) + y)
        assert world_cell(interest, cell) == (raw[0] // interest.cell_raw, raw[1] // interest.cell_raw)


@given(divided(), st.data())
def test_around_a_cell_are_the_regions_that_its_square_touches_and_no_others(world, data):
    atlas, view = world
    mosaic = Mosaic(atlas.regions, view, GAME.schema)
    home = mosaic.interests[data.draw(st.sampled_from([r.id for r in atlas.regions]))]
    region = next(r for r, interest in mosaic.interests.items() if interest is home)
    column = data.draw(st.integers(0, home.columns - 1))
    row = data.draw(st.integers(0, home.rows - 1))
    cell = (row + home.pad) * home.stride + column + home.pad
    around = mosaic.around(region, cell)
    assert around[region] == cell
    own = world_cell(home, cell)
    for other, interest in mosaic.interests.items():
        cells = {
            (interest.first_column + c, interest.first_row + r)
            for c in range(interest.columns)
            for r in range(interest.rows)
        }
        touched = any(max(abs(c - own[0]), abs(r - own[1])) <= view.far for c, r in cells)
        assert (other in around) == touched
        if touched:
            assert world_cell(interest, around[other]) == own
            square = around[other] + interest.square
            assert square.min() >= 0
            assert square.max() < interest.count


@given(divided(), st.data())
def test_near_a_region_is_what_is_seen_from_any_of_its_cells(world, data):
    atlas, view = world
    mosaic = Mosaic(atlas.regions, view, GAME.schema)
    region = data.draw(st.sampled_from([r.id for r in atlas.regions]))
    home = mosaic.interests[region]
    columns, rows = sorted({0, home.columns // 2, home.columns - 1}), sorted({0, home.rows // 2, home.rows - 1})
    seen = set()
    for column in range(home.columns):
        for row in range(home.rows):
            if column in columns or row in rows:
                seen.update(mosaic.around(region, (row + home.pad) * home.stride + column + home.pad))
    assert set(mosaic.near(region)) == seen


def test_a_world_of_one_region_has_the_grid_it_would_have_alone():
    region = RegionSpec(1, -512.0, 64.0, 256.0, 128.0, 4096)
    view = ViewSpec(16.0, 1, 3, 4, 2.0)
    alone, one = Interest(view, GAME.schema, 256.0, 128.0), Mosaic([region], view, GAME.schema).interests[1]
    assert (one.columns, one.rows, one.stride, one.count, one.pad) == (16, 8, alone.stride, alone.count, 3)
