"""`everstep store`: what an operator does to a database before servers use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.options import ConfigOption, read_settings
from server.store.errors import StoreError

if TYPE_CHECKING:
    from server.store.mongo_client import Client

store_cli = typer.Typer(
    name="store",
    help="Prepare the database of a world on many machines. SQLite needs none of this.",
    no_args_is_help=True,
)

UriOption = Annotated[
    str | None, typer.Option("--uri", help="mongodb:// or mongodb+srv://; unless told, store.mongodb_uri.")
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="Its name in MongoDB; unless told, store.mongodb_database.")
]


@store_cli.callback()
def _needs_the_driver() -> None:
    if find_spec("pymongo") is None:
        typer.echo("everstep: MongoDB needs a driver: pip install 'everstep[mongo]'", err=True)
        raise typer.Exit(1)


@store_cli.command()
def init(
    config: ConfigOption = None,
    uri: UriOption = None,
    database: DatabaseOption = None,
    zone: Annotated[
        list[str] | None,
        typer.Option(
            help="Where shards of the game stay: NAME=DATABASE_SHARDS:SHARDS, such as eu=rs0,rs1:1-20,35. Repeatable."
        ),
    ] = None,
    audit_days: Annotated[int, typer.Option(min=1, max=20_000, help="Days after which audits are forgotten.")] = 180,
) -> None:
    """Make collections, indexes and, on a sharded cluster, the sharding. Makes what is missing; may be run any time."""
    from server.store import mongo_layout  # noqa: PLC0415  # the driver may not be installed

    address, name = _named(config, uri, database)
    zones = [mongo_layout.Zone(*parse_zone(text)) for text in zone or ()]

    async def make(client: Client) -> list[str]:
        return await mongo_layout.init(client, name, zones=zones, audit_days=audit_days)

    for line in _ask(address, make) or [f"{name}: everything is there already"]:
        typer.echo(line)


@store_cli.command()
def check(config: ConfigOption = None, uri: UriOption = None, database: DatabaseOption = None) -> None:
    """Say whether the database is laid out as servers need it."""
    from server.store import mongo_layout  # noqa: PLC0415  # the driver may not be installed

    address, name = _named(config, uri, database)

    async def look(client: Client) -> list[str]:
        await mongo_layout.check(client, name)
        kind = "a sharded cluster" if await mongo_layout.is_mongos(client) else "a server or replica set"
        return [f"{name}: laid out, on {kind}"]

    for line in _ask(address, look):
        typer.echo(line)


def _named(config: Path | None, uri: str | None, database: str | None) -> tuple[str, str]:
    """Address and name of the database: as the options say, or else as servers with these settings find it."""
    store = read_settings(config, {"store.mongodb_uri": uri, "store.mongodb_database": database}).store
    return store.mongodb_uri.get_secret_value(), store.mongodb_database


def parse_zone(text: str) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """Name, shards of the database and shards of the game, of `eu=rs0,rs1:1-20,35`. Raises typer.BadParameter."""
    name, equals, rest = text.partition("=")
    hosts, colon, spans = rest.partition(":")
    shards: list[int] = []
    try:
        for span in spans.split(","):
            first, _, last = span.partition("-")
            shards += range(int(first), int(last or first) + 1)
    except ValueError:
        shards = []
    if not (name and equals and all(hosts.split(",")) and colon and shards):
        raise typer.BadParameter(f"{text}: wanted is NAME=DATABASE_SHARDS:SHARDS", param_hint="--zone")
    return name, tuple(hosts.split(",")), tuple(shards)


def _ask(uri: str, ask: Callable[[Client], Awaitable[list[str]]]) -> list[str]:
    from pymongo.errors import PyMongoError  # noqa: PLC0415  # the driver may not be installed

    from server.store.mongo_client import connect, failed  # noqa: PLC0415

    async def talk() -> list[str]:
        # Moving a range of a cluster takes its time, and nothing else waits for it.
        async with connect(uri, answer_timeout_s=60.0) as client:
            return await ask(client)

    try:
        return asyncio.run(talk())
    except (StoreError, PyMongoError) as error:
        told = failed(error) if isinstance(error, PyMongoError) else error
        typer.echo(f"everstep: {told}", err=True)
        raise typer.Exit(1) from None
