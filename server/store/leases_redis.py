"""Leases in Redis. Each change is one run of leases.lua, and so atomic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from server.shard.lease import Lease, NodeInfo
from server.store.errors import LeaseStoreAway

_SCRIPT: Final = (Path(__file__).parent / "leases.lua").read_text(encoding="utf-8")


class RedisLeases:
    """A LeaseStore. `ttl_s`: time to live; `prefix`: in front of every key, so that worlds can share a server."""

    def __init__(self, client: Redis | RedisCluster, ttl_s: float, prefix: str = "everstep:") -> None:
        self._client = client
        self._ttl_ms = round(ttl_s * 1000)
        self._prefix = prefix
        # Field: a node's name; value: when it ends (ms of Redis' clock, as text), a space, its info.
        self._nodes_key = f"{prefix}nodes"

    async def acquire(self, shard: int, owner: str, floor: int) -> Lease | None:
        """See LeaseStore."""
        epoch = await self._run("acquire", shard, owner, floor)
        return Lease(shard, owner, epoch) if epoch else None

    async def renew(self, leases: Sequence[Lease]) -> list[bool]:
        """See LeaseStore."""
        # All in one journey: a node holds many, and looks often.
        pipeline = self._client.pipeline(transaction=False)
        for lease in leases:
            self._call(pipeline, "renew", lease.shard, lease.owner, lease.epoch)
        with _away():
            return [bool(answer) for answer in await _awaited(pipeline.execute())]

    async def release(self, lease: Lease) -> None:
        """See LeaseStore."""
        await self._run("release", lease.shard, lease.owner, lease.epoch)

    async def hand_over(self, lease: Lease, owner: str) -> Lease | None:
        """See LeaseStore."""
        epoch = await self._run("hand_over", lease.shard, lease.owner, lease.epoch, owner)
        return Lease(lease.shard, owner, epoch) if epoch else None

    async def holders(self, shards: Iterable[int]) -> Mapping[int, Lease]:
        """See LeaseStore."""
        asked = list(shards)
        pipeline = self._client.pipeline(transaction=False)
        for shard in asked:
            pipeline.get(self._keys(shard)[0])
        with _away():
            answers = await _awaited(pipeline.execute())
        found: dict[int, Lease] = {}
        for shard, held in zip(asked, answers, strict=True):
            if held is not None:
                epoch, _, owner = held.decode().partition(" ")
                found[shard] = Lease(shard, owner, int(epoch))
        return found

    async def announce(self, node: NodeInfo) -> None:
        """See LeaseStore."""
        with _away():
            ends_ms = await self._now_ms() + self._ttl_ms
            await _awaited(self._client.hset(self._nodes_key, node.name, b"%d %b" % (ends_ms, node.info)))

    async def withdraw(self, name: str) -> None:
        """See LeaseStore."""
        with _away():
            await _awaited(self._client.hdel(self._nodes_key, name))

    async def nodes(self) -> list[NodeInfo]:
        """See LeaseStore. Those that ended are swept out."""
        with _away():
            now_ms = await self._now_ms()
            announced: dict[bytes, bytes] = await _awaited(self._client.hgetall(self._nodes_key))
            found = []
            for name, value in sorted(announced.items()):
                ends_ms, _, info = value.partition(b" ")
                if now_ms < int(ends_ms):
                    found.append(NodeInfo(name.decode(), info))
                else:
                    await _awaited(self._client.hdel(self._nodes_key, name.decode()))
            return found

    async def _run(self, call: str, shard: int, owner: str, *arguments: int | str) -> int:
        with _away():
            return int(await _awaited(self._call(self._client, call, shard, owner, *arguments)))

    def _call(self, client: Any, call: str, shard: int, owner: str, *arguments: int | str) -> Any:  # Any: see _awaited
        lease, counter = self._keys(shard)
        return client.eval(_SCRIPT, 2, lease, counter, call, owner, str(self._ttl_ms), *map(str, arguments))

    def _keys(self, shard: int) -> tuple[str, str]:
        return f"{self._prefix}lease:{{{shard}}}", f"{self._prefix}epoch:{{{shard}}}"

    async def _now_ms(self) -> int:
        """Redis' own clock: nodes need not agree about the time."""
        seconds, micros = await _awaited(self._client.time())
        return int(seconds) * 1000 + int(micros) // 1000


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise LeaseStoreAway(f"the store of leases can't be asked: {error}") from error


async def _awaited(answer: Any) -> Any:  # Any: the driver declares its answers for both of its clients at once
    return await answer
