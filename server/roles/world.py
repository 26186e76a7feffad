"""What the settings say of the world: its regions, their machines, and how a host runs them."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from server.host.host import HostOptions
from server.host.postman import MailOptions
from server.host.reception import ReceptionOptions
from server.regions.atlas import Atlas
from server.regions.balance import Policy
from server.regions.borders import RULES
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.ports import BUS_VERSION
from server.sim.game import Game


def world_atlas(settings: Settings) -> Atlas:
    """The regions that the settings divide the world into."""
    world = settings.world
    return Atlas.grid(
        RegionSpec(
            world.region_id, world.x, world.y, world.width, world.height, world.entities_max, world.border_margin_units
        ),
        columns=world.columns,
        rows=world.rows,
        hysteresis_units=world.border_hysteresis_units,
        forward_ticks=round(world.border_forward_s * world.tick_rate_hz),
        split_depth=world.split_depth,
    )


def region_machine(settings: Settings, game: Game, region: int | None = None) -> RegionMachine:
    """A region that the settings describe, at its first tick; None: the first."""
    world, atlas = settings.world, world_atlas(settings)
    return RegionMachine(
        game,
        atlas[world.region_id if region is None else region],
        seed=world.seed,
        tick_rate_hz=world.tick_rate_hz,
        digest_every_ticks=world.digest_every_ticks,
        atlas=atlas,
    )


def host_options(settings: Settings, game: Game) -> HostOptions:
    """How a region is run."""
    world = settings.world
    return HostOptions(
        tick_rate_hz=world.tick_rate_hz,
        catch_up_ticks_max=settings.pacer.catch_up_ticks_max,
        inbox_max=world.inbox_max,
        commands_per_tick_max=world.commands_per_tick_max,
        durability=settings.host.durability,
        simulation=game.version,
        digest_every_ticks=world.digest_every_ticks,
        journal_backlog_max=settings.store.journal_backlog_max,
        mail=MailOptions(**settings.mail.model_dump()),
        reception=ReceptionOptions(grace_s=settings.gateway.grace_s),
        hibernate_after_s=settings.host.hibernate_after_s,
    )


def world_terms(settings: Settings, game: Game) -> dict[str, str]:
    """What every process of this world has to have the same: the names and values of it.

    The game's version is not among them: nodes are upgraded one after the other. That of the bus is, for gateways and
    nodes pass over what they can't read, and would be deaf to each other. So are the rules between regions: standbys
    and new owners replay what others wrote.
    """
    # How a region is run is each node's own affair.
    own = {"digest_every_ticks", "commands_per_tick_max", "inbox_max"}
    terms = {"the game": game.name, "the game's schema": str(game.schema.digest), "the bus's version": str(BUS_VERSION)}
    terms["the rules between regions"] = str(RULES)
    return terms | {f"world.{name}": str(value) for name, value in settings.world.model_dump(exclude=own).items()}


def region_parts(settings: Settings) -> dict[int, tuple[int, ...]]:
    """By region, the numbers of those that it may be divided into beside itself; none where it may not be."""
    atlas = world_atlas(settings)
    return {region.id: atlas.parts_of(region.id) for region in atlas.regions}


def balance_policy(settings: Settings) -> Policy:
    """When moving, dividing and uniting regions is worth it."""
    balance = settings.balance
    return Policy(
        difference=balance.difference,
        gain=balance.gain,
        split_load=balance.split_load,
        merge_load=balance.merge_load,
        entities_max=settings.world.entities_max,
        split_fill=balance.split_fill,
    )


def retain_ticks(settings: Settings) -> int:
    """Ticks that are kept for audits."""
    return round(settings.store.retention_s * settings.world.tick_rate_hz)


def data_directory(settings: Settings, game: Game) -> Path:
    """Where this game's world is kept: each game has its own below the data directory."""
    return settings.server.data_dir / game.name
