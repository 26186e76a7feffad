"""One deterministic run in a process of its own: a game, a script of inputs, and the digest after every tick.

    python -m tests.determinism.run GAME_MODULE --ticks N [--script SEED] [--arrivals SEED] [--restore TICK]

Prints JSON: `digests`, one per tick; `frames`, a digest of all frames; `entities`, how many lived at the end.
`--arrivals` shuffles the order in which each tick's batches arrive and repeats some, which must change nothing.
`--restore` continues after that tick in a fresh machine that adopts its state.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash

from protocol.schema import ENTITY, UTF8, Argument, CommandSchema
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.inbox import Inbox
from server.shard.machine import JOIN, LEAVE, PRESENCE, encode_batches
from tests.support.numbers import native

REGION = RegionSpec(id=1, x=-64.0, y=32.0, width=256.0, height=256.0, entities_max=2500)
SESSIONS = 24
RANGES = {"bool": (0, 1), "u8": (0, 255), "i8": (-128, 127), "u16": (0, 65_535), "i16": (-32_768, 32_767)}


def value(draw: random.Random, a: Argument) -> Any:
    """Any value the argument allows."""
    if a.type == UTF8:
        return "".join(draw.choice("abc é") for _ in range(draw.randrange(1, 4))).encode()[: a.size]
    if a.type == ENTITY:
        return native(REGION.id, draw.randrange(REGION.entities_max), draw.randrange(1, 3))
    low, high = RANGES.get(a.type, (0, 1000))
    low = low if a.minimum is None else a.minimum
    high = high if a.maximum is None else a.maximum
    return draw.uniform(low, high) if a.type == "f32" else draw.randint(int(low), int(high))


class Script:
    """What the players do, tick for tick; the same for the same seed."""

    def __init__(self, shapes: dict[int, CommandSchema], seed: int) -> None:
        self._shapes = shapes
        self._kinds = sorted(k for k in shapes if k not in (JOIN, LEAVE, PRESENCE))
        self._draw = random.Random(seed)
        self._seq = dict.fromkeys(range(1, SESSIONS + 1), 0)

    def tick(self, number: int) -> Iterator[bytes]:
        """The batches of one tick, one per session and kind."""
        draw = self._draw
        for session in self._seq:
            if number % 97 == session:
                yield self._batch(JOIN, session, number, f"player {session}".encode(), f"name {session}".encode())
            elif number % 97 == 90 and draw.random() < 0.3:
                yield self._batch(LEAVE, session, number)
            elif draw.random() < 0.02:
                yield self._batch(PRESENCE, session, number, draw.randrange(2))
            for _ in range(draw.choice((0, 0, 1, 3))):
                self._seq[session] += 1
                kind = draw.choice(self._kinds)
                args = [value(draw, a) for a in self._shapes[kind].args]
                yield self._batch(kind, session, self._seq[session], *args)

    def _batch(self, kind: int, *record: Any) -> bytes:
        return encode_batches({kind: np.array([record], self._shapes[kind].dtype)})


def main() -> None:
    """See the module's top."""
    parser = argparse.ArgumentParser()
    parser.add_argument("game")
    parser.add_argument("--ticks", type=int, required=True)
    parser.add_argument("--script", type=int, default=4, help="seed of what the players do")
    parser.add_argument("--arrivals", type=int)
    parser.add_argument("--restore", type=int)
    options = parser.parse_args()

    game = importlib.import_module(options.game).GAME

    def machine() -> RegionMachine:
        return RegionMachine(game, REGION, seed=20_26, tick_rate_hz=20)

    region = machine()
    script = Script(dict(region.shapes), options.script)
    # A share below what some sessions send, so that commands wait over to the next tick.
    inbox = Inbox(region.shapes, commands_max=10_000, per_session_tick_max=2)
    arrivals = None if options.arrivals is None else random.Random(options.arrivals)
    digests, frames = [], xxhash.xxh3_64()
    for number in range(1, options.ticks + 1):
        batches = list(script.tick(number))
        if arrivals is not None:
            batches += arrivals.sample(batches, len(batches) // 4)
            arrivals.shuffle(batches)
        for batch in batches:
            if not inbox.offer(batch):
                raise SystemExit("the inbox is full: the script is too much for it")
        frames.update(region.step(inbox.take(region.high_water)).frame)
        digests.append(f"{region.digest():016x}")
        if number == options.restore:
            capture, region = region.capture(), machine()
            region.adopt(capture)
    json.dump({"digests": digests, "frames": frames.hexdigest(), "entities": region.world.count}, sys.stdout)


if __name__ == "__main__":
    main()
