"""What a game declares, what clients are told of it, and what a system is handed."""

import numpy as np
import pytest

from protocol.schema import Argument, Schema
from server.sim import (
    F32,
    I16,
    Archetype,
    Command,
    Component,
    DeclarationError,
    Event,
    Game,
    Tick,
    Wire,
    World,
    arg,
    column,
    text,
)
from server.sim.game import FIRST_COMMAND


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Hidden(Component):
    mood: F32 = column(np.float32)


class Health(Component):
    points: I16 = column(np.int16, wire=Wire("u8"))
    secret: I16 = column(np.int16)


class Move(Command):
    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Buy(Command):
    reliable = True
    item: int = arg("u16")


class Said(Event):
    who: int = arg("entity")
    words: bytes = arg("utf8", size=20)


class Rang(Event):
    pass


AVATAR = Archetype("avatar", Health, Position)
SPIRIT = Archetype("spirit", Hidden, Health)


def setup(world: World, tick: Tick) -> None:
    pass


def walk(world: World, tick: Tick) -> None:
    pass


def think(world: World, tick: Tick) -> None:
    pass


def enter(world: World, tick: Tick, session: int, name: str) -> int:
    return int(world.spawn(AVATAR)[0])


def make(**changes):
    parts = {
        "name": "meadow",
        "version": 3,
        "position": Position,
        "archetypes": (AVATAR, SPIRIT),
        "commands": (Move, Buy),
        "events": (Said, Rang),
        "systems": (walk, think),
        "setup": setup,
        "join": enter,
    }
    return Game(**{**parts, **changes})


def tick():
    return Tick(7, 0.05, 11, {}, system="walk")


def test_components_are_numbered_in_order_of_first_naming():
    game = make()
    assert game.components == (Position, Health, Hidden)
    assert game.replicated == (Position, Health)


def test_the_schema_tells_what_is_on_the_wire_and_no_more():
    schema = make().schema
    assert [(c.id, c.name, [n for n, _ in c.fields]) for c in schema.components] == [
        (0, "Position", ["x", "y"]),
        (1, "Health", ["points"]),
    ]
    # A spirit has no place, so nobody sees any of it.
    assert [(a.id, a.name, a.components) for a in schema.archetypes] == [(0, "avatar", (1, 0)), (1, "spirit", ())]
    assert [(c.id, c.name, c.latest_wins, c.reliable) for c in schema.commands] == [
        (FIRST_COMMAND, "Move", True, False),
        (FIRST_COMMAND + 1, "Buy", False, True),
    ]
    assert schema.commands[0].args == (Argument("dx", "f32", -1, 1), Argument("dy", "f32", -1, 1))
    assert [(e.id, e.name, [a.name for a in e.args]) for e in schema.events] == [
        (0, "Said", ["who", "words"]),
        (1, "Rang", []),
    ]
    assert (schema.game, schema.version, schema.position) == ("meadow", 3, 0)
    assert Schema.from_wire(schema.to_wire()) == schema


def component(name, **columns):
    return type(name, (Component,), columns)


def x(kind="u16", scale=1.0, axis="x"):
    return column(np.float32, wire=Wire(kind, scale=scale, axis=axis))


def y(kind="u16", scale=1.0, axis="y"):
    return x(kind, scale, axis)


def command(**args):
    return type("Do", (Command,), args)


def named(name):
    def system(world, tick):
        pass

    system.__name__ = name
    return system


@pytest.mark.parametrize(
    "changes",
    [
        {"position": Hidden},
        {"position": component("P", x=x())},
        {"position": component("P", x=x(), y=column(np.float32))},
        {"position": component("P", x=x(axis="y"), y=y(axis="x"))},
        {"position": component("P", x=x(axis=""), y=y())},
        {"position": component("P", x=x(), y=y(scale=2.0))},
        {"position": component("P", x=x("u32"), y=y())},
        {"position": component("P", x=x("i8"), y=y("i8"))},
        {"systems": (walk, think, walk)},
        {"systems": (walk, named("join"))},
        {"archetypes": (AVATAR, Archetype("avatar", Position))},
        {"commands": (Move, type("Move", (Command,), {}))},
        {"commands": (type("Position", (Command,), {}),)},
        {"commands": (type("Do", (Command,), {"reliable": True, "latest_wins": True}),)},
        {"events": (type("Move", (Event,), {}),)},
        *({"commands": (command(**{n: arg("u8")}),)} for n in ("session", "seq", "row", "class", "args", "reliable")),
        *({"events": (type("Done", (Event,), {n: arg("u8")}),)} for n in ("to", "at", "event", "self")),
    ],
)
def test_parts_that_contradict_each_other(changes):
    with pytest.raises(DeclarationError):
        make(**changes)


def test_a_command_is_its_records_as_arrays():
    dtype = make().schema.commands[0].dtype
    records = np.array([(1, 5, 0.5, -0.5), (2, 9, 1.0, 0.0)], dtype)
    moves = Move(np.array([3, 4]), records)
    assert len(moves) == 2
    assert moves.row.tolist() == [3, 4]
    assert moves.session.tolist() == [1, 2]
    assert moves.seq.tolist() == [5, 9]
    assert moves.dx.tolist() == [0.5, 1.0]
    assert moves.dy.tolist() == [-0.5, 0.0]


def test_commands_inherit_arguments():
    class Run(Move):
        speed: int = arg("u8")

    assert [a.name for a in Run.args] == ["dx", "dy", "speed"]
    assert [a.name for a in Move.args] == ["dx", "dy"]
    assert Run.latest_wins


def test_emit_spreads_scalars_over_rows():
    t = tick()
    t.emit(Said, to=np.array([4, 6]), who=np.array([1, 2]), words=b"hello")
    (emitted,) = t.emitted
    assert emitted.event is Said
    assert emitted.to.tolist() == [4, 6]
    assert emitted.at is None
    assert [v.tolist() for v in emitted.values] == [[1, 2], [b"hello", b"hello"]]


def test_emit_to_a_place_or_to_everyone():
    t = tick()
    t.emit(Said, at=(np.array([1.0]), np.array([2.0])), who=3, words=b"x")
    t.emit(Said, who=np.array([1, 2, 3]), words=b"x")
    t.emit(Rang)
    place, all_three, rang = t.emitted
    assert [a.tolist() for a in place.at] == [[1.0], [2.0]]
    assert all_three.to is None
    assert all_three.at is None
    assert [len(v) for v in all_three.values] == [3, 3]
    assert rang.values == ()


def test_emit_keeps_what_was_said_when_it_was_said():
    t = tick()
    xs, to, who = np.array([1.0], np.float32), np.array([5]), np.array([2])
    t.emit(Said, at=(xs, xs), who=who, words=b"")
    t.emit(Said, to=to, who=1, words=b"")
    xs[:] = to[:] = who[:] = 9
    assert t.emitted[0].at[0].tolist() == [1.0]
    assert t.emitted[0].values[0].tolist() == [2]
    assert t.emitted[1].to.tolist() == [5]


def test_emit_to_nobody_is_nothing():
    t = tick()
    none = np.zeros(0, np.int64)
    t.emit(Said, to=none, who=1, words=b"")
    t.emit(Said, at=(none, none), who=1, words=b"")
    t.emit(Said, who=none, words=b"")
    assert t.emitted == []


@pytest.mark.parametrize("values", [{}, {"who": 1}, {"who": 1, "words": b"", "loud": True}])
def test_emit_wants_exactly_the_declared_arguments(values):
    with pytest.raises(DeclarationError, match="Said takes"):
        tick().emit(Said, **values)


def test_randomness_is_keyed_by_the_running_system_and_stream():
    rows = np.arange(50)
    t = tick()
    draws = [t.random().bits(rows).tolist(), t.random("other").bits(rows).tolist()]
    t.system = "think"
    draws.append(t.random().bits(rows).tolist())
    assert draws[0] != draws[1] != draws[2] != draws[0]
    assert tick().random().bits(rows).tolist() == draws[0]


def test_a_game_makes_its_world_and_default_leave_ends_the_entity():
    game = make()
    world = game.world(10, (0, 0, 8, 8))
    row = game.join(world, tick(), 1, "Ann")
    assert world.rows(Position).tolist() == [row]
    game.away(world, tick(), row)
    game.back(world, tick(), row)
    assert world.count == 1
    game.leave(world, tick(), row)
    assert world.count == 0


@pytest.mark.parametrize(("value", "shown"), [(b"Ann", "Ann"), ("é".encode(), "é"), (b"\xff!", "\ufffd!"), (b"", "")])
def test_text_never_fails(value, shown):
    assert text(value) == shown
