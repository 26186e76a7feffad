"""Structured logs: one JSON object per line (orjson), or lines for a person.

`configure` once at the start; `structlog.get_logger(__name__)` wherever a logger is needed. What
other libraries log through `logging` takes the same way out. Values under a
name that speaks of a secret are blotted out, whoever logs them.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import orjson
import structlog
from pydantic import SecretBytes, SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

BLOT: Final = "[secret]"
# Names of values that are never written: jwt_secret, token, resume, Authorization, set-cookie, password, api_key.
_SECRET: Final = re.compile(r"secret|token|resume$|authori[sz]ation|cookie|passw|credential|api_?key", re.IGNORECASE)
# How deep into nested values the blotting looks; deeper ones are left out as a whole.
_DEPTH_MAX: Final = 6

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", format: str = "json", stream: TextIO | None = None) -> None:
    """Set up all logging of the process. May be called again.

    `level`: a key of LEVELS. `format`: "json" or "console". `stream`: standard error unless told; standard output
    is left to what the user asked for.
    """
    out = sys.stderr if stream is None else stream
    threshold = LEVELS[level]
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks as plain text: structlog's richer ones show local variables, and with them secrets.
    after: list[Processor] = (
        [_headed, blot, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_dumps)]
        if format == "json"
        else [
            blot,
            structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *name: _NamedLogger(out, str(name[0]) if name else "everstep"),
        # Loggers made before a second `configure` must follow it.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
        )
    )
    logging.basicConfig(level=threshold, handlers=[handler], force=True)
    # The WebSocket library logs every handshake at info and every frame at debug: with 20,000 clients only its
    # warnings are worth a line.
    logging.getLogger("websockets").setLevel(max(threshold, logging.WARNING))


class _NamedLogger(structlog.WriteLogger):
    """A writer that knows which module its lines come from, as `logging`'s loggers do."""

    def __init__(self, file: TextIO, name: str) -> None:
        super().__init__(file)
        self.name = name


def _headed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put first what every line has, so that a person can read the JSON, too."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "logger", "event") if key in event}
    return {**head, **event}


def blot(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace what may be a secret, at any depth."""
    return {key: _blotted(key, value, _DEPTH_MAX) for key, value in event.items()}


def _blotted(key: str, value: Any, depth: int) -> Any:  # Any: whatever was logged
    if isinstance(value, SecretStr | SecretBytes):
        return BLOT
    if _SECRET.search(key) and isinstance(value, str | bytes | dict):
        return BLOT
    if isinstance(value, dict):
        return {k: _blotted(str(k), v, depth - 1) for k, v in value.items()} if depth else "…"
    if isinstance(value, list | tuple):
        return [_blotted(key, v, depth - 1) for v in value] if depth else "…"
    return value


def _dumps(value: Any, default: Callable[[Any], Any]) -> str:  # Any: whatever was logged
    # Keys that are numbers and numpy scalars are common in what the simulation reports.
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(value, default=default, option=options).decode()
