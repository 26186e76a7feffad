"""A replica as plain as can be: dicts, one entity at a time. What frames promise is checked against it."""

from __future__ import annotations

import numpy as np

from protocol.schema import Schema
from server.regions.frame import Frame, replicated_digest
from server.sim.component import NO_ARCHETYPE


class PlainReplica:
    """Knows what it was told and nothing else."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.tick = -1
        # Handle -> archetype; (handle, component) -> record's bytes.
        self.archetype: dict[int, int] = {}
        self.records: dict[tuple[int, int], bytes] = {}

    def apply(self, data: bytes) -> Frame:
        frame = Frame.decode(data, self.schema)
        if frame.key:
            self.archetype.clear()
            self.records.clear()
        else:
            assert frame.tick == self.tick + 1
        self.tick = frame.tick
        for handle in frame.left.tolist():
            del self.archetype[handle]
            self.records = {at: record for at, record in self.records.items() if at[0] != handle}
        for handle, archetype in zip(frame.entered.tolist(), frame.archetypes.tolist(), strict=True):
            assert handle not in self.archetype, "it entered twice"
            self.archetype[handle] = archetype
        for component, (rows, values) in frame.changes.items():
            assert rows.tolist() == sorted(set(rows.tolist()))
            for handle, value in zip(rows.tolist(), values, strict=True):
                assert component in self.schema.archetypes[self.archetype[handle]].components
                self.records[handle, component] = value.tobytes()
        wanted = {(h, c) for h, a in self.archetype.items() for c in self.schema.archetypes[a].components}
        assert set(self.records) == wanted, "a record is missing or too many"
        if frame.digest is not None:
            assert frame.digest == self.digest()
        return frame

    def digest(self) -> int:
        """`replicated_digest` of what is here."""
        archetype = np.full(max(self.archetype, default=-1) + 1, NO_ARCHETYPE, np.uint8)
        for handle, number in self.archetype.items():
            archetype[handle] = number
        whole = {}
        for component in self.schema.components:
            handles = sorted(h for h, c in self.records if c == component.id)
            if handles:
                data = b"".join(self.records[h, component.id] for h in handles)
                whole[component.id] = (np.array(handles, np.uint32), np.frombuffer(data, component.dtype))
        return replicated_digest(archetype, whole)
