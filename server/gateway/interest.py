"""Interest: which grid cells a viewer sees.

The region is a grid of square cells with a margin of `far` empty cells on every side, so that the square
around any cell lies inside the array. Cell numbers are row-major over that array: a row of a
square is a run of consecutive numbers, which is what makes the fan-out's slices long.

A viewer's own cell changes only when it is `hysteresis` past the border, so that one who
walks along a border does not get the same neighbours again and again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.schema import Schema

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
    """The grid of one region."""

    def __init__(self, view: ViewSpec, schema: Schema, width: float, height: float) -> None:
        self.near, self.far = view.near, view.far
        wire = dict(schema.components[schema.position].fields)["x"]
        # Raw position numbers per cell; positions are raw everywhere in the gateway.
        self.cell_raw = max(1, round(view.cell_units / wire.scale))
        self.hysteresis_raw = round(view.hysteresis_units / wire.scale)
        self.columns = int(np.ceil(width / view.cell_units))
        self.rows = int(np.ceil(height / view.cell_units))
        self.stride = self.columns + 2 * self.far
        self.count = self.stride * (self.rows + 2 * self.far)
        # The smallest dtype that holds a cell number: stable sort of 16 bits is a radix sort.
        self.sort_dtype = np.dtype(np.uint16 if self.count <= 65_535 else np.int64)
        side = np.arange(-self.far, self.far + 1)
        # ((2 far + 1)^2,) offsets of the cells of the far square.
        self.square: Cells = (side[:, None] * self.stride + side[None, :]).ravel()
        self._near_spans = self._spans_near()
        self._ring_spans = self._spans_ring()

    def cell(self, x: NDArray[np.integer], y: NDArray[np.integer]) -> Cells:
        """(n,) cell numbers of raw positions; what lies past an edge counts as in the edge's cell."""
        column = np.minimum(x.astype(np.int64) // self.cell_raw, self.columns - 1)
        row = np.minimum(y.astype(np.int64) // self.cell_raw, self.rows - 1)
        cells: Cells = (row + self.far) * self.stride + column + self.far
        return cells

    def recentre(self, centre: Cells, x: NDArray[np.integer], y: NDArray[np.integer]) -> Cells:
        """(n,) cell numbers of viewers at these raw positions, whose cells were `centre`."""
        row, column = np.divmod(centre, self.stride)
        half = self.cell_raw // 2
        reach = half + self.hysteresis_raw
        off_x = np.abs(x.astype(np.int64) - ((column - self.far) * self.cell_raw + half))
        off_y = np.abs(y.astype(np.int64) - ((row - self.far) * self.cell_raw + half))
        return np.where((off_x > reach) | (off_y > reach), self.cell(x, y), centre)

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
