"""What the processes of a world must have the same, the layouts of what they say to each other among it."""

import dataclasses
import hashlib

from config.settings import load
from games.frontier import GAME
from server.regions.frame import ARRIVED, BOUND, DEPARTED, KNOWN, Frame
from server.roles.world import world_terms
from server.shard.lease import Lease, NodeInfo
from server.shard.machine import PROCESSED, SYSTEM_COMMANDS
from server.shard.mail import ACK, Letter
from server.shard.ports import BUS_VERSION
from server.shard.uplink import Answer, Packet


def layouts() -> str:
    """Of messages between processes: fields of those that travel by position, and records."""
    told: list[object] = [kind._fields for kind in (Packet, Answer, Letter)]
    told += [[field.name for field in dataclasses.fields(kind)] for kind in (Frame, Lease, NodeInfo)]
    told += [record.descr for record in (BOUND, KNOWN, DEPARTED, ARRIVED, PROCESSED, ACK)]
    told += [(command.id, command.name, command.dtype.descr) for command in SYSTEM_COMMANDS]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def test_a_message_that_looks_otherwise_is_of_another_version_of_the_bus():
    assert (BUS_VERSION, layouts()) == (4, "7b499a1fc205ccdc"), (
        "messages between gateways and nodes have changed: raise BUS_VERSION, unless what was said before is "
        "understood, and write down both here; the changelog says when it rises"
    )


def test_who_speaks_another_version_is_told_so():
    terms = world_terms(load(None, {}, environment={}), GAME)
    assert terms["the bus's version"] == str(BUS_VERSION)
