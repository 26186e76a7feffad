"""Which checkpoints stay: the newest, for recovery, and for an audit a thin row of older ones.

    | horizon                                                | newest
    B . . . . . . T . . . . . . . T . . . . . . . T . . . . N N

`B`, the base, is the newest at or before the horizon: every tick after that can be replayed. `T` are at least the
spacing apart, so a replay to any of those ticks begins no further back than that. `N` are what recovery falls back on.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.shard.checkpoint import Manifest


def worth_keeping(
    manifests: Iterable[Manifest], *, newest: int, horizon_tick: int, spacing_ticks: int
) -> list[Manifest]:
    """Those that stay, newest first; the journal up to the last one's tick can go.

    `horizon_tick`: every tick after it is to be replayable. Never more than `newest`, one per spacing, and
    two per version of game or machine that wrote since: each replays only what it wrote itself.
    """
    history: list[Manifest] = []
    for manifest in sorted(manifests, key=order, reverse=True):
        # An older owner's that lies beyond a newer one's is of ticks that were not its own any more.
        if not history or manifest.tick < history[-1].tick:
            history.append(manifest)
    kept, older = history[:newest], history[newest:]
    reaching = [m for m in older if m.tick > horizon_tick]
    if kept and kept[-1].tick > horizon_tick:
        reaching += older[len(reaching) : len(reaching) + 1]
    row: list[Manifest] = []
    for manifest in reversed(reaching):
        if not row or manifest.tick - row[-1].tick >= spacing_ticks or _writer(manifest) != _writer(row[-1]):
            row.append(manifest)
    return kept + row[::-1]


def order(manifest: Manifest) -> tuple[int, int]:
    """Later is better: a newer owner's is of what happened, however far an older one ran on before it noticed."""
    return manifest.epoch, manifest.tick


def _writer(manifest: Manifest) -> tuple[object, ...]:
    return manifest.simulation, *sorted(manifest.fingerprint.items())
