"""The in-memory checkpoint store: for tests, and for worlds that need no memory."""

from __future__ import annotations

from collections.abc import Sequence

from server.shard.checkpoint import Chunk, Manifest
from server.shard.errors import CheckpointDamaged
from server.store.errors import StoreFailed


class MemoryCheckpoints:
    """A CheckpointStore whose medium is this process."""

    def __init__(self) -> None:
        # By shard and tick, as a medium would have them.
        self._manifests: dict[tuple[int, int], bytes] = {}
        self._chunks: dict[tuple[int, int], dict[str, bytes]] = {}
        self._failure: StoreFailed | None = None

    async def write(self, manifest: Manifest, chunks: Sequence[Chunk]) -> None:
        """See CheckpointStore."""
        if self._failure is not None:
            raise self._failure
        at = (manifest.shard, manifest.tick)
        self._manifests.pop(at, None)
        self._chunks[at] = {chunk.name: chunk.data for chunk in chunks}
        self._manifests[at] = manifest.encode()

    async def shards(self) -> list[int]:
        """See CheckpointStore."""
        return sorted({shard for shard, _ in self._manifests})

    async def manifests(self, shard: int) -> list[Manifest]:
        """See CheckpointStore."""
        whole = []
        for at in sorted(self._manifests, reverse=True):
            try:
                if at[0] == shard:
                    whole.append(Manifest.decode(self._manifests[at]))
            except CheckpointDamaged:
                continue
        return whole

    async def chunk(self, shard: int, tick: int, name: str) -> bytes | None:
        """See CheckpointStore."""
        return self._chunks.get((shard, tick), {}).get(name)

    async def delete(self, shard: int, tick: int) -> None:
        """See CheckpointStore."""
        self._manifests.pop((shard, tick), None)
        self._chunks.pop((shard, tick), None)

    def fail(self, reason: str) -> None:
        """Be a medium that takes nothing more."""
        self._failure = StoreFailed(reason)

    def damage(self, shard: int, tick: int, name: str) -> None:
        """Flip a bit of what is kept: of a chunk, or of the "manifest"."""
        if name == "manifest":
            data = bytearray(self._manifests[shard, tick])
            data[-1] ^= 1
            self._manifests[shard, tick] = bytes(data)
        else:
            data = bytearray(self._chunks[shard, tick][name])
            data[-1] ^= 1
            self._chunks[shard, tick][name] = bytes(data)
