"""What befalls a cluster, by the kind of a fault."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.simulator.cluster import Cluster
from tests.simulator.plan import Fault

# (when, what is done then), in seconds of the world.
Ends = list[tuple[float, Callable[[], object]]]


def inject(cluster: Cluster, fault: Fault, ends: Ends, now_s: float) -> None:
    """Have it begin now; what ends it later is put to `ends`."""
    if not (_process(cluster, fault) or _player(cluster, fault, now_s) or _region(cluster, fault)):
        _around(cluster, fault, lambda end: ends.append((now_s + fault.amount, end)))


def _process(cluster: Cluster, fault: Fault) -> bool:
    """Whether it is one that befalls a node or a gateway."""
    process = cluster.running(cluster.everyone[fault.node])
    match fault.kind:
        case "kill" if process is not None:
            process.crash()
        case "die_at_effect" if process is not None:
            process.dies_at = (process.effects + fault.effects, fault.after)
        case "pause" if process is not None:
            process.pause(fault.amount)
        case "pause_at_effect" if process is not None:
            process.pauses_at = (process.effects + fault.effects, fault.amount)
        case "drain" if process is not None:
            cluster.send_away(process)
        case "move":
            cluster.move(fault.effects)
        case _:
            return False
    return True


def _player(cluster: Cluster, fault: Fault, now_s: float) -> bool:
    """Whether it is one that a player does."""
    player = cluster.crowd.players[fault.effects % len(cluster.crowd.players)]
    match fault.kind:
        case "hang_up":
            player.leave(now_s, fault.amount if fault.after else 0.0)
        case "stall":
            player.stop_reading(fault.amount)
        case "login":
            player.log_in_again(now_s, hangs_up=fault.after)
        case "stay_away":
            player.stay_away(now_s, math.inf if fault.after else now_s + fault.amount)
        case _:
            return False
    return True


def _region(cluster: Cluster, fault: Fault) -> bool:
    """Whether it is one that an operator wants of a region."""
    if fault.kind not in ("divide", "unite"):
        return False
    regions = cluster.atlas.regions
    cluster.wanted[regions[fault.effects % len(regions)].id] = fault.kind == "divide"
    return True


def _around(cluster: Cluster, fault: Fault, later: Callable[[Callable[[], object]], object]) -> None:
    """What all stand on; `later` is given what ends it."""
    net, medium = cluster.network, cluster.medium
    name, everyone = cluster.everyone[fault.node], frozenset({*cluster.everyone, "redis"})
    match fault.kind:
        case "partition":
            net.groups = [frozenset({name}), everyone - {name}]
            later(lambda: setattr(net, "groups", []))
        case "cut":
            # From one other: the leases' store, and then it runs on beyond its leases; or a gateway, or a node.
            others = sorted(everyone - {name})
            other = "redis" if fault.after else others[fault.effects % len(others)]
            net.groups = [everyone - {name}, everyone - {other}]
            later(lambda: setattr(net, "groups", []))
        case "redis_away":
            net.up = False
            later(lambda: setattr(net, "up", True))
        case "redis_forgets":
            cluster.leases.forget()
        case "store_away":
            medium.up = False
            later(lambda: setattr(medium, "up", True))
        case "sync_fails":
            medium.sync_fails = 0.3
            later(lambda: setattr(medium, "sync_fails", 0.0))
        case "loss":
            before, net.loss = net.loss, 0.6
            later(lambda: setattr(net, "loss", before))
