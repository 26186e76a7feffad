"""What the commands have in common: options, the game, the settings, how a process is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import resource
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import structlog
import typer

from config.errors import ConfigError
from config.settings import Settings, load
from protocol.errors import SchemaError
from server.api.travel import Worker
from server.sim.errors import SimError
from server.sim.game import Game

_log = structlog.get_logger("server.cli")

_T = TypeVar("_T")

# Stores, logs, the loop's own.
_FILES_BESIDE_CONNECTIONS = 64
# Seconds after which something that was cancelled and goes on is cancelled again.
_AGAIN_S: Final = 1.0

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings as TOML; see config/everstep.toml.")]
GameOption = Annotated[str, typer.Option("--game", help="Python module or file that has a GAME.", metavar="MODULE")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Directory of everything kept on disk.")]
ShardOption = Annotated[int | None, typer.Option("--shard", help="Number of the shard; not needed where there is one.")]
ToOption = Annotated[int | None, typer.Option("--to", min=0, help="Tick to stop at; the last one unless told.")]
LevelOption = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]


def load_game(name: str) -> Game:
    """The GAME of a module name (`games.frontier`) or a file (`meadow.py`). Raises typer.BadParameter."""
    if not (name.endswith(".py") or all(part.isidentifier() for part in name.split("."))):
        raise typer.BadParameter(f"{name!r} is no module's name and no .py file", param_hint="--game")
    try:
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(name).stem, name)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            # Dataclasses and typing look a class's module up by name.
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, "")
            module = importlib.import_module(name)
    except (ImportError, OSError, SyntaxError, SimError, SchemaError) as error:
        raise typer.BadParameter(f"{name}: {error}", param_hint="--game") from error
    game = getattr(module, "GAME", None)
    if not isinstance(game, Game):
        raise typer.BadParameter(f"{name} has no GAME of type server.sim.Game", param_hint="--game")
    return game


def read_settings(config: Path | None, overrides: dict[str, Any]) -> Settings:  # Any: checked by the settings
    """The settings, or the reasons why there are none and status 2."""
    try:
        return load(config, overrides)
    except ConfigError as error:
        typer.echo(f"everstep: {error}", err=True)
        raise typer.Exit(2) from None


def allow_connections(connections_max: int) -> None:
    """Let the process have as many files as connections are wanted, or say that it can't."""
    wanted = connections_max + _FILES_BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < connections_max:
        _log.warning("fewer files than connections", files_max=allowed, connections_max=connections_max)


def worker(config: Path | None, game: str, data: Path | None) -> Worker:
    """This very program, as it is called to rebuild what these options name."""
    kept = ["--game", game]
    kept += ["--config", str(config)] if config is not None else []
    kept += ["--data", str(data)] if data is not None else []
    return Worker([sys.executable, "-m", "server"], kept)


def stop_signal() -> asyncio.Event:
    """Set by SIGINT and SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def begun(
    stack: contextlib.AsyncExitStack, beginning: contextlib.AbstractAsyncContextManager[_T], stop: asyncio.Event
) -> _T | None:
    """What it is once it has begun; the stack ends it. None where `stop` comes first: it is ended then.

    To begin may take as long as a store is away.
    """
    entering, stopped = asyncio.create_task(stack.enter_async_context(beginning)), asyncio.create_task(stop.wait())
    await asyncio.wait({entering, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    await ended(entering)
    if entering.cancelled():
        _log.info("stopped before it had begun")
        return None
    return entering.result()


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel it, where it is not done, and wait for its end."""
    while not task.done():
        # Once may not be enough: before Python 3.12 a driver's `wait_for` takes a cancellation for itself where
        # what it waits for is done in the same turn of the loop.
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_S)
