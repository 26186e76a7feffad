"""Leases in Redis. Each change is one run of leases.lua, and so atomic."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster

from server.shard.lease import Lease, NodeInfo
from server.store.errors import LeaseStoreAway

_SCRIPT: Final = (Path(__file__).parent / "leases.lua").read_text(encoding="utf-8")

_SHA: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

_Command = tuple[str | bytes | int, ...]


class RedisLeases:
    """A LeaseStore. `ttl_s`: time to live; `prefix`: in front of every key, so that worlds can share a server."""

    def __init__(self, client: Redis | RedisCluster, ttl_s: float, prefix: str = "everstep:") -> None:
        self._client = client
        self._ttl_ms = round(ttl_s * 1000)
        self._prefix = prefix
        self._nodes_key = f"{prefix}nodes"

    async def acquire(self, shard: int, owner: str, floor: int) -> Lease | None:
        """See LeaseStore."""
        (epoch,) = await self._ask(self._call("acquire", shard, owner, floor))
        return Lease(shard, owner, int(epoch)) if epoch else None

    async def renew(self, leases: Sequence[Lease]) -> list[bool]:
        """See LeaseStore."""
        renewed = await self._ask(*(self._call("renew", lease.shard, lease.owner, lease.epoch) for lease in leases))
        return [bool(one) for one in renewed]

    async def release(self, lease: Lease) -> None:
        """See LeaseStore."""
        await self._ask(self._call("release", lease.shard, lease.owner, lease.epoch))

    async def hand_over(self, lease: Lease, owner: str) -> Lease | None:
        """See LeaseStore."""
        (epoch,) = await self._ask(self._call("hand_over", lease.shard, lease.owner, lease.epoch, owner))
        return Lease(lease.shard, owner, int(epoch)) if epoch else None

    async def holders(self, shards: Iterable[int]) -> Mapping[int, Lease]:
        """See LeaseStore."""
        shards = list(shards)
        found: dict[int, Lease] = {}
        for shard, held in zip(shards, await self._ask(*(("GET", self._keys(s)[0]) for s in shards)), strict=True):
            if held is not None:
                epoch, _, owner = held.partition(b" ")
                # What is no lease is nobody's; the script gives it to nobody either.
                if epoch.isdigit():
                    found[shard] = Lease(shard, owner.decode(errors="replace"), int(epoch))
        return found

    async def announce(self, node: NodeInfo) -> bool:
        """See LeaseStore."""
        (known,) = await self._ask(self._script("announce", self._nodes_key, self._nodes_key, node.name, node.info))
        return bool(known)

    async def withdraw(self, name: str) -> None:
        """See LeaseStore."""
        await self._ask(("HDEL", self._nodes_key, name))

    async def nodes(self) -> list[NodeInfo]:
        """See LeaseStore. Those that ended are swept out."""
        (told,) = await self._ask(self._script("known", self._nodes_key, self._nodes_key, ""))
        return [NodeInfo(name.decode(), info) for name, info in sorted(zip(told[::2], told[1::2], strict=True))]

    def _call(self, call: str, shard: int, owner: str, *arguments: int | str) -> _Command:
        return self._script(call, *self._keys(shard), owner, *map(str, arguments))

    def _script(self, call: str, key: str, other: str, owner: str, *arguments: str | bytes) -> _Command:
        return ("EVAL", _SCRIPT, 2, key, other, call, owner, str(self._ttl_ms), *arguments)

    async def _ask(self, *commands: _Command) -> list[Any]:  # Any: each command has an answer of its own
        """The answers to these; at once, for a node that is busy waits for each answer until its ticks let it.

        Raises LeaseStoreAway.
        """
        with _away():
            if isinstance(self._client, RedisCluster):
                return await asyncio.gather(*(self._client.execute_command(*one) for one in commands))
            async with self._client.pipeline(transaction=False) as pipe:
                known = False
                for one in commands:
                    if one[0] == "EVAL":
                        # The first teaches it to the server for those behind it.
                        one = ("EVALSHA", _SHA, *one[2:]) if known else one  # noqa: PLW2901
                        known = True
                    pipe.execute_command(*one)
                return await pipe.execute()

    def _keys(self, shard: int) -> tuple[str, str]:
        return f"{self._prefix}lease:{{{shard}}}", f"{self._prefix}epoch:{{{shard}}}"


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Where a connection ends under it, or a cluster is away, the driver raises what is no RedisError.
        raise LeaseStoreAway(f"the store of leases can't be asked: {error}") from error
