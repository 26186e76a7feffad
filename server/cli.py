"""The command line: `everstep run | bots | schema`."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import structlog
import typer
import uvloop

from config.errors import ConfigError
from config.settings import Settings, load
from protocol.errors import SchemaError
from server.app import Everstep
from server.observe import logs
from server.sim.errors import SimError
from server.sim.game import Game
from server.store_cli import store_cli

_log = structlog.get_logger("server.cli")

cli = typer.Typer(
    name="everstep",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An authoritative realtime game server: a world that ticks, and everyone who plays in it.",
)

cli.add_typer(store_cli)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings as TOML; see config/everstep.toml.")]
GameOption = Annotated[str, typer.Option("--game", help="Python module or file that has a GAME.", metavar="MODULE")]
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


def _settings(config: Path | None, overrides: dict[str, Any]) -> Settings:  # Any: checked by the settings
    try:
        return load(config, overrides)
    except ConfigError as error:
        typer.echo(f"everstep: {error}", err=True)
        raise typer.Exit(2) from None


@cli.command()
def run(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of HTTP and WebSocket; 0 takes a free one.")] = None,
    bots: Annotated[int, typer.Option(min=0, max=5000, help="Bots that play along, in a process of their own.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Directory of everything kept on disk.")] = None,
    log_level: LevelOption = None,
) -> None:
    """Run a world and serve its players. Prints the URL to open; Ctrl-C stops it."""
    settings = _settings(
        config, {"server.host": host, "server.port": port, "server.data_dir": data, "log.level": log_level}
    )
    logs.configure(settings.log.level, settings.log.format)
    loaded = load_game(game)
    try:
        uvloop.run(_serve(settings, loaded, game, bots))
    except SimError as error:
        typer.echo(f"everstep: {game} can't run with these settings: {error}", err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"everstep: can't listen on {settings.server.host}:{settings.server.port}: {error}", err=True)
        raise typer.Exit(1) from None


async def _serve(settings: Settings, game: Game, game_name: str, bots: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Everstep(settings, game) as app:
        typer.echo(f"{game.name} is running: open {app.url}")
        _log.info("started", game=game.name, url=app.url, entities=app.machine.world.count, bots=bots)
        crowd = _start_bots(app.ws_url, game_name, bots) if bots else None
        world, stopped = asyncio.create_task(app.run()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({world, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if world.done():
                world.result()
        finally:
            stopped.cancel()
            world.cancel()
            if crowd is not None:
                crowd.terminate()
                crowd.wait()
    _log.info("stopped", tick=app.machine.tick)


def _start_bots(url: str, game: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "server", "bots", "--url", url, "--game", game, "--count", str(count)]
    return subprocess.Popen([*command, "--log-level", "warning"])  # noqa: S603  # our own program, no shell


@cli.command()
def bots(
    url: Annotated[str, typer.Option(help="The world's WebSocket.")] = "ws://127.0.0.1:8080/ws",
    game: GameOption = "games.frontier",
    count: Annotated[int, typer.Option(min=1, max=5000, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Names and decides their whims.")] = 1,
    log_level: LevelOption = None,
) -> None:
    """Have bots play a world that runs. Ctrl-C stops them."""
    from clients.python.bots import play  # noqa: PLC0415  # `everstep run` has no use for a client

    logs.configure(log_level or "info", "console" if sys.stderr.isatty() else "json")
    brains = importlib.util.find_spec(f"{game}.bots") if not game.endswith(".py") else None
    brain = importlib.import_module(f"{game}.bots").Brain if brains else None
    uvloop.run(play(url, count, seed, brain))


@cli.command()
def schema(
    game: GameOption = "games.frontier",
) -> None:
    """Print the wire schema of a game as JSON: what clients read in WELCOME."""
    loaded = load_game(game)
    tree = {**loaded.schema.to_wire(), "digest": loaded.schema.digest}
    typer.echo(orjson.dumps(tree, option=orjson.OPT_INDENT_2))


def main() -> None:
    """Entry point of `everstep`."""
    cli()
