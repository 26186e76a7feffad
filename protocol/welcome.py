"""Reading a WELCOME: the one message that is a tree of maps, checked to the leaf.

A client builds its decoders from this tree, so nothing in it may be left to fail
later: every number is of its type and range, every id is its place in its list, and
every record layout exists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from protocol.errors import InvalidArgument, MalformedMessage, ProtocolError, SchemaError
from protocol.limits import ARCHETYPES_MAX, EXACT_INT_MAX, HANDLE_MAX, REGION_MAX, SEQ_MAX
from protocol.messages import RegionInfo, SessionLimits, Welcome
from protocol.schema import HANDLE_DTYPE, Argument, ComponentSchema, Schema

_MISSING: Final = object()


def welcome_to_wire(welcome: Welcome) -> dict[str, Any]:  # Any: the msgpack tree
    """The map that WELCOME carries."""
    limits = welcome.limits
    return {
        "version": welcome.version,
        "session": welcome.session,
        "resume": welcome.resume,
        "resumed": welcome.resumed,
        "ack": welcome.ack,
        "taken": welcome.taken,
        "tick": welcome.tick,
        "tick_rate_hz": welcome.tick_rate_hz,
        "name": welcome.name,
        "regions": [
            {
                "id": r.id,
                "x": r.x,
                "y": r.y,
                "width": r.width,
                "height": r.height,
                "handle": r.handle,
                "margin": r.margin,
            }
            for r in welcome.regions
        ],
        "entity": {"region": welcome.entity[0], "handle": welcome.entity[1]},
        "limits": {
            "frame_bytes_max": limits.frame_bytes_max,
            "inputs_per_s": limits.inputs_per_s,
            "inputs_burst": limits.inputs_burst,
            "grace_s": limits.grace_s,
            "idle_s": limits.idle_s,
        },
        "schema": {**welcome.schema.to_wire(), "digest": welcome.schema.digest},
    }


def welcome_from_wire(tree: Any) -> Welcome:  # Any: as msgpack read it
    """Read what `welcome_to_wire` wrote.

    Raises MalformedMessage for a missing or mistyped entry, InvalidArgument for a number
    out of range, SchemaError for a schema that contradicts itself.
    """
    version = _int(tree, "version", 1, 255)
    entity = _get(tree, "entity", dict)
    limits = _get(tree, "limits", dict)
    return Welcome(
        version=version,
        session=_int(tree, "session", 0, EXACT_INT_MAX),
        resume=_get(tree, "resume", str),
        resumed=_get(tree, "resumed", bool),
        ack=_int(tree, "ack", 0, SEQ_MAX),
        # An older server says none.
        taken=_int(tree, "taken", 0, SEQ_MAX) if "taken" in tree else 0,
        tick=_int(tree, "tick", 0, EXACT_INT_MAX),
        tick_rate_hz=_positive(tree, "tick_rate_hz"),
        name=_get(tree, "name", str),
        regions=tuple(_region(r) for r in _get(tree, "regions", list)),
        entity=(_int(entity, "region", 0, REGION_MAX), _int(entity, "handle", 0, HANDLE_MAX)),
        limits=SessionLimits(
            frame_bytes_max=_int(limits, "frame_bytes_max", 1, EXACT_INT_MAX),
            inputs_per_s=_positive(limits, "inputs_per_s"),
            inputs_burst=_int(limits, "inputs_burst", 1, EXACT_INT_MAX),
            grace_s=_number(limits, "grace_s"),
            idle_s=_positive(limits, "idle_s"),
        ),
        schema=schema_from_wire(_get(tree, "schema", dict)),
    )


def schema_from_wire(tree: Any) -> Schema:  # Any: as msgpack read it
    """A schema that can be trusted to the last field. Raises SchemaError."""
    try:
        schema = Schema.from_wire(tree)
        _check_schema(schema)
    except ProtocolError as error:
        raise SchemaError(str(error)) from error
    except (ValueError, TypeError, OverflowError, IndexError, MemoryError) as error:
        raise SchemaError(f"not a schema: {error!r}") from error
    return schema


def _check_schema(schema: Schema) -> None:
    _typed(schema.game, str, "game")
    _typed(schema.version, int, "version")
    _check_numbers(schema)
    for component in schema.components:
        _check_component(component)
    _place(schema.position, schema.components, "position")
    fields = dict(schema.components[schema.position].fields)
    if not {"x", "y"} <= fields.keys():
        raise SchemaError("the position component needs fields x and y")
    for archetype in schema.archetypes:
        for c in archetype.components:
            _place(c, schema.components, f"archetype {archetype.name!r}")
    for command in schema.commands:
        _typed(command.latest_wins, bool, "latest_wins")
        _typed(command.reliable, bool, "reliable")
        _check_arguments(command.args)
    for event in schema.events:
        _check_arguments(event.args)
    # A layout that numpy refuses (a field named twice) is refused here.
    for handle in HANDLE_DTYPE:
        for component in schema.components:
            schema.change_dtype(component.id, handle)
        for archetype in schema.archetypes:
            schema.record_dtype(archetype.id, handle)


def _check_numbers(schema: Schema) -> None:
    """Names are text; a number is its entry's place, save for commands, which share theirs with the engine."""
    numbered: tuple[tuple[str, Sequence[Any]], ...] = (  # Any: the four kinds of entry
        ("component", schema.components),
        ("archetype", schema.archetypes),
        ("command", schema.commands),
        ("event", schema.events),
    )
    for what, entries in numbered:
        for place, entry in enumerate(entries):
            _typed(entry.id, int, f"{what} id")
            _typed(entry.name, str, f"{what} name")
            if what != "command" and entry.id != place:
                raise SchemaError(f"{what} {entry.name!r} has number {entry.id} at place {place}")
    if len({c.id for c in schema.commands}) != len(schema.commands):
        raise SchemaError("two commands share a number")
    if len(schema.archetypes) > ARCHETYPES_MAX:
        raise SchemaError(f"{len(schema.archetypes)} archetypes; at most {ARCHETYPES_MAX}")


def _check_component(component: ComponentSchema) -> None:
    for name, wire in component.fields:
        _typed(name, str, "field name")
        _typed(wire.size, int, f"size of {name!r}")
        for number in (wire.scale, wire.offset):
            if type(number) not in (int, float) or not math.isfinite(number):
                raise SchemaError(f"scale and offset of {name!r} must be finite numbers")


def _check_arguments(arguments: Sequence[Argument]) -> None:
    for a in arguments:
        _typed(a.name, str, "argument name")
        _typed(a.size, int, f"size of {a.name!r}")
        for bound in (a.minimum, a.maximum):
            if bound is not None and (type(bound) not in (int, float) or math.isnan(bound)):
                raise SchemaError(f"bounds of {a.name!r} must be numbers or nil")


def _typed(value: object, kind: type, what: str) -> None:
    if type(value) is not kind:
        raise SchemaError(f"{what} must be {kind.__name__}, not {value!r:.40}")


def _place(value: object, entries: Sequence[object], what: str) -> None:
    if type(value) is not int or not 0 <= value < len(entries):
        raise SchemaError(f"{what} names component {value!r:.40}, of {len(entries)}")


def _region(tree: Any) -> RegionInfo:  # Any: as msgpack read it
    handle = _get(tree, "handle", str)
    if handle not in HANDLE_DTYPE:
        raise InvalidArgument(f"a region's handle is one of {sorted(HANDLE_DTYPE)}, not {handle!r:.40}")
    return RegionInfo(
        id=_int(tree, "id", 0, REGION_MAX),
        x=_number(tree, "x"),
        y=_number(tree, "y"),
        width=_positive(tree, "width"),
        height=_positive(tree, "height"),
        handle=handle,
        # Servers of before there were borders say none.
        margin=_number(tree, "margin") if "margin" in tree else 0.0,
    )


def _get(tree: Any, key: str, kind: type) -> Any:  # Any: as msgpack read it
    value = tree.get(key, _MISSING) if type(tree) is dict else _MISSING
    if type(value) is not kind:
        raise MalformedMessage(f"WELCOME needs {key!r} of type {kind.__name__}")
    return value


def _int(tree: Any, key: str, low: int, high: int) -> int:  # Any: as msgpack read it
    value: int = _get(tree, key, int)
    if not low <= value <= high:
        raise InvalidArgument(f"WELCOME's {key!r} must be from {low} to {high}, not {value}")
    return value


def _number(tree: Any, key: str) -> float:  # Any: as msgpack read it
    value: Any = tree.get(key) if type(tree) is dict else None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InvalidArgument(f"WELCOME needs {key!r}, a finite number")
    return float(value)


def _positive(tree: Any, key: str) -> float:  # Any: as msgpack read it
    value = _number(tree, key)
    if not value > 0:
        raise InvalidArgument(f"WELCOME's {key!r} must be above 0, not {value}")
    return value
