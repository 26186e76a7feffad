"""What a node says of itself, as bytes: a node of another version reads of it what it knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import structlog

from server.host.stalls import Stalls
from server.host.tenure import Tenure
from server.regions.balance import NodeLoad, ShardLoad
from server.shard.lease import NodeInfo

_log = structlog.get_logger(__name__)


def announced(
    tenures: Mapping[int, Tenure], stalls: Stalls, *, rest_s: float, draining: bool, world_tick: int, follows: bool
) -> bytes:
    """What a node that runs these says. `rest_s`: of ticks, after which a load counts as measured."""
    shards = [_told(shard, tenure, rest_s) for shard, tenure in sorted(tenures.items())]
    store = {"keeps": stalls.keeps, "waits": stalls.waits}
    told = {"draining": draining, "shards": shards, **store, "world_tick": world_tick, "follows": follows}
    info: bytes = msgpack.packb(told)
    return info


def _told(shard: int, tenure: Tenure, rest_s: float) -> dict[str, object]:
    """A ShardLoad, by its fields' names."""
    host, gauges = tenure.host, tenure.host.machine.gauges()
    asleep = host.slumber.asleep
    load = 0.0 if asleep else host.load if host.measured_s >= rest_s else None
    return {
        "shard": shard,
        "load": load,
        "players": int(gauges.get("sessions", 0)),
        "entities": int(gauges.get("entities", 0)),
        "asleep": asleep,
        "divided": bool(gauges.get("divided", 0)),
    }


def keeps(node: NodeInfo) -> bool:
    """Whether a node has told that its store has kept something since the turn before."""
    return _says(node, "keeps")


def waits(node: NodeInfo) -> bool:
    """Whether a node has told that its store has kept nothing for long of what waits there to be kept."""
    return _says(node, "waits")


def _says(node: NodeInfo, what: str) -> bool:
    try:
        return bool(msgpack.unpackb(node.info)[what])
    except (ValueError, TypeError, KeyError):
        return False


def node_load(node: NodeInfo) -> NodeLoad:
    """What a node has announced. One that can't be understood counts as one that takes nothing."""
    try:
        told = msgpack.unpackb(node.info)
        shards = tuple(map(_shard_load, told["shards"]))
        follows = bool(told.get("follows", True))
        return NodeLoad(node.name, bool(told["draining"]), shards, int(told.get("world_tick", 0)), follows)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        _log.warning("a node can't be understood", other=node.name, reason=repr(error))
        return NodeLoad(node.name, draining=True)


def _shard_load(told: Mapping[str, Any]) -> ShardLoad:  # Any: as another process wrote it
    load = told["load"]
    if load is not None and not math.isfinite(load):
        raise ValueError(f"a load of {load}")
    return ShardLoad(
        int(told["shard"]),
        None if load is None else float(load),
        int(told.get("players", 0)),
        int(told.get("entities", 0)),
        bool(told.get("asleep", False)),
        bool(told.get("divided", False)),
    )
