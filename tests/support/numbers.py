"""Numbers of entities, put together by hand; see World.id_of."""

from __future__ import annotations


def native(region: int, row: int, life: int = 1) -> int:
    """Of who was born in this region in this row, as its `life`th."""
    return region << 48 | life << 20 | row
