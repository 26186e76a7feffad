"""The in-memory bus: handlers are called at once, in order of subscription. Nothing is queued: no bound is needed."""

from __future__ import annotations

from collections.abc import Callable

from server.bus.listeners import Handler, Listeners


class MemoryBus:
    """A Bus within one process."""

    def __init__(self) -> None:
        self._listeners = Listeners()

    def publish(self, topic: str, payload: bytes) -> None:
        """Call every handler. One that raises is logged; the others, and the publisher, never notice."""
        self._listeners.tell(topic, payload)

    def subscribe(self, topic: str, handler: Handler) -> Callable[[], None]:
        """Have `handler` called; returns what ends it (calling that twice is harmless)."""
        return self._listeners.add(topic, handler)
