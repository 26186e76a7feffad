"""The ports: every adapter we have fits them, and no two topics meet."""

from typing import Protocol

from server.bus.memory import MemoryBus
from server.host.clock import LoopClock
from server.shard.machine import Machine
from server.shard.ports import (
    Bus,
    CheckpointStore,
    Clock,
    JournalStore,
    commands_topic,
    frames_topic,
    keyframes_topic,
    receipts_topic,
)
from server.store.checkpoint_files import FileCheckpoints
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from server.store.mongo import MongoJournal
from server.store.mongo_checkpoints import MongoCheckpoints
from server.store.sqlite import SqliteJournal
from tests.support.clock import VirtualClock
from tests.support.pasture import pasture


def public(port):
    """What a port asks for, and what the ports that it extends do."""
    return {name for part in port.__mro__ if part is not Protocol for name in vars(part) if name[0] != "_"}


def test_every_adapter_has_what_its_port_asks_for():
    adapters = [(Clock, LoopClock()), (Clock, VirtualClock()), (JournalStore, MemoryJournal()), (Bus, MemoryBus())]
    stores = [(JournalStore, SqliteJournal), (CheckpointStore, FileCheckpoints), (CheckpointStore, MemoryCheckpoints)]
    stores += [(JournalStore, MongoJournal), (CheckpointStore, MongoCheckpoints)]
    for port, adapter in [*adapters, *stores, (Machine, pasture())]:
        assert public(port)
        assert public(port) <= set(dir(adapter)), adapter


def test_no_two_topics_meet():
    kinds = (commands_topic, frames_topic, keyframes_topic, receipts_topic)
    topics = {topic(shard) for topic in kinds for shard in (0, 1, 11, 2**32 - 1)}
    assert len(topics) == 16
