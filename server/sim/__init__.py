"""The pure core: entities as numpy columns, systems in one visible order, deterministic maths.

from server.sim import Component, Archetype, Game, World, Tick, column, ...
"""

from protocol.schema import Wire
from server.sim import dmath
from server.sim.component import (
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Archetype,
    Bool,
    Bytes,
    Component,
    Rows,
    column,
)
from server.sim.errors import CapacityError, DeclarationError, MigrationError, SimError, SnapshotError
from server.sim.far import Far
from server.sim.game import Game, Tick, text
from server.sim.grid import Grid, Neighbours
from server.sim.history import History
from server.sim.messages import Command, Event, Mail, arg
from server.sim.migrate import Migration, Saved
from server.sim.rng import Random
from server.sim.world import World

__all__ = [
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "Archetype",
    "Bool",
    "Bytes",
    "CapacityError",
    "Command",
    "Component",
    "DeclarationError",
    "Event",
    "Far",
    "Game",
    "Grid",
    "History",
    "Mail",
    "Migration",
    "MigrationError",
    "Neighbours",
    "Random",
    "Rows",
    "Saved",
    "SimError",
    "SnapshotError",
    "Tick",
    "Wire",
    "World",
    "arg",
    "column",
    "dmath",
    "text",
]
