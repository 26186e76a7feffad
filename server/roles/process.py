"""What every process that runs a part of a world does alike."""

from __future__ import annotations

import gc
from typing import Final

from config.settings import Settings

# Seconds for which a region's tick may stand still.
TICK_STALL_S: Final = 5.0
# A young collection costs little; the old generation holds the world and is collected in no hurry.
_GC_THRESHOLDS: Final = (5_000, 50, 100)


def frame_stall_s(settings: Settings) -> float:
    """Seconds for which no frame may leave though somebody could take one."""
    return 10.0 + settings.view.quiet_ticks_max / settings.world.tick_rate_hz


def settle_memory() -> None:
    """What the start has made stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
