"""Who is near whom: a uniform grid over points, with exact vectorised queries.

    grid = Grid(position.x[rows], position.y[rows], world.bounds, cell=8.0)
    near = grid.radius(position.x[hunters], position.y[hunters], 12.0)

The points are sorted by cell, row of cells after row, so the cells of one row that a
query touches are one span of the sorted points: a radius up to the cell size costs at most three
spans, not nine cells.

Exact means: as if every pair had been compared. A pair is near when

    dx*dx + dy*dy <= r*r        in float32, dx = x[index] - qx

whatever the cell size, so `cell` and `bounds` decide speed and never results. Indices are
positions in the x and y given to the Grid. NaN coordinates are near nothing.

A few queries compare every pair indeed: that is sooner done than sorting, which waits until somebody asks for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.sim.component import F32, F64, I64

# Cells are made larger until there are no more: their numbers fit 16 bits, where a stable sort is a radix sort.
CELLS_MAX: Final = 1 << 16
# Queries compared at once: keeps the candidates in the CPU's cache (a third faster than all at once) and their memory
# bounded.
_CHUNK: Final = 4096
# Up to here queries times points are compared all with all: about what sorting a few thousand points costs.
_ALL_PAIRS_MAX: Final = 1 << 16
_FAR: Final = np.finfo(np.float32).max
_TAKEN: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What lies near each of m queries, in compressed rows: query q has rows offsets[q] to offsets[q + 1].

    Ordered by (query, index).
    """

    # (m + 1,) int64.
    offsets: I64
    # (k,) int64: the query of each row.
    query: I64
    # (k,) int64: the point of each row.
    index: I64
    # (k,) float32, square world units.
    distance2: F32


@dataclass(frozen=True, slots=True)
class _Spans:
    """Ranges of sorted points: (s,) each. Spans of one query lie together, queries ascend."""

    # First sorted point and number of points.
    first: I64
    count: I64
    # Spans per query.
    per_query: int

    def part(self, queries: slice) -> _Spans:
        """The spans of some of the queries."""
        spans = slice(queries.start * self.per_query, queries.stop * self.per_query)
        return _Spans(self.first[spans], self.count[spans], self.per_query)

    def points(self) -> I64:
        """Every sorted point of every span, in order: (total,)."""
        ends = np.cumsum(self.count, dtype=np.int64)
        shift = self.first - ends
        shift += self.count
        result: I64 = np.repeat(shift, self.count)
        result += np.arange(result.size)
        return result

    def per_query_count(self) -> I64:
        """Points per query, its spans together: (m,)."""
        counts = self.count.reshape(-1, self.per_query)
        result: I64 = counts[:, 0].copy()
        for i in range(1, self.per_query):
            result += counts[:, i]
        return result


class Grid:
    """Points in cells. `x`, `y`: (n,) float32, world units; not kept as the caller's arrays.

    `bounds`: (x0, y0, x1, y1) of the cells. Points outside lie in the cells at the edge and are found like others.
    `cell`: world units; best near the radius asked for. Raises ValueError for a cell or bounds without extent.
    """

    def __init__(
        self,
        x: NDArray[np.floating],
        y: NDArray[np.floating],
        bounds: tuple[float, float, float, float],
        cell: float = 8.0,
    ) -> None:
        x0, y0, x1, y1 = bounds
        if not (cell > 0 and x1 > x0 and y1 > y0):
            raise ValueError(f"no cells of {cell!r} in {bounds!r}")
        while (-((x0 - x1) // cell)) * (-((y0 - y1) // cell)) > CELLS_MAX:
            cell *= 2
        self._columns = int(-((x0 - x1) // cell))
        self._rows = int(-((y0 - y1) // cell))
        self._x0, self._y0, self._per_unit = x0, y0, 1.0 / cell
        self._cell = cell
        # (n,) as given; copies, for the caller's may be columns that are written to before a query comes.
        self._x, self._y = np.array(x, np.float32), np.array(y, np.float32)
        self._sorted = False

    def __len__(self) -> int:
        return int(self._x.size)

    def radius(self, qx: NDArray[np.floating], qy: NDArray[np.floating], r: float | F32) -> Neighbours:
        """Points within r of each query, border included. `qx`, `qy`: (m,); `r`: world units, one or (m,).

        A point that is itself a query finds itself, at distance 0.
        """
        x, y, r32 = _queries(qx, qy, r)
        if self._few(x.size):
            index, query, distance2 = self._compare_all(x, y, r32)
        else:
            self._sort()
            point, query, distance2 = self._near(x, y, r32)
            index, query, distance2 = _sorted_by(query, self._order[point], distance2)
        offsets = np.zeros(x.size + 1, np.int64)
        np.cumsum(np.bincount(query, minlength=x.size), out=offsets[1:], dtype=np.int64)
        return Neighbours(offsets, query, index, distance2)

    def pairs(self, r: float, *, ordered: bool = True) -> tuple[I64, I64, F32]:
        """All pairs of points within r: (i, j, distance2), (k,) each, i < j, ordered by (i, j).

        Not `ordered`, in half the time: each pair once, either point first, in an order that is the same on
        every machine and another with other cells or bounds.
        """
        self._sort()
        n = len(self)
        x, y = self._sx, self._sy
        r32 = np.full(n, r, np.float32)
        point, query, distance2 = self._near(x, y, r32, later_only=True)
        a, b = self._order[query], self._order[point]
        if not ordered:
            return a, b, distance2
        i, j = np.minimum(a, b), np.maximum(a, b)
        j, i, distance2 = _sorted_by(i, j, distance2)
        return i, j, distance2

    def nearest(
        self,
        qx: NDArray[np.floating],
        qy: NDArray[np.floating],
        k: int = 1,
        r_max: float = np.inf,
        exclude: NDArray[np.integer] | None = None,
    ) -> tuple[I64, F32]:
        """The k points nearest to each query: index (m, k) int64 and distance2 (m, k) float32, nearest first.

        Of equally near points the lower index comes first. -1 and inf where fewer than k lie within `r_max`
        world units. `exclude`: (m,) an index each query leaves out, its own for instance; -1 leaves out none.
        """
        x, y, _ = _queries(qx, qy, 0.0)
        index = np.empty((x.size, k), np.int64)
        distance2 = np.empty((x.size, k), np.float32)
        for begin in range(0, x.size, _CHUNK):
            part = slice(begin, begin + _CHUNK)
            left_out = None if exclude is None else np.asarray(exclude, np.int64)[part]
            index[part], distance2[part] = self._nearest(x[part], y[part], k, r_max, left_out)
        return index, distance2

    # -- inside --------------------------------------------------------------

    def _few(self, queries: int) -> bool:
        """Whether comparing all with all is the quickest way. What is sorted is not left unused."""
        return not self._sorted and queries * len(self) <= _ALL_PAIRS_MAX

    def _sort(self) -> None:
        """Put the points in their cells, for the first query that needs them there."""
        if self._sorted:
            return
        self._sorted = True
        cells = self._cell_y(self._y)
        cells *= self._columns
        cells += self._cell_x(self._x)
        # (n,) the point at each place of the sorted order; stable, so ascending within a cell.
        self._order: I64 = np.argsort(cells.astype(np.uint16), kind="stable")
        self._sx, self._sy = self._x[self._order], self._y[self._order]
        # (cells + 1,) first sorted point of each cell.
        self._start: I64 = np.zeros(self._columns * self._rows + 1, np.int64)
        np.cumsum(np.bincount(cells, minlength=self._start.size - 1), out=self._start[1:], dtype=np.int64)

    def _compare_all(self, x: F32, y: F32, r: F32) -> tuple[I64, I64, F32]:
        """(index, query, distance2) of all within r, ordered by (query, index)."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            dx = self._x - x[:, None]
            dx *= dx
            dy = self._y - y[:, None]
            dy *= dy
            dx += dy
            near = np.flatnonzero(dx <= (r * r)[:, None])
        query, index = np.divmod(near, max(1, len(self)))
        return index, query, dx.ravel()[near]

    def _nearest(self, x: F32, y: F32, k: int, r_max: float, exclude: I64 | None) -> tuple[I64, F32]:
        index = np.full((x.size, k), -1, np.int64)
        distance2 = np.full((x.size, k), np.inf, np.float32)
        pending = np.arange(x.size)
        few = self._few(x.size)
        if not few:
            self._sort()
        r = r_max if few else min(self._cell, r_max)
        extent = self._cell * (self._columns + self._rows)
        while pending.size:
            px, py, pr = x[pending], y[pending], np.full(pending.size, r, np.float32)
            if few:
                found, query, d2 = self._compare_all(px, py, pr)
            else:
                point, query, d2 = self._near(px, py, pr)
                found = self._order[point]
            if exclude is not None:
                keep = found != exclude[pending][query]
                query, found, d2 = query[keep], found[keep], d2[keep]
            # Whoever has k within r has the k nearest: all that is not found is farther.
            counts = np.bincount(query, minlength=pending.size)
            done = (counts >= k) | (r >= r_max)
            mine = done[query]
            some = done & (counts > 0)
            _lowest(d2[mine], found[mine], counts[some], pending[some], index, distance2)
            pending = pending[np.logical_not(done)]
            r = min(r * 2, r_max) if r < extent else r_max
        return index, distance2

    def _near(self, x: F32, y: F32, r: F32, *, later_only: bool = False) -> tuple[I64, I64, F32]:
        """(sorted point, query, distance2) of all within r."""
        # Far, infinite and NaN places compare as they should; only the warnings are unwanted.
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            spans = self._spans(x, y, r, later_only=later_only)
            if x.size <= _CHUNK:
                return self._compare(spans, x, y, r)
            found = []
            for begin in range(0, x.size, _CHUNK):
                part = slice(begin, begin + _CHUNK)
                point, query, distance2 = self._compare(spans.part(part), x[part], y[part], r[part])
                query += begin
                found.append((point, query, distance2))
        points, queries, distances2 = zip(*found, strict=True)
        return np.concatenate(points), np.concatenate(queries), np.concatenate(distances2)

    def _cell_x(self, x: NDArray[np.floating]) -> I64:
        return _cells(x, self._x0, self._per_unit, self._columns)

    def _cell_y(self, y: NDArray[np.floating]) -> I64:
        return _cells(y, self._y0, self._per_unit, self._rows)

    def _spans(self, x: F32, y: F32, r: F32, *, later_only: bool = False) -> _Spans:
        """The spans that hold every point within r of each query.

        `later_only`: the queries are the sorted points, and each looks only past itself: every pair once.
        """
        # float32 rounding may call a point near whose true distance is a few 1e-7 over r; tiny squares underflow to 0.
        reach: F64 = r.astype(np.float64) * (1 + 1e-6) + 1e-18
        # A radius whose square is past float32 is met by every distance; a finite place keeps inf - inf away.
        reach[np.isinf(r * r)] = np.inf
        qx, qy = np.clip(x, -_FAR, _FAR), np.clip(y, -_FAR, _FAR)
        left, right = self._cell_x(qx - reach), self._cell_x(qx + reach)
        top, bottom = self._cell_y(qy - reach), self._cell_y(qy + reach)
        if later_only:
            top = self._cell_y(y)
        heights = bottom - top
        per_query = int(heights.max(initial=0)) + 1
        first = np.empty((x.size, per_query), np.int64)
        count = np.empty((x.size, per_query), np.int64)
        row = top * self._columns
        for i in range(per_query):
            # Rows past the query's last repeat it, with no points.
            begin = self._start[row + left]
            first[:, i] = begin
            count[:, i] = self._start[row + right + 1] - begin
            if i:
                count[:, i] *= heights >= i
            row += self._columns
            np.minimum(row, (self._rows - 1) * self._columns, out=row)
        if later_only:
            past = np.arange(1, x.size + 1)
            count[:, 0] += first[:, 0] - past
            first[:, 0] = past
        return _Spans(first.ravel(), count.ravel(), per_query)

    def _compare(self, spans: _Spans, x: F32, y: F32, r: F32) -> tuple[I64, I64, F32]:
        """Compare each query with the points of its spans: (sorted point, query, distance2) of those within r."""
        point = spans.points()
        query = np.repeat(np.arange(x.size), spans.per_query_count())
        dx = self._sx[point]
        dx -= x[query]
        dx *= dx
        dy = self._sy[point]
        dy -= y[query]
        dy *= dy
        dx += dy
        near = np.flatnonzero(dx <= (r * r)[query])
        return point[near], query[near], dx[near]


def _cells(values: NDArray[np.floating], origin: float, per_unit: float, n: int) -> I64:
    """Cell numbers along one axis, never descending as the value grows."""
    work = values.astype(np.float64)
    work -= origin
    work *= per_unit
    # fmax puts NaN in a cell too; it compares as near to nothing.
    np.fmax(work, 0.0, out=work)
    np.fmin(work, n - 1, out=work)
    return work.astype(np.int64)


def _queries(qx: NDArray[np.floating], qy: NDArray[np.floating], r: float | F32) -> tuple[F32, F32, F32]:
    x, y = np.asarray(qx, np.float32), np.asarray(qy, np.float32)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"queries are two (m,) arrays, not {x.shape} and {y.shape}")
    return x, y, np.broadcast_to(np.asarray(r, np.float32), x.shape)


def _lowest(d2: F32, found: I64, counts: I64, rows: I64, index: I64, distance2: F32) -> None:
    """Write the lowest (distance2, index) of each run of `counts` candidates to its row, nearest first."""
    if not rows.size:
        return
    # Square distances are never negative, so their bits order as they do; one integer then holds both.
    keys = (d2.view(np.int32).astype(np.int64) << 32) | found
    starts = np.cumsum(counts, dtype=np.int64) - counts
    for rank in range(index.shape[1]):
        best = np.minimum.reduceat(keys, starts)
        left = best < _TAKEN
        index[rows[left], rank] = best[left] & 0xFFFFFFFF
        distance2[rows[left], rank] = (best[left] >> 32).astype(np.int32).view(np.float32)
        keys[keys == np.repeat(best, counts)] = _TAKEN


def _sorted_by(major: I64, minor: I64, values: F32) -> tuple[I64, I64, F32]:
    """(minor, major, values) ordered by (major, minor)."""
    # One key: candidates come as a few ascending runs per query, which a stable sort merges; lexsort takes ten times
    # as long.
    order = np.argsort((major << 32) | minor, kind="stable")
    return minor[order], major[order], values[order]
