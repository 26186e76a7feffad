"""The atlas against a plain search through its rectangles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.sim import DeclarationError

# A world cut unevenly: a quarter of it into four again.
UNEVEN = Atlas(
    [
        RegionSpec(7, 0.0, 0.0, 50.0, 50.0, 100, 8.0),
        RegionSpec(8, 50.0, 0.0, 50.0, 50.0, 100, 8.0),
        RegionSpec(9, 0.0, 50.0, 50.0, 50.0, 100, 8.0),
        *[
            RegionSpec(20 + 2 * j + i, 50.0 + 25.0 * i, 50.0 + 25.0 * j, 25.0, 25.0, 100, 8.0)
            for j in (0, 1)
            for i in (0, 1)
        ],
    ],
    hysteresis_units=2.0,
)
ALONE = Atlas([RegionSpec(3, -10.0, -20.0, 40.0, 40.0, 100)])
GRID = Atlas.grid(RegionSpec(5, -30.0, 10.0, 90.0, 40.0, 64, 4.0), columns=3, rows=2)
# The same, and two of its regions divided.
SPLIT = Atlas.grid(RegionSpec(5, -30.0, 10.0, 90.0, 40.0, 64, 4.0), columns=3, rows=2, split_depth=1)
DIVIDED = SPLIT.divided(6).divided(10)
ATLASES = pytest.mark.parametrize(
    "atlas", [UNEVEN, ALONE, GRID, SPLIT, DIVIDED], ids=["uneven", "alone", "grid", "split", "divided"]
)
# Edges, and a float's width beside them.
PLACES = st.one_of(
    st.floats(-60.0, 160.0),
    st.sampled_from([0.0, 25.0, 30.0, 50.0, 75.0, 100.0, -30.0, 10.0]).flatmap(
        lambda edge: st.sampled_from([edge, np.nextafter(edge, -1e9), np.nextafter(edge, 1e9)])
    ),
)


def owner(atlas, x, y):
    x0, y0, x1, y1 = atlas.limits
    x, y = min(max(x, x0), np.nextafter(x1, x0)), min(max(y, y0), np.nextafter(y1, y0))
    found = [r.id for r in atlas.regions if r.bounds[0] <= x < r.bounds[2] and r.bounds[1] <= y < r.bounds[3]]
    assert len(found) == 1
    return found[0]


@ATLASES
@given(places=st.lists(st.tuples(PLACES, PLACES), max_size=20))
def test_every_place_belongs_to_one_region(atlas, places):
    x, y = np.array(places, np.float64).reshape(-1, 2).T
    assert atlas.region_at(x, y).tolist() == [owner(atlas, *place) for place in places]


@ATLASES
@given(circles=st.lists(st.tuples(PLACES, PLACES, st.floats(0, 80)), max_size=8))
def test_a_circle_touches_whom_it_could_reach(atlas, circles):
    x, y, radius = np.array(circles, np.float64).reshape(-1, 3).T
    want = []
    slack = atlas.hysteresis_units if len(atlas) > 1 else 0.0
    for n, (cx, cy, r) in enumerate(circles):
        for region in atlas.regions:
            x0, y0, x1, y1 = region.bounds
            dx, dy = max(x0 - cx, cx - x1, 0.0), max(y0 - cy, cy - y1, 0.0)
            if dx * dx + dy * dy <= (r + slack) * (r + slack) or region.id == owner(atlas, cx, cy):
                want.append((n, region.id))
    circle, region = atlas.touching(x, y, radius)
    assert list(zip(circle.tolist(), region.tolist(), strict=True)) == want


def test_one_radius_serves_many_circles():
    circle, region = GRID.touching(np.array([-25.0, 29.0]), np.array([12.0, 12.0]), 3.0)
    assert list(zip(circle.tolist(), region.tolist(), strict=True)) == [(0, 5), (1, 6), (1, 7)]


def test_a_grid_is_numbered_row_after_row_and_keeps_the_whole():
    assert [r.id for r in GRID.regions] == [5, 6, 7, 8, 9, 10]
    assert GRID[9] == RegionSpec(9, 0.0, 30.0, 30.0, 20.0, 64, 4.0)
    assert GRID.limits == (-30.0, 10.0, 60.0, 50.0)
    assert len(GRID) == 6
    assert 10 in GRID
    assert 11 not in GRID
    with pytest.raises(KeyError):
        GRID[11]


@given(
    edge=st.floats(-1e6, 1e6),
    size=st.floats(20, 65_536),
    columns=st.integers(1, 20),
    rows=st.integers(1, 20),
)
def test_any_world_divides_into_equal_parts_that_tile_it(edge, size, columns, rows):
    atlas = Atlas.grid(RegionSpec(1, edge, -edge, size, size, 64, 4.0), columns=columns, rows=rows)
    assert len(atlas) == columns * rows
    middles = np.array([(r.x + r.width / 2, r.y + r.height / 2) for r in atlas.regions])
    assert atlas.region_at(*middles.T).tolist() == [r.id for r in atlas.regions]


@given(
    edge=st.floats(-1e6, 1e6),
    size=st.floats(40, 65_536),
    columns=st.integers(1, 5),
    rows=st.integers(1, 5),
    pick=st.integers(0),
)
def test_any_region_divides_into_four_that_tile_it(edge, size, columns, rows, pick):
    atlas = Atlas.grid(RegionSpec(1, edge, -edge, size, size, 64, 4.0), columns=columns, rows=rows, split_depth=1)
    region = 1 + pick % (columns * rows)
    divided = atlas.divided(region)
    four = [region, *atlas.parts_of(region)]
    assert len(divided) == len(atlas) + 3
    assert divided.limits == atlas.limits
    x0, y0, x1, y1 = atlas[region].bounds
    quarters = [(x0 + (i + 0.5) * (x1 - x0) / 2, y0 + (j + 0.5) * (y1 - y0) / 2) for j in (0, 1) for i in (0, 1)]
    assert divided.region_at(*np.array(quarters).T).tolist() == four
    assert {atlas.whole_of(site.id) for site in atlas.sites[len(atlas) :]} == {r.id for r in atlas.regions}
    assert sorted(site.id for site in atlas.sites) == list(range(1, 4 * len(atlas) + 1))


def test_what_may_be_divided_is_the_same_world():
    assert SPLIT.digest() == GRID.digest()
    assert SPLIT.regions == GRID.regions
    assert SPLIT.sites[:6] == GRID.sites
    assert SPLIT[11] == RegionSpec(11, -15.0, 10.0, 15.0, 10.0, 64, 4.0)
    assert SPLIT.ground(5) == SPLIT[5].bounds
    assert SPLIT.ground(11) is None
    assert DIVIDED.ground(6) == (0.0, 10.0, 15.0, 20.0)
    assert DIVIDED[6] == SPLIT[6]
    assert SPLIT.divided(6).ground(SPLIT.parts_of(6)[0]) == (15.0, 10.0, 30.0, 20.0)
    assert (SPLIT.whole_of(11), SPLIT.whole_of(5), GRID.parts_of(5), SPLIT.parts_of(11)) == (5, 5, (), ())
    with pytest.raises(KeyError):
        SPLIT.divided(11)


def test_only_the_parts_of_a_world_of_one_region_have_a_margin():
    whole = RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 4.0)
    atlas = Atlas.grid(whole, columns=1, rows=1, split_depth=1)
    assert [site.margin for site in atlas.sites] == [0.0, 4.0, 4.0, 4.0]
    assert atlas.open
    assert not ALONE.open
    with pytest.raises(DeclarationError, match="margin of 1 units"):
        Atlas.grid(RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 1.0), columns=1, rows=1, split_depth=1)


def test_an_undivided_world_has_no_margin():
    whole = RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 4.0)
    assert Atlas.grid(whole, columns=1, rows=1).regions == (RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 0.0),)


def test_the_digest_tells_atlases_apart():
    whole = RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 4.0)

    def digest(first=whole, columns=2, **options):
        return Atlas.grid(first, columns=columns, rows=2, **options).digest()

    others = [
        digest(columns=3),
        digest(RegionSpec(6, 0.0, 0.0, 90.0, 40.0, 64, 4.0)),
        digest(RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 65, 4.0)),
        digest(RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 5.0)),
        digest(hysteresis_units=1.0),
        digest(forward_ticks=601),
        Atlas(Atlas.grid(whole, columns=2, rows=2).regions, version=2).digest(),
    ]
    assert len({digest(), *others}) == 8
    assert digest() == digest()


@pytest.mark.parametrize(
    ("rectangles", "why"),
    [
        ([], "has regions"),
        ([(1, 0, 0, 10, 10), (1, 10, 0, 10, 10)], "a number of its own"),
        ([(1, 0, 0, 10, 10), (2, 9, 0, 10, 10)], "regions 2 and 1 overlap"),
        ([(1, 0, 0, 10, 10), (2, 11, 0, 10, 10)], r"nobody has the place \(10, 0\)"),
        ([(1, 0, 0, 10, 10), (2, 10, 0, 10, 9)], r"nobody has the place \(10, 9\)"),
        ([(1, 0, 0, 10, 0), (2, 10, 0, 10, 9)], "region 1 has no extent"),
        ([(1, 0, 0, 10, 10), (65_536, 10, 0, 10, 10)], "numbered up to 65535"),
    ],
)
def test_regions_that_do_not_tile_the_world_are_refused(rectangles, why):
    regions = [RegionSpec(n, float(x), float(y), float(w), float(h), 9, 8.0) for n, x, y, w, h in rectangles]
    with pytest.raises(DeclarationError, match=why):
        Atlas(regions)


def test_a_margin_that_does_not_hold_the_hysteresis_is_refused():
    with pytest.raises(DeclarationError, match="margin of 1 units"):
        Atlas.grid(RegionSpec(5, 0.0, 0.0, 90.0, 40.0, 64, 1.0), columns=2, rows=1, hysteresis_units=2.0)
