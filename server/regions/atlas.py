"""The atlas: which region has which part of the world.

Regions are rectangles that tile the world's own rectangle. A region has its west and north edge, and what
lies on its east or south edge is the next one's; past the world's edge a place is that of the nearest region.

Where the world may be split, a region may be divided into four: it keeps its north-west quarter, and three parts,
regions with numbers of their own, have the others. All the parts that there may ever be, and their numbers, follow from
the regions. An atlas never changes; the world with a region divided is another atlas (`divided`).
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Self

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from server.regions.frame import RegionSpec
from server.sim.component import F64, I64
from server.sim.errors import DeclarationError

# (x0, y0, x1, y1), world units.
Rectangle = tuple[float, float, float, float]

# Edges that differ by less are the same.
_EDGE_STEP_UNITS: Final = 1 / 1024
# An entity's number names the region of its birth in 16 bits; see World.id_of.
REGION_MAX: Final = 65_535


class Atlas:
    """The regions of a world, and what holds at all their borders.

    `hysteresis_units`: how far past its region's border an entity stays with it. `forward_ticks`: how long a region
    remembers where those who left it went. `split_depth`: 1 where regions may be divided into four, else 0; their parts
    have the region's margin, or `part_margin` where that is more. Raises DeclarationError for regions that do not tile
    a rectangle, or whose margin does not reach past the hysteresis.
    """

    def __init__(
        self,
        regions: Sequence[RegionSpec],
        *,
        hysteresis_units: float = 2.0,
        forward_ticks: int = 600,
        version: int = 1,
        split_depth: int = 0,
        part_margin: float = 0.0,
    ) -> None:
        self.regions = tuple(sorted(regions, key=lambda region: region.id))
        self.hysteresis_units = hysteresis_units
        self.forward_ticks = forward_ticks
        self.version = version
        if not self.regions or len({region.id for region in self.regions}) < len(self.regions):
            raise DeclarationError("an atlas has regions, each with a number of its own")
        # Every region there may be, by number: these, and the parts of those that may be divided.
        self.sites = self.regions
        # Region -> its three parts; part -> the region that it is a part of.
        self._parts: dict[int, tuple[RegionSpec, ...]] = {}
        self._wholes: dict[int, int] = {}
        if split_depth:
            first = self.regions[-1].id + 1
            self._parts = {
                r.id: _parts(r, first + 3 * n, max(r.margin, part_margin)) for n, r in enumerate(self.regions)
            }
            self._wholes = {part.id: region for region, parts in self._parts.items() for part in parts}
            self.sites += tuple(part for parts in self._parts.values() for part in parts)
        self._by_id = {region.id: region for region in self.sites}
        if len(self.sites) > 1:
            for region in self.sites:
                if not 0 <= region.id <= REGION_MAX:
                    raise DeclarationError(f"region {region.id}: regions of one world are numbered up to {REGION_MAX}")
                # Nobody strolls past the edge of the world.
                alone = region is self.regions[0] and len(self.regions) == 1
                if region.margin < hysteresis_units and not alone:
                    raise DeclarationError(
                        f"region {region.id}: its margin of {region.margin:g} units does not hold who is still its own "
                        f"{hysteresis_units:g} units past the border"
                    )
        self._lay(self.regions)

    def _lay(self, regions: Iterable[RegionSpec]) -> None:
        """Have the world tiled by these. Raises DeclarationError."""
        self.regions = tuple(sorted(regions, key=lambda region: region.id))
        self._tiles = {region.id: region for region in self.regions}
        # (r,) each: numbers and edges, in order of the numbers.
        self._ids: NDArray[np.uint32] = np.array([r.id for r in self.regions], np.uint32)
        edges = np.array([r.bounds for r in self.regions], np.float64)
        # A third of a world, three times, is not the world to the last bit.
        self._x0, self._y0, self._x1, self._y1 = (np.rint(edges / _EDGE_STEP_UNITS) * _EDGE_STEP_UNITS).T
        # (i + 1,), (j + 1,) world units: every edge there is, ascending; and (j, i) the region of each field between.
        self._xs: F64 = np.unique(np.concatenate([self._x0, self._x1]))
        self._ys: F64 = np.unique(np.concatenate([self._y0, self._y1]))
        self._fields = self._tiled()

    @classmethod
    def grid(
        cls,
        first: RegionSpec,
        *,
        columns: int,
        rows: int,
        hysteresis_units: float = 2.0,
        forward_ticks: int = 600,
        split_depth: int = 0,
    ) -> Self:
        """A whole world, `first`, cut into columns and rows of equal size, numbered from its own number, row after row.

        Undivided it needs no margin, and has none.
        """
        width, height = first.width / columns, first.height / rows
        margin = first.margin if columns * rows > 1 else 0.0
        regions = [
            RegionSpec(
                first.id + j * columns + i,
                first.x + i * width,
                first.y + j * height,
                width,
                height,
                first.entities_max,
                margin,
            )
            for j in range(rows)
            for i in range(columns)
        ]
        return cls(
            regions,
            hysteresis_units=hysteresis_units,
            forward_ticks=forward_ticks,
            split_depth=split_depth,
            part_margin=first.margin,
        )

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, region: int) -> RegionSpec:
        """The site of this number, as it is when nothing is divided. Raises KeyError."""
        return self._by_id[region]

    def __contains__(self, region: object) -> bool:
        return region in self._by_id

    @property
    def open(self) -> bool:
        """Whether there may be anything beside any region."""
        return len(self.sites) > 1

    @property
    def divisible(self) -> frozenset[int]:
        """Numbers of the regions that may be divided."""
        return frozenset(self._parts)

    def parts_of(self, region: int) -> tuple[int, ...]:
        """Numbers of the three parts that this region may be divided into, beside itself; none of a part."""
        return tuple(part.id for part in self._parts.get(region, ()))

    def whole_of(self, region: int) -> int:
        """The region that this one is a part of; of others their own number."""
        return self._wholes.get(region, region)

    def ground(self, region: int) -> Rectangle | None:
        """What this region has of the world: a part of a region that is not divided has nothing."""
        tile = self._tiles.get(region)
        return None if tile is None else tile.bounds

    def divided(self, region: int) -> Atlas:
        """The same world with this region divided; with one more where another is. Raises KeyError for a part."""
        others = [r for r in self.regions if r.id != region]
        other = copy.copy(self)
        other._lay([*others, _quarters(self._by_id[region])[0], *self._parts[region]])  # noqa: SLF001  # an atlas too
        return other

    @property
    def limits(self) -> Rectangle:
        """The world's own rectangle."""
        return (float(self._xs[0]), float(self._ys[0]), float(self._xs[-1]), float(self._ys[-1]))

    def region_at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.uint32]:
        """(n,) numbers of the regions that have these places, (n,) world units each."""
        # Outside counts as the field at the edge.
        column = np.clip(np.searchsorted(self._xs, x, side="right") - 1, 0, self._xs.size - 2)
        row = np.clip(np.searchsorted(self._ys, y, side="right") - 1, 0, self._ys.size - 2)
        return self._ids[self._fields[row, column]]

    def touching(self, x: ArrayLike, y: ArrayLike, radius: ArrayLike) -> tuple[I64, NDArray[np.uint32]]:
        """Which regions circles touch whose entities they could reach: (k,) the circle, (k,) the region's number.

        Circles are (n,) world units each. Ordered by (circle, region). Who walked past a border and is not yet handed
        over counts with its region, so a region reaches `hysteresis_units` past its edges.
        """
        x, y, reach = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (x, y, radius)))
        if len(self.regions) > 1:
            reach = reach + self.hysteresis_units
        dx = np.maximum(np.maximum(self._x0 - x[:, None], x[:, None] - self._x1), 0.0)
        dy = np.maximum(np.maximum(self._y0 - y[:, None], y[:, None] - self._y1), 0.0)
        near = dx * dx + dy * dy <= (reach * reach)[:, None]
        # Past the world's edge a circle may touch nothing; those who are out there belong to the nearest region.
        home = np.searchsorted(self._ids, self.region_at(x, y))
        near[np.arange(home.size), home] = True
        circle, region = np.nonzero(near)
        return circle, self._ids[region]

    def digest(self) -> int:
        """64 bits that differ when regions, version, or what holds at borders does."""
        h = xxhash.xxh3_64(struct.pack("<IId", self.version, self.forward_ticks, self.hysteresis_units))
        for r in self.regions:
            h.update(struct.pack("<I4dId", r.id, *r.bounds, r.entities_max, r.margin))
        return h.intdigest()

    def _tiled(self) -> I64:
        """(j, i) index of the region of each field. Raises DeclarationError for a field of none, or of two."""
        fields = np.full((self._ys.size - 1, self._xs.size - 1), -1, np.int64)
        for n, region in enumerate(self.regions):
            i0, i1 = np.searchsorted(self._xs, (self._x0[n], self._x1[n]))
            j0, j1 = np.searchsorted(self._ys, (self._y0[n], self._y1[n]))
            if i0 == i1 or j0 == j1:
                raise DeclarationError(f"region {region.id} has no extent")
            taken = fields[j0:j1, i0:i1]
            if (taken >= 0).any():
                other = self.regions[int(taken.max())]
                raise DeclarationError(f"regions {region.id} and {other.id} overlap")
            taken[:] = n
        if (fields < 0).any():
            j, i = np.argwhere(fields < 0)[0]
            raise DeclarationError(f"nobody has the place ({self._xs[i]:g}, {self._ys[j]:g})")
        return fields


def _quarters(region: RegionSpec) -> tuple[RegionSpec, ...]:
    """North-west, north-east, south-west, south-east, all under the region's own number."""
    width, height = region.width / 2, region.height / 2
    return tuple(
        replace(region, x=region.x + i * width, y=region.y + j * height, width=width, height=height)
        for j in (0, 1)
        for i in (0, 1)
    )


def _parts(region: RegionSpec, first: int, margin: float) -> tuple[RegionSpec, ...]:
    """The quarters but the first, numbered from `first`."""
    return tuple(replace(quarter, id=first + n, margin=margin) for n, quarter in enumerate(_quarters(region)[1:]))
