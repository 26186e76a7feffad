"""Checking a client's commands against the schema, once, at the edge.

What passes fits a record of `CommandSchema.dtype` exactly and lies within the
declared bounds, so that nothing behind the gateway looks at a value again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from protocol.errors import InvalidArgument, UnknownMessage
from protocol.limits import HANDLE_MAX, REGION_MAX
from protocol.messages import Input
from protocol.schema import ENTITY, NUMBER_TYPES, UTF8, Argument, CommandSchema, Schema

# Any: a value as msgpack read it, of whatever type the client chose.
Check = Callable[[Any], int | float | bytes]

_F32_MAX: Final = float(np.finfo(np.float32).max)

# Characters no text may hold: the control characters (Unicode category Cc), which
# include NUL and line ends, and those that end a line or turn the reading direction,
# with which one player's text could disguise itself as another's.
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class CommandReader:
    """Checks the arguments of every command of a schema.

    `number_of`: (where it is said, region, handle) -> the number of the entity that has this handle in this region, 0
    for nobody; see `World.id_of`.
    """

    def __init__(self, schema: Schema, number_of: Callable[[int, int, int], int]) -> None:
        self._commands: dict[int, tuple[CommandSchema, tuple[Check, ...]]] = {
            command.id: (command, tuple(_checker(command, argument, number_of) for argument in command.args))
            for command in schema.commands
        }

    def read(self, message: Input, region: int = 0) -> tuple[int | float | bytes, ...]:
        """The arguments in schema order.

        A bool becomes 0 or 1, utf8 its bytes, f32 a float; an int is taken for f32. An entity becomes its number.
        `region`: where it is said, and whose handle a bare one is.
        Raises UnknownMessage for a command the schema lacks, InvalidArgument for
        arguments that are not what it declares.
        """
        known = self._commands.get(message.command)
        if known is None:
            raise UnknownMessage(f"there is no command {message.command}")
        command, checks = known
        args = message.args
        if len(args) != len(checks):
            raise InvalidArgument(f"{command.name} takes {len(checks)} arguments, not {len(args)}")
        if command.entities:
            args = [(region, v) if n in command.entities else v for n, v in enumerate(args)]
        return tuple([check(value) for check, value in zip(checks, args, strict=True)])


def _checker(command: CommandSchema, argument: Argument, number_of: Callable[[int, int, int], int]) -> Check:
    where = f"{command.name}.{argument.name}"
    if argument.type == UTF8:
        return _text_checker(where, argument.size)
    if argument.type == ENTITY:
        return _entity_checker(where, number_of)
    if argument.type == "f32":
        return _float_checker(where, argument)
    low, high = _int_bounds(argument)
    return _int_checker(where, bool if argument.type == "bool" else int, low, high, "")


def _int_bounds(argument: Argument) -> tuple[int, int]:
    if argument.type == "bool":
        low, high = 0, 1
    else:
        info = np.iinfo(np.dtype(NUMBER_TYPES[argument.type]))
        low, high = int(info.min), int(info.max)
    # A bound that is not finite bounds nothing; a fractional one moves inwards.
    if argument.minimum is not None and math.isfinite(argument.minimum):
        low = max(low, math.ceil(argument.minimum))
    if argument.maximum is not None and math.isfinite(argument.maximum):
        high = min(high, math.floor(argument.maximum))
    return low, high


def _int_checker(where: str, kind: type[int], low: int, high: int, what: str) -> Check:
    wanted = "a bool" if kind is bool else f"{what}an int from {low} to {high}"

    # `type(...) is`: True is an int to isinstance, and must not pass for one.
    def check(value: Any) -> int:
        if type(value) is kind and low <= value <= high:
            return int(value)
        raise InvalidArgument(f"{where} must be {wanted}")

    return check


def _entity_checker(where: str, number_of: Callable[[int, int, int], int]) -> Check:
    def check(value: Any) -> int:
        here, told = value
        match [here, told] if type(told) is int else told:
            case [int(region), int(handle)] if 0 <= region <= REGION_MAX and 0 <= handle <= HANDLE_MAX:
                if type(region) is int and type(handle) is int:
                    return number_of(here, region, handle)
        raise InvalidArgument(f"{where} must be an entity: its handle, or [region, handle]")

    return check


def _float_checker(where: str, argument: Argument) -> Check:
    low = -_F32_MAX if argument.minimum is None else max(-_F32_MAX, float(argument.minimum))
    high = _F32_MAX if argument.maximum is None else min(_F32_MAX, float(argument.maximum))

    # NaN fails both comparisons, an infinity one: no test of their own is needed. Rounding
    # to f32 is monotonic, so the record lies within the bounds rounded the same way.
    def check(value: Any) -> float:
        kind = type(value)
        if (kind is float or kind is int) and low <= value <= high:
            return float(value)
        raise InvalidArgument(f"{where} must be a finite number from {low:.9g} to {high:.9g}")

    return check


def _text_checker(where: str, size: int) -> Check:
    def check(value: Any) -> bytes:
        if type(value) is not str:
            raise InvalidArgument(f"{where} must be text")
        try:
            data = value.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"{where} must be text without lone surrogates") from None
        if len(data) > size:
            raise InvalidArgument(f"{where} must be at most {size} bytes of UTF-8, not {len(data)}")
        if CONTROL.search(value):
            raise InvalidArgument(f"{where} must be without control characters")
        return data

    return check
