"""A stretch of the past, as whoever saw the whole of it would have been sent it: `everstep stretch`.

A file of messages, each behind its length (4 bytes, little endian). KEYFRAME, DELTA and EVENT are those of
docs/protocol.md; the numbers from 64 on are a stretch's own:

    [64, info]               first: what it is of, see `_Onlooker.begin`
    [18, …]                  KEYFRAME of the first tick, and of every 64th after it: where a reader can begin
    [65, tick, inputs]       of each tick after the first: what it was given, each as
                             [session, handle or nil, name, account, command, {argument: value}]
    [17, …]                  its DELTA, nothing left out
    [21, …]                  its EVENTs but for those meant for one player alone
    [66, tick, digest]       last: the tick and the digest of the state there, as `everstep replay` tells it

Within a window only what lies in it is seen. What the world was is replayed, not remembered: `rebuild` checks it
against the digests of the journal, and the replica that the frames are taken through against those of the frames.
"""

from __future__ import annotations

import math
import os
import resource
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import msgpack
import numpy as np
import orjson
import typer
from numpy.typing import NDArray

from protocol.codec import encode_delta, encode_keyframe
from protocol.schema import HANDLE_DTYPE, Schema
from server.commands.kept import Kept
from server.commands.replay import plain
from server.gateway.interest import Interest, ViewSpec
from server.gateway.replica import NO_ARCHETYPE, Handles, Replica
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import Effects, TickInput
from server.store.errors import StoreError

HEADER: Final = 64
INPUTS: Final = 65
END: Final = 66
# Ticks between two KEYFRAMEs. A DELTA tells the low 7 bits of its tick, so fewer than 128.
KEYFRAME_EVERY_TICKS: Final = 64
_LENGTH: Final = struct.Struct("<I")
# Where both want the processor, the server gets three times as much of it.
_NICENESS: Final = 5


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the world: centre and half its side, world units."""

    x: float
    y: float
    reach: float


class Watched(RegionMachine):
    """A region whose replay, from a tick on, has its effects kept for an onlooker."""

    # The first tick that is looked at.
    watch_from: int = 0
    # Of the last tick made, where it was looked at.
    seen: tuple[TickInput, Effects] | None = None

    def replay(self, inputs: TickInput) -> None:
        """One tick: the same state, and its frame where somebody looks."""
        if self.tick >= self.watch_from:
            self.seen = inputs, self.step(inputs)
        else:
            super().replay(inputs)


async def write_stretch(
    kept: Kept, shard: int | None, begin: int, end: int, out: BinaryIO, *, window: Window | None, bytes_max: int
) -> None:
    """Write ticks `begin` to `end` of a shard to `out`. Raises StoreError, and what `rebuild` does."""
    shard = await kept.only_shard(shard)
    first, last = await kept.reach(shard)
    if not first <= begin <= end <= last:
        raise StoreError(f"ticks {begin} to {end} of shard {shard}: {first} to {last} can be rebuilt")
    make = await kept.make(shard, Watched)

    def watched() -> Watched:
        machine = make()
        machine.watch_from = begin
        return machine

    onlooker: _Onlooker | None = None

    def on_tick(machine: Watched) -> None:
        nonlocal onlooker
        if machine.tick < begin:
            return
        if machine.tick == begin:
            onlooker = _Onlooker(machine, window, out, bytes_max)
            onlooker.begin(end)
        elif onlooker is not None:
            onlooker.tick()

    machine, _ = await kept.rebuilt(watched, end, on_tick, from_tick=begin)
    assert onlooker is not None, "rebuilt from a checkpoint behind the first tick"
    onlooker.end(machine.digest())


class _Onlooker:
    """Sees all of a region, or a window of it, tick by tick."""

    def __init__(self, machine: Watched, window: Window | None, out: BinaryIO, bytes_max: int) -> None:
        self._machine = machine
        self._schema: Schema = machine.game.schema
        self._region: RegionSpec = machine.region
        self._window = window
        self._out = out
        self._bytes_left = bytes_max
        # One cell: who looks from outside has no surroundings.
        side = max(self._region.width, self._region.height)
        interest = Interest(ViewSpec(side, 0, 0, 1, 0.0), self._schema, self._region.width, self._region.height)
        self._replica = Replica(self._schema, interest, self._region.entities_max, self._region.handle)
        self._handle_dtype = np.dtype(HANDLE_DTYPE[self._region.handle])
        # (entities_max,) bool: in the window, as of the last tick.
        self._within = np.zeros(self._region.entities_max, np.bool_)
        self._first_tick = machine.tick
        # Session -> (name, account) of all who were there at any time.
        self._who: dict[int, tuple[str, str]] = {}

    def begin(self, last_tick: int) -> None:
        """The first tick."""
        machine, region = self._machine, self._region
        self._put(
            [
                HEADER,
                {
                    "shard": machine.shard,
                    "from": machine.tick,
                    "to": last_tick,
                    "keyframe_every": KEYFRAME_EVERY_TICKS,
                    "tick_rate_hz": 1.0 / machine.dt,
                    "game": machine.game.name,
                    "version": machine.game.version,
                    "region": {
                        "id": region.id,
                        "x": region.x,
                        "y": region.y,
                        "width": region.width,
                        "height": region.height,
                        "handle": region.handle,
                    },
                    "schema": self._schema.to_wire(),
                },
            ]
        )
        self._meet()
        self._replica.apply(Frame.decode(machine.keyframe(), self._schema))
        self._within = self._inside()
        self._keyframe()

    def tick(self) -> None:
        """One tick more."""
        machine = self._machine
        assert machine.seen is not None
        inputs, effects = machine.seen
        frame = Frame.decode(effects.frame, self._schema)
        change = self._replica.apply(frame)
        before, self._within = self._within, self._inside()
        # A handle that was reused left and entered: `left` has it, whatever is there now.
        ended = np.zeros_like(before)
        ended[frame.left] = True
        stayed = before & self._within & ~ended
        changes = []
        for component, (handles, values) in change.changes.items():
            chosen = stayed[handles]
            if chosen.any():
                packed = np.empty(int(chosen.sum()), self._schema.change_dtype(component, self._region.handle))
                packed["handle"] = handles[chosen]
                for name in values.dtype.names or ():
                    packed[name] = values[name][chosen]
                changes.append((component, packed.tobytes()))
        self._put([INPUTS, frame.tick, list(self._said(inputs))])
        leaves = np.flatnonzero(before & ~stayed).astype(self._handle_dtype).tobytes()
        enters = list(self._records(np.flatnonzero(self._within & ~stayed)))
        self._write(encode_delta(frame.region, frame.tick, leaves, enters, changes))
        for event in frame.events:
            if not event.sessions and (event.place is None or self._sees(*event.place)):
                self._write(event.message)
        if (frame.tick - self._first_tick) % KEYFRAME_EVERY_TICKS == 0:
            self._keyframe()

    def end(self, digest: int) -> None:
        """There is no more."""
        self._put([END, self._machine.tick, f"{digest:016x}"])

    # -- inside ------------------------------------------------------------------

    def _keyframe(self) -> None:
        seen = list(self._records(np.flatnonzero(self._within)))
        self._write(encode_keyframe(self._region.id, self._machine.tick, seen))

    def _records(self, handles: Handles) -> Iterator[tuple[int, bytes]]:
        archetypes = self._replica.archetype[handles]
        for archetype in np.unique(archetypes).tolist():
            yield archetype, self._replica.full_records(archetype, handles[archetypes == archetype]).tobytes()

    def _inside(self) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = self._replica.archetype != NO_ARCHETYPE
        if self._window is not None:
            handles = np.flatnonzero(inside)
            inside[handles] = self._near(*self._replica.position(handles))
        return inside

    def _sees(self, x: int, y: int) -> bool:
        return bool(self._near(np.array([x]), np.array([y]))[0])

    def _near(self, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
        """(n,) bool of raw positions."""
        window = self._window
        if window is None:
            return np.ones(x.size, np.bool_)
        fields = dict(self._schema.components[self._schema.position].fields)
        off_x = x * fields["x"].scale + fields["x"].offset + self._region.x - window.x
        off_y = y * fields["y"].scale + fields["y"].offset + self._region.y - window.y
        near: NDArray[np.bool_] = (np.abs(off_x) <= window.reach) & (np.abs(off_y) <= window.reach)
        return near

    def _said(self, inputs: TickInput) -> Iterator[list[Any]]:  # Any: what msgpack takes
        """What the tick was given, by whom."""
        machine = self._machine
        self._meet()
        for kind, batch in inputs.batches.items():
            shape = machine.shapes[kind]
            rows = machine.sessions.rows(batch["session"], machine.world).tolist()
            for record, row in zip(batch, rows, strict=True):
                arguments = {a.name: _finite(plain(record[a.name])) for a in shape.args}
                session = int(record["session"])
                yield [session, row if row >= 0 else None, *self._who.get(session, ("", "")), shape.name, arguments]

    def _meet(self) -> None:
        known = self._machine.sessions.known()
        for session, name, account in zip(*(known[n].tolist() for n in ("session", "name", "player")), strict=True):
            self._who[session] = plain(name), plain(account)

    def _put(self, message: list[Any]) -> None:  # Any: what msgpack takes
        self._write(msgpack.packb(message))

    def _write(self, message: bytes) -> None:
        self._bytes_left -= _LENGTH.size + len(message)
        if self._bytes_left < 0:
            raise StoreError(
                f"the stretch is too large: at tick {self._machine.tick} it is full. Ask for fewer ticks, or a window"
            )
        self._out.write(_LENGTH.pack(len(message)) + message)


async def inspect_reach(kept: Kept) -> None:
    """A line per shard: the ticks that can be rebuilt, and where it lies."""
    for shard in await kept.shards():
        machine = (await kept.make(shard, RegionMachine))()
        first, last = await kept.reach(shard)
        region = machine.region
        line = {
            "shard": shard,
            "from": first,
            "to": last,
            "tick_rate_hz": 1.0 / machine.dt,
            "x": region.x,
            "y": region.y,
            "width": region.width,
            "height": region.height,
        }
        typer.echo(orjson.dumps(line))


def stay_in_the_background(memory_bytes_max: int) -> None:
    """Give way to the server whose world this is: its ticks come first, and memory beyond this is refused (POSIX)."""
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))


def _finite(value: Any) -> Any:  # Any: what JSON takes
    """NaN and infinity are no JSON, and a browser would show them as numbers."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
