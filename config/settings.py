"""Every setting of a server: its type, its bounds, its default and what it means.

`load` is the way in. What is set later in this list wins:

    the defaults below, the TOML file, the environment (EVERSTEP_WORLD__SEED=7), the command line

Those of a world on many nodes are in `config/cluster.py`. It is long all the same: a setting is ten lines, with its
bounds and its meaning. The descriptions are the documentation: `config/everstep.toml` and the reference in
`docs/operating.md` repeat them, and a test holds the three equal.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from config.cluster import BalanceSettings, NodeSettings, RedisSettings
from config.errors import ConfigError, Problem
from config.section import Section

__all__ = [
    "AuthSettings",
    "BalanceSettings",
    "ConfigError",
    "GatewaySettings",
    "HostSettings",
    "LogSettings",
    "MailSettings",
    "NodeSettings",
    "OperatorSettings",
    "PacerSettings",
    "Problem",
    "RedisSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TravelSettings",
    "ViewSettings",
    "WorldSettings",
    "load",
]

ENVIRONMENT_PREFIX: Final = "EVERSTEP_"
COMMAND_LINE: Final = "command line"
# A secret shorter than this can be guessed offline from one token (RFC 7518, section 3.2).
SECRET_BYTES_MIN: Final = 32
# Names that settings once had: whoever still uses one is told.
_RENAMED: Final = {"travel.token": "operator.token"}
# The interest grid keeps arrays of one element per cell; more cells than this and they no longer fit a cache.
CELLS_MAX: Final = 1_048_576
# Bytes of mail that a tick may take where it has to fit a document of MongoDB.
_DOCUMENT_MAIL_BYTES_MAX: Final = 8_388_608


def _secret(secret: SecretStr) -> SecretStr:
    if 0 < len(secret.get_secret_value().encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"a secret is empty or has at least {SECRET_BYTES_MIN} bytes")
    return secret


class ServerSettings(Section):
    """The process: where it listens, who may open its page, where it keeps its data."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every interface."
    )
    port: int = Field(
        default=8080, ge=0, le=65_535, description="TCP port of HTTP and WebSocket alike; 0 takes any free one."
    )
    data_dir: Path = Field(
        default=Path(".everstep"),
        strict=False,
        description="Directory of everything kept on disk, relative to the working directory.",
    )
    origins: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="Web origins whose pages may connect, such as https://play.example.org. Empty: pages of this very "
        'host, and programs that send no Origin header. "*" as an element: all.',
    )
    shutdown_grace_s: float = Field(
        default=5.0, ge=0, le=300, description="Seconds that clients get to read their BYE when the server stops."
    )
    stop_within_s: float = Field(
        default=15.0,
        ge=3,
        le=3600,
        description="Seconds that a stop takes at the most, BYE and last checkpoint included. What is not durable by "
        "then is named, and the process ends with status 3. Below what a supervisor waits before it kills.",
    )

    @field_validator("origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            # Browsers send scheme://host[:port]; with a path or a slash at the end it would never match.
            if origin != "*" and (origin.count("/") != 2 or not origin.startswith(("http://", "https://"))):
                raise ValueError('an origin is "*" or http(s)://host[:port] without a path')
        return origins


class WorldSettings(Section):
    """The world: where it lies, into which regions it is divided, how much they hold, how fast they tick."""

    seed: int = Field(
        default=1,
        ge=0,
        le=2**63 - 1,
        description="Seed of all randomness: the same seed and inputs give the same world.",
    )
    region_id: int = Field(
        default=1, ge=1, le=65_535, description="Number of the first region; the others follow, row by row."
    )
    x: float = Field(default=0.0, ge=-1_000_000, le=1_000_000, description="West edge of the world, in world units.")
    y: float = Field(default=0.0, ge=-1_000_000, le=1_000_000, description="North edge of the world, in world units.")
    width: float = Field(default=1024.0, ge=1, le=65_536, description="Extent of the world along x, in world units.")
    height: float = Field(default=1024.0, ge=1, le=65_536, description="Extent of the world along y, in world units.")
    columns: int = Field(
        default=1, ge=1, le=64, description="Regions beside each other along x, each a shard of its own."
    )
    rows: int = Field(default=1, ge=1, le=64, description="Regions beside each other along y.")
    border_hysteresis_units: float = Field(
        default=2.0,
        ge=0,
        le=1024,
        description="World units past a border at which an entity goes over to the next region.",
    )
    border_margin_units: float = Field(
        default=8.0,
        ge=0,
        le=1024,
        description="World units past a border at which an entity is still seen where it is: the hysteresis, and as "
        "far as anything goes in a tick.",
    )
    border_forward_s: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="Seconds for which a region remembers where those who left it went, to send on what comes for "
        "them. Then it tells the region they were born in, which remembers for as long as they live.",
    )
    split_depth: int = Field(
        default=0,
        ge=0,
        le=1,
        description="1: a region that is too much for one shard may be divided into four, by order or by the balance "
        "of a cluster. Takes three more shards for each region, which sleep until then.",
    )
    entities_max: int = Field(
        default=65_536,
        ge=1,
        le=1_048_576,
        description="Entities a region can hold. Above 65,536 a handle takes 4 bytes on the wire instead of 2.",
    )
    tick_rate_hz: int = Field(default=20, ge=1, le=60, description="Ticks per second.")
    digest_every_ticks: int = Field(
        default=20, ge=1, le=36_000, description="Ticks between two digests of the whole state."
    )
    commands_per_tick_max: int = Field(
        default=8, ge=1, le=256, description="Commands of one session that a tick takes; the others wait for the next."
    )
    inbox_max: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Commands that may wait for a region's tick; more are refused.",
    )

    @model_validator(mode="after")
    def _regions_are_regions(self) -> WorldSettings:
        if self.region_id + 4**self.split_depth * self.columns * self.rows - 1 > 65_535:
            raise ValueError("region_id and the regions that follow it must be numbered up to 65535")
        if self.border_margin_units < self.border_hysteresis_units:
            raise ValueError("border_margin_units must be at least border_hysteresis_units")
        return self


class PacerSettings(Section):
    """What happens when ticks take longer than they may."""

    catch_up_ticks_max: int = Field(
        default=5,
        ge=1,
        le=100,
        description="Ticks the world may lag behind the clock and still catch up; beyond, game time dilates.",
    )


class ViewSettings(Section):
    """What a player sees of the world, and how often."""

    cell_units: float = Field(
        default=32.0, ge=1, le=4096, description="Edge of a cell of the interest grid, in world units."
    )
    near_cells: int = Field(
        default=2,
        ge=0,
        le=16,
        description="Cells around one's own that are seen every tick: 2 makes a square of 5 by 5.",
    )
    far_cells: int = Field(
        default=4,
        ge=0,
        le=32,
        description="Cells around one's own that are seen at the lower rate; equal to near_cells: no outer ring.",
    )
    far_every_ticks: int = Field(
        default=4, ge=1, le=32, description="Ticks between two updates of a cell of the outer ring."
    )
    hysteresis_units: float = Field(
        default=4.0, ge=0, le=1024, description="World units past a cell's border at which one's own cell changes."
    )
    # The wire carries the tick's low 7 bits: a gap must stay below 64 ticks.
    quiet_ticks_max: int = Field(
        default=20, ge=1, le=60, description="Ticks after which a DELTA is sent though nothing in view has changed."
    )

    @model_validator(mode="after")
    def _rings_nest(self) -> ViewSettings:
        if self.far_cells < self.near_cells:
            raise ValueError("far_cells must be at least near_cells")
        # Half a cell past its border one would be closer to the next cell's far side than to one's own.
        if self.hysteresis_units > self.cell_units / 2:
            raise ValueError("hysteresis_units must be at most half of cell_units")
        return self


class GatewaySettings(Section):
    """How many clients may come, how much they may send, and how long they are waited for."""

    connections_max: int = Field(default=20_000, ge=1, le=1_000_000, description="Open connections of the gateway.")
    connections_per_address_max: int = Field(
        default=300, ge=1, le=1_000_000, description="Open connections from one IP address."
    )
    loopback_exempt: bool = Field(
        default=True, description="Whether connections from this machine itself are free of the limit per address."
    )
    handshake_timeout_s: float = Field(
        default=5.0, gt=0, le=300, description="Seconds from the connection to its HELLO."
    )
    idle_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds without a message from the client until it is closed."
    )
    frame_bytes_max: int = Field(
        default=4096, ge=64, le=4096, description="Bytes of one message from a client; a longer one closes it."
    )
    receive_bytes_per_s: float = Field(
        default=16_384.0, ge=64, le=1_000_000_000, description="Bytes a client may send per second in the long run."
    )
    receive_burst_bytes: int = Field(
        default=32_768,
        ge=8192,
        le=1_000_000_000,
        description="Bytes a client may send at once after a silence; one who sends more is closed unheard.",
    )
    inputs_per_s: float = Field(
        default=40.0, gt=0, le=10_000, description="Inputs a client may send per second in the long run."
    )
    inputs_burst: int = Field(
        default=80, ge=1, le=100_000, description="Inputs a client may send at once after a silence."
    )
    flood_strikes_max: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="Inputs dropped as too many until the client is closed for flooding.",
    )
    malformed_max: int = Field(
        default=10, ge=0, le=10_000, description="Messages that make no sense until the client is closed."
    )
    lag_timeout_s: float = Field(
        default=20.0, gt=0, le=3600, description="Seconds a client may fail to read until it is closed."
    )
    send_buffer_bytes: int = Field(
        default=65_536,
        ge=4096,
        le=16_777_216,
        description="Bytes of the kernel's send buffer per connection (SO_SNDBUF); the kernel keeps twice as many.",
    )
    receipts_max: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="Reliable commands of one session that may wait for their receipt; more are refused.",
    )
    inputs_unacked_max: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="Inputs of one session that are kept until its region has taken them, to be said again to the "
        "region its entity is in by then; more are refused.",
    )
    events_per_write_max: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="Events one client is sent per tick; beyond that the oldest of those around it are dropped, and "
        "the newest of those for it alone.",
    )
    crossing_hold_ticks: int = Field(
        default=100,
        ge=1,
        le=1200,
        description="Ticks for which an entity that crosses a border is shown where it was, if the next region does "
        "not show it before.",
    )
    flush_every_s: float = Field(
        default=0.005,
        ge=0.001,
        le=1,
        description="Seconds for which what players say gathers before it is sent to regions of other processes. In "
        "one process it goes just before each tick.",
    )
    watch_linger_s: float = Field(
        default=5.0, ge=1, le=3600, description="Seconds for which a region is watched after nobody sees it any more."
    )
    grace_s: float = Field(
        default=30.0, ge=0, le=86_400, description="Seconds the entity of a dropped client waits for it to resume."
    )


class HostSettings(Section):
    """How a shard's effects wait for its journal, and when it rests."""

    durability: Literal["pipelined", "strict"] = Field(
        default="pipelined",
        description='When frames leave: "pipelined" at once, "strict" once the journal holds their tick. '
        "Receipts always wait for the journal.",
    )
    hibernate_after_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="Seconds after which a region that nobody sees, and in which nothing is under way, stands still "
        "until somebody or something comes. 0: never. A world of one region never does: its gateway always looks at "
        "it.",
    )


class MailSettings(Section):
    """How letters travel between the regions of a world."""

    letters_per_tick_max: int = Field(
        default=512, ge=1, le=100_000, description="Letters that a tick takes, and that it sends, at the most."
    )
    bytes_per_tick_max: int = Field(
        default=4_194_304,
        ge=65_536,
        le=2**30,
        description="Bytes of letters that a tick takes, and that it sends; a larger letter goes alone. With MongoDB "
        "at most 8,388,608: what a tick takes is one document.",
    )
    window_letters: int = Field(
        default=1024,
        ge=1,
        le=100_000,
        description="Letters of one lane from one region to another that may be under way unacknowledged.",
    )
    window_bytes: int = Field(
        default=8_388_608, ge=65_536, le=2**30, description="Bytes of those letters; a larger letter goes alone."
    )
    age_ticks: int = Field(
        default=10,
        ge=0,
        le=10_000,
        description="Ticks after which a letter goes before fresh ones of the next better lane.",
    )
    retry_s: float = Field(
        default=0.5,
        ge=0.01,
        le=60,
        description="Seconds until what is not acknowledged is sent again; twice as long each time, up to half less "
        "by chance.",
    )
    retry_max_s: float = Field(default=2.0, ge=0.01, le=600, description="Seconds that this wait grows to at the most.")


class StoreSettings(Section):
    """Where the world is kept, and how much of its past."""

    kind: Literal["sqlite", "mongodb", "memory"] = Field(
        default="sqlite",
        description='Where journal and checkpoints are kept: "sqlite" in the data directory, "mongodb" in a database '
        'laid out by `everstep store init`, "memory" until the process ends.',
    )
    mongodb_uri: SecretStr = Field(
        default=SecretStr("mongodb://127.0.0.1:27017"), description="Address of the database, for mongodb."
    )
    mongodb_database: str = Field(default="everstep", min_length=1, max_length=63, description="Its name in MongoDB.")
    checkpoint_every_s: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        description="Seconds between two checkpoints: the most that a recovery has to replay, and then some.",
    )
    checkpoints_kept: int = Field(
        default=2, ge=2, le=1000, description="Checkpoints that are kept; the journal behind the oldest of them goes."
    )
    retention_s: float = Field(
        default=0.0,
        ge=0,
        le=10_000_000,
        description="Seconds of game time that can be replayed, for audits: the journal is kept for as long, and "
        "checkpoints to begin with. 0: no longer than recovery needs.",
    )
    retention_checkpoints: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Checkpoints that are kept over retention_s, evenly spread: a replay to a tick in it has at most "
        "retention_s divided by this to go.",
    )
    journal_backlog_max: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="Ticks that may wait to be durable; then time waits for the store, and no input is lost.",
    )


class AuthSettings(Section):
    """Who may come in."""

    guests: bool = Field(default=True, description="Whether one may play without a token.")
    jwt_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Key that signs the tokens of accounts, at least 32 bytes. Empty: a random one at every start.",
    )
    jwt_algorithms: tuple[Literal["HS256", "HS384", "HS512"], ...] = Field(
        default=("HS256",), strict=False, min_length=1, description="Signature algorithms that are accepted in a token."
    )
    resume_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Key that signs resume tokens, at least 32 bytes. Empty: a random one at every start.",
    )

    @field_validator("jwt_secret", "resume_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        return _secret(secret)


class OperatorSettings(Section):
    """Who may look into a world that runs, and reach into it."""

    token: SecretStr = Field(
        default=SecretStr(""),
        description="What an operator has to show, at least 32 bytes. Empty: there is no time travel, and `everstep "
        "mail --url`, `divide` and `unite` are refused. Whoever has it sees where everybody was and what they did.",
    )

    @field_validator("token")
    @classmethod
    def _long_enough(cls, token: SecretStr) -> SecretStr:
        return _secret(token)


class TravelSettings(Section):
    """Time travel: an operator watches a past stretch of the world in the page /travel.html."""

    stretch_s_max: float = Field(
        default=120.0, gt=0, le=3600, description="Seconds of game time that one stretch may have."
    )
    stretch_bytes_max: int = Field(
        default=67_108_864, ge=65_536, le=2**32, description="Bytes of one stretch, on disk and in the page."
    )
    timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds that rebuilding a stretch may take, beside the world."
    )
    memory_bytes_max: int = Field(
        default=2_147_483_648,
        ge=2**28,
        le=2**40,
        description="Bytes of memory that the process that rebuilds may take.",
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severity that is logged: debug, info, warning or error."
    )
    format: Literal["json", "console"] = Field(
        default="json", description='"json": one object per line. "console": for a person at a terminal.'
    )


class Settings(Section):
    """All settings of a server. Made by `load`; never changed afterwards."""

    server: ServerSettings = Field(default=ServerSettings())
    world: WorldSettings = Field(default=WorldSettings())
    pacer: PacerSettings = Field(default=PacerSettings())
    view: ViewSettings = Field(default=ViewSettings())
    gateway: GatewaySettings = Field(default=GatewaySettings())
    host: HostSettings = Field(default=HostSettings())
    mail: MailSettings = Field(default=MailSettings())
    store: StoreSettings = Field(default=StoreSettings())
    auth: AuthSettings = Field(default=AuthSettings())
    operator: OperatorSettings = Field(default=OperatorSettings())
    travel: TravelSettings = Field(default=TravelSettings())
    redis: RedisSettings = Field(default=RedisSettings())
    node: NodeSettings = Field(default=NodeSettings())
    balance: BalanceSettings = Field(default=BalanceSettings())
    log: LogSettings = Field(default=LogSettings())

    @model_validator(mode="after")
    def _ticks_fit_a_document(self) -> Settings:
        # Of 16 MiB, with as much again for what players say. A region whose tick does not fit fails wherever it is run.
        if self.store.kind == "mongodb" and self.mail.bytes_per_tick_max > _DOCUMENT_MAIL_BYTES_MAX:
            raise ValueError(f"mail.bytes_per_tick_max must be at most {_DOCUMENT_MAIL_BYTES_MAX} with MongoDB")
        return self

    @model_validator(mode="after")
    def _cells_are_countable(self) -> Settings:
        across = math.ceil(self.world.width / self.world.columns / self.view.cell_units)
        down = math.ceil(self.world.height / self.world.rows / self.view.cell_units)
        if across * down > CELLS_MAX:
            raise ValueError(
                f"world.width and world.height give a region more than {CELLS_MAX} cells of view.cell_units"
            )
        return self


# Section, key, value. Any: what the value is, is what validation finds out.
Tree = dict[str, dict[str, Any]]


def load(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,  # Any: checked by the sections
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings.

    `path`: a TOML file, or None for the defaults. `overrides`: from "section.key" to its value, the strongest; None
    as a value means "not given". `environment`: `os.environ` unless told.
    Raises ConfigError with every fault found, each with its file (or variable), key and reason.
    """
    tree: Tree = {}
    sources: dict[str, str] = {}
    _merge(tree, sources, _from_file(path), str(path))
    for name, text in sorted((os.environ if environment is None else environment).items()):
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and separator:
            _merge(tree, sources, {section: {key: _from_text(section, key, text)}}, name)
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        assert key, f"{dotted!r} is no section.key"
        if value is not None:
            _merge(tree, sources, {section: {key: value}}, COMMAND_LINE)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(*_problems(error, sources, str(path or "settings"))) from None


def _from_file(path: str | Path | None) -> Tree:
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(Problem(str(path), "", error.strerror or "cannot be read")) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(str(path), "", f"not TOML: {error}")) from error


def _from_text(section: str, key: str, text: str) -> Any:  # Any: checked by the sections
    """A variable's value: as TOML would read it, or a text as it stands."""
    model = Settings.model_fields.get(section)
    fields = getattr(model.annotation, "model_fields", {}) if model else {}
    if key in fields and fields[key].annotation in (str, SecretStr, Path):
        # A secret of digits alone is a text all the same.
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(tree: Tree, sources: dict[str, str], more: Tree, source: str) -> None:
    for section, values in more.items():
        sources[section] = source
        if not isinstance(values, dict):
            raise ConfigError(Problem(source, section, "must be a table"))
        for key, value in values.items():
            tree.setdefault(section, {})[key] = value
            sources[f"{section}.{key}"] = source


def _no_such(key: str) -> str:
    return f"it is called {_RENAMED[key]} now" if key in _RENAMED else "no such setting"


def _problems(error: ValidationError, sources: dict[str, str], otherwise: str) -> list[Problem]:
    """The first fault of each key: the next ones, of a list's elements or its length, follow from it."""
    found: dict[str, Problem] = {}
    # Without input and context: they would carry the refused value, which may be a secret.
    for e in error.errors(include_url=False, include_context=False, include_input=False):
        key = ".".join(str(part) for part in e["loc"][:2])
        reason = _no_such(key) if e["type"] == "extra_forbidden" else e["msg"].removeprefix("Value error, ")
        found.setdefault(key, Problem(sources.get(key, otherwise), key, reason))
    return list(found.values())
