"""The settings of a world on many nodes, section by section; see `config/settings.py` for what they are a part of."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from config.section import Section


class RedisSettings(Section):
    """What the processes of a cluster speak through, and where they hold leases. `everstep run` has no use for it."""

    url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379"),
        description="Address of Redis, with user and password where it has them; rediss:// for TLS.",
    )
    cluster: bool = Field(default=False, description="Whether it is a node of a Redis Cluster (7 or newer).")
    prefix: str = Field(
        default="everstep:",
        min_length=1,
        max_length=64,
        description="In front of every key and channel: worlds that share a Redis have one each.",
    )
    timeout_s: float = Field(
        default=2.0, ge=0.1, le=60, description="Seconds that Redis has for a connection, and for an answer."
    )
    silence_s: float = Field(
        default=2.0,
        ge=0.1,
        le=60,
        description="Seconds of silence after which the listening connection is asked whether it lives.",
    )
    backoff_first_s: float = Field(
        default=0.05, ge=0.001, le=60, description="Seconds until a lost connection is tried again, doubling each time."
    )
    backoff_most_s: float = Field(default=2.0, ge=0.001, le=600, description="Seconds that this grows to at the most.")
    outgoing_bytes_max: int = Field(
        default=67_108_864,
        ge=1_048_576,
        le=2**34,
        description="Bytes that may wait to be sent to Redis; more is dropped, and said again by whoever has to.",
    )


class NodeSettings(Section):
    """A node of a cluster (`everstep node`): which runs the regions that it gets leases for."""

    name: str = Field(
        default="",
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="What operators call it; each start adds some letters of its own. Empty: the name of the machine.",
    )
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on, for health, metrics and operators."
    )
    port: int = Field(default=0, ge=0, le=65_535, description="Its TCP port; 0 takes any free one, and tells it.")
    standby: bool = Field(
        default=False,
        description="Whether it follows regions of other nodes to take them over at once, at the cost of running each "
        "of them a second time.",
    )
    lease_ttl_s: float = Field(
        default=3.0,
        ge=0.5,
        le=600,
        description="Seconds after which what a dead node ran is others' to take. The same for all nodes.",
    )
    turn_s: float = Field(
        default=1.0,
        ge=0.05,
        le=60,
        description="Seconds between two looks at who runs what; leases are renewed each time.",
    )
    follow_s: float = Field(
        default=0.1,
        ge=0.01,
        le=10,
        description="Seconds between two looks at the journal of a region that is followed.",
    )
    move_timeout_s: float = Field(
        default=10.0, ge=1, le=600, description="Seconds after which moving a region to another node is given up."
    )
    balance: bool = Field(
        default=True,
        description="Whether it moves regions to other nodes to even out the load, and divides and unites them.",
    )
    drain_regions_max: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Regions that a node that is told to stop has on their way to others at once.",
    )
    drain_within_s: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="Seconds that a node that is told to stop has to give its regions to others. Those that are left "
        "then are stopped in order, and taken by others from the store. With server.stop_within_s below what a "
        "supervisor waits before it kills.",
    )

    @model_validator(mode="after")
    def _leases_last(self) -> NodeSettings:
        if self.turn_s > self.lease_ttl_s / 2:
            raise ValueError("turn_s must be at most half of lease_ttl_s: a lease is renewed before it ends")
        return self


class BalanceSettings(Section):
    """When nodes move, divide and unite regions; the same for all. `everstep balance --plan` says what they would."""

    difference: float = Field(
        default=0.25,
        ge=0.05,
        le=1,
        description="Loads of two nodes differ enough for a move when they do so by this part of the larger one.",
    )
    gain: float = Field(
        default=0.1,
        ge=0.01,
        le=1,
        description="Part of the more loaded node's load that a move has to take off it. At most difference.",
    )
    rest_s: float = Field(
        default=5.0,
        ge=1,
        le=10,
        description="Seconds over which a region's load is measured before its node gives or takes another.",
    )
    split_load: float = Field(
        default=0.6,
        gt=0,
        le=10,
        description="Part of a node's time that a region's ticks take when it is divided into four, where "
        "world.split_depth lets it.",
    )
    merge_load: float = Field(
        default=0.2,
        ge=0,
        le=5,
        description="Part of a node's time that the four take together when they are united; at most half of "
        "split_load.",
    )
    split_fill: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Part of world.entities_max that a region holds when it is divided, whatever its load; the four "
        "are united when they hold less than half of that.",
    )
    divide_after_s: float = Field(
        default=30.0, ge=0, le=86_400, description="Seconds for which that has to last, either way."
    )

    @model_validator(mode="after")
    def _settles(self) -> BalanceSettings:
        if self.gain > self.difference:
            raise ValueError("gain must be at most difference: a move can't take off more than there is")
        if self.merge_load > self.split_load / 2:
            raise ValueError("merge_load must be at most half of split_load, or what is united is divided again")
        return self
