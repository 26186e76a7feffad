"""The command line: `everstep run | bots | schema | replay | inspect | mail | divide | unite | stretch | travel | ...`.

server/cluster_cli.py has the commands of a cluster, server/store_cli.py those of a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import orjson
import structlog
import typer
import uvloop

from config.settings import Settings
from server.api.ground import target as ground_target
from server.api.mailroom import target as letters_target
from server.api.travel import Worker
from server.app import opened as opened_world
from server.cluster_cli import cluster_cli
from server.commands import backup as backups
from server.commands import bots as crowds
from server.commands import mail as mails
from server.commands import replay as replays
from server.commands import stretch as stretches
from server.commands import travel as travels
from server.commands.kept import Kept, opened, told
from server.commands.options import (
    ConfigOption,
    DataOption,
    GameOption,
    LevelOption,
    ShardOption,
    ToOption,
    allow_connections,
    begun,
    load_game,
    read_settings,
    stop_signal,
    worker,
)
from server.host.errors import RecoveryError
from server.observe import logs
from server.roles.world import data_directory
from server.shard.errors import ShardError
from server.sim.errors import SimError
from server.sim.game import Game
from server.store.errors import StoreError, StoreFailed
from server.store_cli import store_cli

_log = structlog.get_logger("server.cli")

cli = typer.Typer(
    name="everstep",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An authoritative realtime game server: a world that ticks, and everyone who plays in it.",
)

cli.add_typer(store_cli)
cli.add_typer(cluster_cli)


def _tell_version(wanted: bool) -> None:  # noqa: FBT001  # as typer calls it
    if wanted:
        typer.echo(f"everstep {version('everstep')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
]


@cli.callback()
def _before_any_command(*, _version: VersionOption = False) -> None: ...


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
    settings = read_settings(
        config, {"server.host": host, "server.port": port, "server.data_dir": data, "log.level": log_level}
    )
    logs.configure(settings.log.level, settings.log.format)
    loaded = load_game(game)
    allow_connections(settings.gateway.connections_max)
    try:
        uvloop.run(_serve(settings, loaded, game, bots, worker(config, game, data)))
    except SimError as error:
        typer.echo(f"everstep: {game} can't run with these settings: {error}", err=True)
        raise typer.Exit(2) from None
    except (StoreError, RecoveryError, ShardError) as error:
        place, another = _kept_in(settings, loaded)
        typer.echo(f"everstep: the world kept in {place} can't go on: {error}", err=True)
        if isinstance(error, StoreFailed):
            typer.echo(
                "Whatever was confirmed to a player is kept. Once what it is kept on takes writes again", err=True
            )
            typer.echo("(free space, a sound disk, a database that answers), start it as before.", err=True)
        else:
            typer.echo(f"It is as it was. To begin another beside it: {another}.", err=True)
        raise typer.Exit(3) from None
    except OSError as error:
        typer.echo(f"everstep: can't listen on {settings.server.host}:{settings.server.port}: {error}", err=True)
        raise typer.Exit(1) from None


def _kept_in(settings: Settings, game: Game) -> tuple[str, str]:
    """What the world is kept in, and how to have another; no credentials."""
    if settings.store.kind == "mongodb":
        return f"the MongoDB database {settings.store.mongodb_database!r}", "store.mongodb_database with another name"
    return str(data_directory(settings, game)), "--data with another directory"


async def _serve(settings: Settings, game: Game, game_name: str, bots: int, past: Worker) -> None:
    stop = stop_signal()
    async with contextlib.AsyncExitStack() as stack:
        if (app := await begun(stack, opened_world(settings, game, past), stop)) is None:
            return
        typer.echo(f"{game.name} is running: open {app.url}")
        entities = sum(region.machine.world.count for region in app.regions.values())
        _log.info("started", game=game.name, url=app.url, regions=len(app.regions), entities=entities, bots=bots)
        crowd = crowds.start(app.ws_url, game_name, bots) if bots else None
        world, stopped = asyncio.create_task(app.run()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({world, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if world.done():
                world.result()
        finally:
            stopped.cancel()
            world.cancel()
            if crowd is not None:
                crowds.stop(crowd)
    _log.info("stopped", tick=app.machine.tick)


@cli.command()
def bots(
    url: Annotated[str, typer.Option(help="The world's WebSocket.")] = "ws://127.0.0.1:8080/ws",
    game: GameOption = "games.frontier",
    count: Annotated[int, typer.Option(min=1, max=5000, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(help="Names and decides their whims.")] = 1,
    log_level: LevelOption = None,
    *,
    until_eof: Annotated[bool, typer.Option("--until-eof", help="Stop when standard input ends, too.")] = False,
) -> None:
    """Have bots play a world that runs. Ctrl-C stops them."""
    level = read_settings(None, {"log.level": log_level}).log.level
    logs.configure(level, "console" if sys.stderr.isatty() else "json")
    uvloop.run(crowds.play(url, game, count, seed, until_eof=until_eof))


@cli.command()
def schema(
    game: GameOption = "games.frontier",
) -> None:
    """Print the wire schema of a game as JSON: what clients read in WELCOME."""
    loaded = load_game(game)
    tree = {**loaded.schema.to_wire(), "digest": loaded.schema.digest}
    typer.echo(orjson.dumps(tree, option=orjson.OPT_INDENT_2))


@cli.command()
def replay(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    to: ToOption = None,
    *,
    digest: Annotated[bool, typer.Option("--digest", help="Print tick and digest of every tick.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the entities at that tick there, as JSON lines.")] = None,
) -> None:
    """Replay what is kept, check it against its digests, and tell what it came to. The server may run meanwhile."""
    _over_kept(config, game, data, lambda kept: replays.replay(kept, shard, to, every_digest=digest, export=export))


inspect = typer.Typer(no_args_is_help=True, help="Look at what is kept. The server may run meanwhile.")
cli.add_typer(inspect, name="inspect")


@inspect.command("journal")
def inspect_journal(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    *,
    records: Annotated[bool, typer.Option("--records", help="A line for every record.")] = False,
) -> None:
    """What the journal holds."""
    _over_kept(config, game, data, lambda kept: replays.inspect_journal(kept, shard, records=records))


@inspect.command("checkpoints")
def inspect_checkpoints(
    config: ConfigOption = None, game: GameOption = "games.frontier", data: DataOption = None
) -> None:
    """Every checkpoint, read and judged."""
    _over_kept(config, game, data, replays.inspect_checkpoints)


@inspect.command("entity")
def inspect_entity(
    who: Annotated[int, typer.Argument(help="The entity's handle on the wire, or its number, as commands have it.")],
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    to: ToOption = None,
) -> None:
    """All that an entity was at a tick."""
    _over_kept(config, game, data, lambda kept: replays.inspect_entity(kept, shard, to, who))


@inspect.command("inputs")
def inspect_inputs(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    player: Annotated[str | None, typer.Option(help="The player's account.")] = None,
    session: Annotated[int | None, typer.Option(help="One session's number.")] = None,
) -> None:
    """All that a player did, tick by tick, as far back as the journal goes."""
    if player is None and session is None:
        raise typer.BadParameter("name somebody by --player or --session")
    _over_kept(config, game, data, lambda kept: replays.inspect_inputs(kept, shard, player, session))


@inspect.command("reach")
def inspect_reach(config: ConfigOption = None, game: GameOption = "games.frontier", data: DataOption = None) -> None:
    """Which ticks of each shard can be rebuilt."""
    _over_kept(config, game, data, stretches.inspect_reach)


@cli.command()
def stretch(
    to_file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; - for standard output.")],
    begin: Annotated[int, typer.Option("--from", min=0, help="The first tick.")],
    end: Annotated[int, typer.Option("--to", min=0, help="The last tick.")],
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    window: Annotated[
        tuple[float, float, float] | None, typer.Option(help="X, Y, REACH: only what is that near, in world units.")
    ] = None,
    bytes_max: Annotated[int, typer.Option(min=1, help="Bytes it may have.")] = 2**30,
    memory_bytes_max: Annotated[
        int | None, typer.Option(min=2**28, help="Give way to others, and take no more memory than this.")
    ] = None,
) -> None:
    """Write a stretch of the past as the frames that one who saw all of it would have been sent."""
    if memory_bytes_max is not None:
        stretches.stay_in_the_background(memory_bytes_max)

    async def write(kept: Kept) -> None:
        seen = stretches.Window(*window) if window is not None else None
        with contextlib.ExitStack() as stack:
            out = sys.stdout.buffer if str(to_file) == "-" else stack.enter_context(to_file.open("wb"))
            await stretches.write_stretch(kept, shard, begin, end, out, window=seen, bytes_max=bytes_max)

    _over_kept(config, game, data, write)


@cli.command()
def travel(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the page; 0 takes a free one.")] = 0,
) -> None:
    """Watch the past of what is kept, in a browser, whether its server runs or not. Prints the address to open."""
    settings = read_settings(config, {"server.data_dir": data})
    logs.configure("warning", "console" if sys.stderr.isatty() else "json")
    loaded = load_game(game)

    async def until_stopped() -> None:
        stop = stop_signal()
        # Where nothing is kept the page would only say so, to whoever had opened it.
        async with contextlib.AsyncExitStack() as stack:
            if await begun(stack, opened(data_directory(settings, loaded), loaded, settings), stop) is None:
                return
        async with travels.travelling(settings, worker(config, game, data), host, port) as url:
            typer.echo(f"open {url}")
            await stop.wait()

    told(until_stopped())


@cli.command()
def backup(
    to: Annotated[Path, typer.Argument(help="A new directory.")],
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
) -> None:
    """Copy what is kept while the server runs, and prove the copy by replaying it."""
    settings = read_settings(config, {"server.data_dir": data})
    loaded = load_game(game)
    listed = told(backups.backup(data_directory(settings, loaded), to, loaded, settings))
    typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2))


@cli.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A directory that `everstep backup` made.")],
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    to: ToOption = None,
) -> None:
    """Make a new data directory of a backup, as of its last tick or of an earlier one, and prove it by replaying it."""
    settings = read_settings(config, {"server.data_dir": data})
    loaded = load_game(game)
    listed = told(backups.restore(source, data_directory(settings, loaded), loaded, settings, to))
    typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2))


mail = typer.Typer(no_args_is_help=True, help="Letters between regions that nobody could use.")
cli.add_typer(mail, name="mail")

UrlOption = Annotated[
    str | None, typer.Option("--url", help="A server that runs, asked with operator.token. Else: what is kept.")
]
NumbersArgument = Annotated[
    list[int], typer.Argument(min=1, max=999_999_999, help="The letters' numbers, as `mail list` tells them.")
]


@mail.command("list")
def mail_list(
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    url: UrlOption = None,
) -> None:
    """Every such letter, and why. What is kept may be read while the server runs."""
    if url is None:
        _over_kept(config, game, data, lambda kept: mails.list_kept(kept, shard))
        return
    typer.echo(_asked(config, url, letters_target("list", shard, [])), nl=False)


@mail.command("replay")
def mail_replay(
    numbers: NumbersArgument,
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    url: UrlOption = None,
) -> None:
    """Send them again, as new letters. Without --url the world has to stand still: it makes one tick."""
    _act_on_mail("replay", numbers, config, game, data, shard, url)


@mail.command("drop")
def mail_drop(
    numbers: NumbersArgument,
    config: ConfigOption = None,
    game: GameOption = "games.frontier",
    data: DataOption = None,
    shard: ShardOption = None,
    url: UrlOption = None,
) -> None:
    """Forget them. Without --url the world has to stand still: it makes one tick."""
    _act_on_mail("drop", numbers, config, game, data, shard, url)


def _act_on_mail(
    action: str,
    numbers: list[int],
    config: Path | None,
    game: str,
    data: Path | None,
    shard: int | None,
    url: str | None,
) -> None:
    if url is not None:
        typer.echo(_asked(config, url, letters_target(action, shard, numbers)), nl=False)
        return
    settings = read_settings(config, {"server.data_dir": data})
    logs.configure("warning", "console" if sys.stderr.isatty() else "json")
    loaded = load_game(game)
    done = told(mails.act_on_kept(data_directory(settings, loaded), loaded, settings, shard, action, numbers))
    typer.echo(orjson.dumps(done))


RegionArgument = Annotated[int, typer.Argument(min=1, max=65_535, help="The region's number.")]
RunningOption = Annotated[str, typer.Option("--url", help="A server that runs, asked with operator.token.")]


@cli.command()
def divide(region: RegionArgument, url: RunningOption, config: ConfigOption = None) -> None:
    """Have a region be four for a while, each a shard of its own. The world has to have world.split_depth = 1."""
    typer.echo(_asked(config, url, ground_target("divide", region)), nl=False)


@cli.command()
def unite(region: RegionArgument, url: RunningOption, config: ConfigOption = None) -> None:
    """Have a region that was divided be one again."""
    typer.echo(_asked(config, url, ground_target("unite", region)), nl=False)


def _asked(config: Path | None, url: str, target: str) -> bytes:
    token = read_settings(config, {}).operator.token.get_secret_value()

    async def ask() -> bytes:
        return await asyncio.to_thread(mails.ask, url, token, target)

    return told(ask())


def _over_kept(
    config: Path | None, game: str, data: Path | None, work: Callable[[Kept], Coroutine[Any, Any, None]]
) -> None:
    """Do something with a data directory that is open for reading."""
    settings = read_settings(config, {"server.data_dir": data})
    # Standard output is for what was asked.
    logs.configure("warning", "console" if sys.stderr.isatty() else "json")
    loaded = load_game(game)

    async def over() -> None:
        async with opened(data_directory(settings, loaded), loaded, settings) as kept:
            await work(kept)

    told(over())


def main() -> None:
    """Entry point of `everstep`."""
    cli()
