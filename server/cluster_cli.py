"""`everstep node | gateway | nodes | drain | balance`: a world on many nodes, and what an operator asks of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Protocol

import structlog
import typer
import uvloop

from config.settings import Settings
from server.api.travel import Worker
from server.commands import cluster
from server.commands.options import (
    ConfigOption,
    DataOption,
    GameOption,
    LevelOption,
    allow_connections,
    begun,
    ended,
    load_game,
    read_settings,
    stop_signal,
    worker,
)
from server.observe import logs
from server.roles.errors import RoleError, SettingsRefuse
from server.roles.gateway import gateway_process
from server.roles.node import called, node_process
from server.sim.errors import SimError
from server.sim.game import Game
from server.store.errors import StoreError

_log = structlog.get_logger("server.cli")

cluster_cli = typer.Typer()

HostOption = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]


@cluster_cli.command()
def gateway(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port of HTTP and WebSocket; 0 takes a free one.")] = None,
    data: DataOption = None,
    log_level: LevelOption = None,
) -> None:
    """Take players of a world that nodes run. Prints the URL to open; Ctrl-C stops it."""
    settings = read_settings(
        config, {"server.host": host, "server.port": port, "server.data_dir": data, "log.level": log_level}
    )
    logs.configure(settings.log.level, settings.log.format)
    loaded = load_game(game)
    allow_connections(settings.gateway.connections_max)
    _run(_gateway(settings, loaded, worker(config, game, data)), game, settings.server.host, settings.server.port)


@cluster_cli.command()
def node(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    name: Annotated[str | None, typer.Option(help="What operators call it; unless told, as the machine.")] = None,
    host: HostOption = None,
    port: Annotated[int | None, typer.Option(help="Port of health and metrics; 0 takes a free one.")] = None,
    data: DataOption = None,
    log_level: LevelOption = None,
    *,
    standby: Annotated[
        bool | None, typer.Option("--standby/--no-standby", help="Follow regions of others to take them over at once.")
    ] = None,
) -> None:
    """Run regions of a world, as many as are this node's. Ctrl-C has it give them to other nodes and end."""
    settings = read_settings(
        config,
        {
            "node.name": name,
            "node.host": host,
            "node.port": port,
            "node.standby": standby,
            "server.data_dir": data,
            "log.level": log_level,
        },
    )
    logs.configure(settings.log.level, settings.log.format)
    _run(_node(settings, load_game(game)), game, settings.node.host, settings.node.port)


@cluster_cli.command()
def nodes(config: ConfigOption = None) -> None:
    """Tell which nodes there are, and what each of them runs."""
    settings = _quiet(config)

    async def tell() -> None:
        for line in cluster.described(await cluster.look(settings)):
            typer.echo(line)

    _asked(tell())


@cluster_cli.command()
def drain(
    node: Annotated[str | None, typer.Argument(help="Its name; unless told, that of this machine's.")] = None,
    config: ConfigOption = None,
) -> None:
    """Have a node give its regions to others, without a player noticing, and end. Returns when it is gone."""
    settings = _quiet(config)

    async def tell() -> None:
        async for line in cluster.drain(settings, node or called(settings)):
            typer.echo(line)

    _asked(tell())


@cluster_cli.command()
def balance(
    config: ConfigOption = None,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell what the nodes would do, and why; nothing is done.")
    ] = False,
) -> None:
    """Tell who runs what, how busy it is, and what would be moved, divided or united."""
    if not plan:
        raise typer.BadParameter("nodes balance by themselves (node.balance); --plan tells what they would do")
    settings = _quiet(config)

    async def tell() -> None:
        seen = await cluster.look(settings)
        for line in cluster.told(seen, cluster.planned(settings, seen), balance=settings.node.balance):
            typer.echo(line)

    _asked(tell())


async def _gateway(settings: Settings, game: Game, past: Worker) -> None:
    stop = stop_signal()
    async with contextlib.AsyncExitStack() as stack:
        if (process := await begun(stack, gateway_process(settings, game, past), stop)) is None:
            return
        typer.echo(f"{game.name} is open: {process.front.url}")
        _log.info("started", role="gateway", game=game.name, url=process.front.url)
        await _until(process, stop)
    _log.info("stopped", role="gateway")


async def _node(settings: Settings, game: Game) -> None:
    stop = stop_signal()
    async with contextlib.AsyncExitStack() as stack:
        if (process := await begun(stack, node_process(settings, game, stop.set), stop)) is None:
            return
        typer.echo(f"node {process.name} is running: {process.url}")
        _log.info("started", role="node", game=game.name, node=process.name, url=process.url)
        await _until(process, stop)
    _log.info("stopped", role="node", node=process.name)


class _Process(Protocol):
    async def run(self) -> None: ...
    async def drain(self) -> None: ...


async def _until(process: _Process, stop: asyncio.Event) -> None:
    """Run it until it is told to stop, and then until it has given away what it can. Raises what it ends with."""
    running = asyncio.create_task(process.run())

    async def stopped() -> None:
        await stop.wait()
        # A second signal does not wait for others to take over.
        stop.clear()
        again = asyncio.create_task(stop.wait())
        draining = asyncio.create_task(process.drain())
        await asyncio.wait({again, draining}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        draining.cancel()

    stopping = asyncio.create_task(stopped())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        stopping.result()
    finally:
        stopping.cancel()
        await ended(running)


def _run(serving: Coroutine[Any, Any, None], game: str, host: str, port: int) -> None:
    """Until it ends; what ends it is told in a sentence, with the status that docs/operating.md lists."""
    try:
        uvloop.run(serving)
    except (SimError, SettingsRefuse) as error:
        typer.echo(f"everstep: {game} can't run with these settings: {error}", err=True)
        raise typer.Exit(2) from None
    except StoreError as error:
        typer.echo(f"everstep: the world's store can't be used: {error}", err=True)
        raise typer.Exit(3) from None
    except RoleError as error:
        typer.echo(f"everstep: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"everstep: can't listen on {host}:{port}: {error}", err=True)
        raise typer.Exit(1) from None


def _quiet(config: Path | None) -> Settings:
    # Standard output is for what was asked.
    logs.configure("warning", "console" if sys.stderr.isatty() else "json")
    return read_settings(config, {})


def _asked(asking: Coroutine[Any, Any, None]) -> None:
    try:
        uvloop.run(asking)
    except SettingsRefuse as error:
        typer.echo(f"everstep: {error}", err=True)
        raise typer.Exit(2) from None
    except TimeoutError:
        typer.echo("everstep: it takes longer than it may; see its log", err=True)
        raise typer.Exit(1) from None
    except (RoleError, StoreError, cluster.NoSuchNode) as error:
        typer.echo(f"everstep: {error}", err=True)
        raise typer.Exit(1) from None
