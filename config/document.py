"""The settings as a TOML file and as tables, from their classes.

python -m config.document > config/everstep.toml
python -m config.document markdown
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from config.settings import ENVIRONMENT_PREFIX, Settings

_HEAD = f"""\
# Settings of an Everstep server, each with its default.
# Leave out what should stay as it is. `everstep run --config FILE` reads a file like this one.
# An environment variable wins over the file: {ENVIRONMENT_PREFIX}WORLD__SEED=7 sets world.seed.
"""


def toml() -> str:
    """The default file, every key with its description."""
    blocks = [_HEAD]
    for section, model in sections():
        lines = [f"# {model.__doc__}", f"[{section}]"]
        for key, field in model.model_fields.items():
            bounds = _bounds(field)
            text = f"{field.description} ({bounds})" if bounds else f"{field.description}"
            lines += textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
            lines.append(f"{key} = {_value(field)}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def markdown() -> str:
    """The reference, one table for each section."""
    blocks = []
    for section, model in sections():
        lines = [f"### `[{section}]`", "", f"{model.__doc__}", "", "| key | default | range | |", "|---|---|---|---|"]
        for key, field in model.model_fields.items():
            lines.append(f"| `{key}` | `{_value(field)}` | {_bounds(field)} | {field.description} |")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """(name, class) of each section, in the order of the file."""
    for name, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type), "Settings holds sections only"
        assert issubclass(model, BaseModel), "Settings holds sections only"
        yield name, model


def _value(field: FieldInfo) -> str:
    value: Any = field.default  # Any: whatever type the setting has
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        value = value.as_posix()
    # JSON's texts, numbers, booleans and arrays of texts are TOML's too.
    return json.dumps(value)


def _bounds(field: FieldInfo) -> str:
    """The range in words: "1 to 60", "above 0, to 300"; empty for what is no number."""
    if get_origin(field.annotation) is Literal:
        return ""
    least = most = ""
    for bound in field.metadata:
        match bound:
            case Ge(ge=number):
                least = f"{number:,}"
            case Gt(gt=number):
                least = f"above {number:,},"
            case Le(le=number):
                most = f"{number:,}"
    return f"{least} to {most}" if most else ""


if __name__ == "__main__":
    sys.stdout.write(markdown() if sys.argv[1:] == ["markdown"] else toml())
