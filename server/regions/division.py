"""Division: a region that is too much for one shard is four regions for a while, and then one again.

The region keeps its north-west quarter and its number; three further regions, its parts, have the others (see
`Atlas`). An order to the region, input like any other, divides or unites it. Whoever is then on ground that is
another's goes there by the ordinary handoff, so that all is as safe as any walk over a border.

    order to divide    the region's frames say so, and gateways begin to watch the parts
    NOTICE_TICKS later GROUND to each part, and behind it in the same stream those who stand there
    order to unite     GROUND to each part, which sends back all that it has

Nobody else needs to know. Regions around take the region for whole: whom they send it, and what falls on its parts,
it sends on. A part that has no ground is no place: its game stands still, and who is still there leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from server.regions.atlas import Atlas, Rectangle
from server.shard.errors import MailError
from server.shard.machine import DIVIDE, SYSTEM_COMMANDS, encode_batches
from server.shard.mail import GROUND, Lane, Letter, Post
from server.sim.errors import SnapshotError

# Between the order to divide and the division: long enough for a gateway to have a view of the parts before anybody
# is there. A constant and no setting: with another a journal would replay to another state.
NOTICE_TICKS: Final = 20
_YOURS: Final = b"\x01"
_OURS: Final = b"\x00"
_STATE: Final = "@division.state"
_ORDER: Final = next(command for command in SYSTEM_COMMANDS if command.id == DIVIDE)


def division_order(*, divide: bool) -> bytes:
    """What divides a region, or unites it: a command batch for it. It has no session."""
    return encode_batches({DIVIDE: np.array([(0, 1, int(divide))], _ORDER.dtype)})


class Division:
    """Which ground is a region's own. Part of its state, empty while it is as the settings have it.

    `atlas`: the world with nothing divided. `region`: one of its sites.
    """

    def __init__(self, atlas: Atlas, region: int) -> None:
        self._region = region
        self._whole_atlas = atlas
        self._parts = atlas.parts_of(region)
        self.whole = atlas.whole_of(region)
        # The world as this region has to see it: with its own division, or that of the one it is a part of.
        self.atlas = atlas
        # Of a region: whether it is to be divided, from which tick on, and which parts were told so, by place.
        self._wanted = False
        self._due_tick = 0
        self._told = [False] * len(self._parts)
        # Of a part: whether it has its quarter, and whether it has it until the end of this tick.
        self._granted = False
        self._ends = False

    @property
    def ground(self) -> Rectangle | None:
        """What the region has; None: a part without."""
        return self.atlas.ground(self._region)

    @property
    def shown(self) -> bool:
        """Whether frames are to say that the region is divided, or about to be."""
        return self._wanted

    @property
    def pending(self) -> bool:
        """Whether parts are still to be told what was ordered."""
        return self._told != [self._wanted] * len(self._parts)

    @property
    def family(self) -> frozenset[int]:
        """The regions that know of this division: the whole one and its parts."""
        return frozenset((self.whole, *self._whole_atlas.parts_of(self.whole)))

    def order(self, *, divide: bool, tick: int) -> None:
        """Have the region divided, or united; nothing where that can't be or is so already."""
        if divide and self._parts and not self._wanted:
            self._wanted, self._due_tick = True, tick + NOTICE_TICKS
        elif not divide:
            self._wanted, self._due_tick = False, 0

    def take(self, letter: Letter) -> None:
        """Hear whether this part has its quarter; one that had it has it for this tick still. Raises MailError."""
        if letter.source != self.whole or self.whole == self._region or letter.payload not in (_YOURS, _OURS):
            raise MailError("not a word on ground that this region may have")
        if letter.payload == _YOURS:
            self._granted, self._ends = True, False
            self._look()
        else:
            self._ends = True

    def turn(self, post: Post, tick: int) -> None:
        """The end of a tick, before departures: they go behind what is told here."""
        if self._ends:
            self._granted = self._ends = False
            self._look()
        divide = self._wanted and tick >= self._due_tick
        if self._told != [divide] * len(self._parts):
            for place, part in enumerate(self._parts):
                # Where the way is blocked the part is told later, and the ground is the region's until then.
                if self._told[place] != divide and post.send(part, Lane.URGENT, GROUND, _YOURS if divide else _OURS):
                    self._told[place] = divide
            self._look()

    def _look(self) -> None:
        divided = self._granted or (self._wanted and all(self._told) and bool(self._told))
        self.atlas = self._whole_atlas.divided(self.whole) if divided else self._whole_atlas

    # -- state -------------------------------------------------------------------

    def digest(self, seed: int) -> int:
        """64 bits that differ with any of it, and with `seed`; `seed` itself where nothing is divided."""
        arrays = self.capture()
        return xxhash.xxh3_64_intdigest(arrays[_STATE].tobytes(), seed=seed) if arrays else seed

    def capture(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays that nobody else has; none where nothing is divided."""
        if not (self._wanted or any(self._told) or self._granted):
            return {}
        return {_STATE: np.array([self._granted, self._wanted, self._due_tick, *self._told], np.uint64)}

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the division that `capture` was called on; others' arrays are passed over.

        Raises SnapshotError; nothing is then changed.
        """
        state = arrays.get(_STATE)
        if state is None:
            granted, wanted, due_tick, told = False, False, 0, [False] * len(self._parts)
        else:
            if self._region == self.whole and not self._parts:
                raise SnapshotError("the region is divided, and world.split_depth lets none be: unite it first")
            if state.dtype != np.uint64 or state.shape != (3 + len(self._parts),):
                raise SnapshotError(f"{_STATE}: {state.dtype} {state.shape}")
            granted, wanted, due_tick, *told = state.tolist()
            if max(granted, wanted, *told, 0) > 1 or (granted and self._parts):
                raise SnapshotError(f"{_STATE}: not a division")
        self._granted, self._wanted, self._due_tick, self._ends = bool(granted), bool(wanted), due_tick, False
        self._told = [bool(one) for one in told]
        self._look()
