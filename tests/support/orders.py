"""Commands as gateways send them, and ticks' inputs made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from protocol.schema import CommandSchema
from server.shard.inbox import Inbox
from server.shard.machine import Machine, TickInput, encode_batches

# (command's name, session, sequence number, arguments...)
Order = tuple[Any, ...]


def batch(shapes: Mapping[int, CommandSchema], orders: Iterable[Order]) -> bytes:
    """One batch of these orders, in this order."""
    numbers = {shape.name: kind for kind, shape in shapes.items()}
    by_kind: dict[int, list[Order]] = {}
    for name, *record in orders:
        by_kind.setdefault(numbers[name], []).append(tuple(record))
    return encode_batches({kind: np.array(records, shapes[kind].dtype) for kind, records in by_kind.items()})


def tick_input(machine: Machine, *orders: Order) -> TickInput:
    """What a tick of this machine is given when these orders arrive, no session's share being limited."""
    inbox = Inbox(machine.shapes, 1_000_000, 1_000_000)
    assert inbox.offer(batch(machine.shapes, orders))
    return inbox.take(machine.high_water)
