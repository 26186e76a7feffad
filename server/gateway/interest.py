"""Interest: which grid cells a viewer sees.

The region is a grid of square cells with a margin of `pad` empty cells on every side, so that the square
around any cell lies inside the array. Cell numbers are row-major over that array: a row of a
square is a run of consecutive numbers, which is what makes the fan-out's slices long.

A viewer's own cell changes only when it is `hysteresis` past the border, so that one who
walks along a border does not get the same neighbours again and again.

The grids of a world's regions are parts of one: their cells are cut at the same places, so that a square which
reaches over a border is the same square in both (`Mosaic`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.schema import Schema
from server.regions.frame import RegionSpec

Cells = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """How far one sees, from config."""

    cell_units: float
    # Cells around one's own that are seen every tick, and those seen at the lower rate.
    near: int
    far: int
    far_every_ticks: int
    hysteresis_units: float


class Interest:
    """The grid of one region.

    `beyond`: a viewer's own cell may lie outside the region, by `far` cells at the most. `corner`: raw position numbers
    from the world's own corner to that of the region's grid.
    """

    def __init__(
        self,
        view: ViewSpec,
        schema: Schema,
        width: float,
        height: float,
        *,
        beyond: bool = False,
        corner: tuple[int, int] = (0, 0),
    ) -> None:
        self.near, self.far = view.near, view.far
        self.beyond = beyond
        self.pad = view.far * 2 if beyond else view.far
        wire = dict(schema.components[schema.position].fields)["x"]
        # Raw position numbers per cell; positions are raw everywhere in the gateway.
        self.cell_raw = max(1, round(view.cell_units / wire.scale))
        self.hysteresis_raw = round(view.hysteresis_units / wire.scale)
        # The world's cell that the first column and row are, and how much of it lies before the region.
        self.first_column, self._skew_x = divmod(corner[0], self.cell_raw)
        self.first_row, self._skew_y = divmod(corner[1], self.cell_raw)
        self.columns = int(np.ceil((width + self._skew_x * wire.scale) / view.cell_units))
        self.rows = int(np.ceil((height + self._skew_y * wire.scale) / view.cell_units))
        self.stride = self.columns + 2 * self.pad
        self.count = self.stride * (self.rows + 2 * self.pad)
        # The smallest dtype that holds a cell number: stable sort of 16 bits is a radix sort.
        self.sort_dtype = np.dtype(np.uint16 if self.count <= 65_535 else np.int64)
        side = np.arange(-self.far, self.far + 1)
        # ((2 far + 1)^2,) offsets of the cells of the far square.
        self.square: Cells = (side[:, None] * self.stride + side[None, :]).ravel()
        self._near_spans = self._spans_near()
        self._ring_spans = self._spans_ring()

    def cell(self, x: NDArray[np.integer], y: NDArray[np.integer]) -> Cells:
        """(n,) cell numbers of raw positions; what lies past an edge counts as in the edge's cell."""
        column = np.minimum((x.astype(np.int64) + self._skew_x) // self.cell_raw, self.columns - 1)
        row = np.minimum((y.astype(np.int64) + self._skew_y) // self.cell_raw, self.rows - 1)
        cells: Cells = (row + self.pad) * self.stride + column + self.pad
        return cells

    def recentre(self, centre: Cells, x: NDArray[np.integer], y: NDArray[np.integer]) -> Cells:
        """(n,) cell numbers of viewers at these raw positions, whose cells were `centre`."""
        row, column = np.divmod(centre, self.stride)
        half = self.cell_raw // 2
        reach = half + self.hysteresis_raw
        middle_x = (column - self.pad) * self.cell_raw + (half - self._skew_x)
        middle_y = (row - self.pad) * self.cell_raw + (half - self._skew_y)
        off = np.maximum(np.abs(x.astype(np.int64) - middle_x), np.abs(y.astype(np.int64) - middle_y))
        return np.where(off > reach, self.cell(x, y), centre)

    def distance(self, a: Cells, b: Cells | np.int64) -> Cells:
        """Cells between a and b, the longer axis counting: seen if at most `far`. Shapes broadcast."""
        row_a, column_a = np.divmod(a, self.stride)
        row_b, column_b = np.divmod(b, self.stride)
        cells: Cells = np.maximum(np.abs(row_a - row_b), np.abs(column_a - column_b))
        return cells

    def spans(self, centres: Cells, *, ring: bool) -> tuple[Cells, Cells]:
        """((n, k), (n, k)) first cell and one past the last of each row of each viewer's square.

        The near square, or with `ring` the near square and the ring around it.
        """
        first, past = self._ring_spans if ring else self._near_spans
        return centres[:, None] + first, centres[:, None] + past

    def _spans_near(self) -> tuple[Cells, Cells]:
        rows = np.arange(-self.near, self.near + 1) * self.stride
        return rows - self.near, rows + self.near + 1

    def _spans_ring(self) -> tuple[Cells, Cells]:
        rows = np.arange(-self.far, self.far + 1) * self.stride
        return rows - self.far, rows + self.far + 1


class Mosaic:
    """How the grids of a world's regions lie to each other. Positions of all are counted in the same raw steps."""

    def __init__(self, regions: Iterable[RegionSpec], view: ViewSpec, schema: Schema) -> None:
        regions = sorted(regions, key=lambda region: region.id)
        scale = dict(schema.components[schema.position].fields)["x"].scale
        corners = [region.origin for region in regions]
        west, north = min(x for x, _ in corners), min(y for _, y in corners)
        self.interests = {
            region.id: Interest(
                view,
                schema,
                region.width + 2 * region.margin,
                region.height + 2 * region.margin,
                beyond=len(regions) > 1,
                corner=(round((x - west) / scale), round((y - north) / scale)),
            )
            for region, (x, y) in zip(regions, corners, strict=True)
        }
        self._ids = list(self.interests)
        # (r, 2) the world's columns and rows, first and last, that each region's entities may be in.
        grids = self.interests.values()
        self._first = np.array([(i.first_column, i.first_row) for i in grids], np.int64)
        self._last = self._first + np.array([(i.columns - 1, i.rows - 1) for i in grids], np.int64)

    def near(self, region: int) -> Collection[int]:
        """Every region of which something is seen from somewhere in `region`."""
        at, far = self._ids.index(region), self.interests[region].far
        seen = (self._first[at] - far <= self._last) & (self._last[at] + far >= self._first)
        return [self._ids[other] for other in np.flatnonzero(seen.all(axis=1)).tolist()]

    def around(self, region: int, cell: int) -> dict[int, int]:
        """Every region of which something is seen from a cell of `region`'s grid -> the same cell in that one's own."""
        here = self.interests[region]
        row, column = divmod(cell, here.stride)
        centre = np.array([column - here.pad + here.first_column, row - here.pad + here.first_row])
        seen = ((centre >= self._first - here.far) & (centre <= self._last + here.far)).all(axis=1)
        found: dict[int, int] = {}
        for at in np.flatnonzero(seen).tolist():
            there = self.interests[self._ids[at]]
            across, down = (centre - self._first[at] + there.pad).tolist()
            found[self._ids[at]] = down * there.stride + across
        return found
